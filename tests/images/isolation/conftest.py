"""A reader whose decoder obeys the image: it dies, hangs, eats memory or prints as the file's bytes say."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from semise_sdk.images.isolation import IsolatedReader, ReaderLimits, process
from semise_sdk.spec import InputSpec

SPEC = InputSpec(height=24, width=32, pad_value=7)

# What the process runs instead of a decoder: everything around it is the real thing.
ROGUE = """
import os, signal, sys, time
from semise_sdk.images import reading
read_image, kept = reading.read_image, []

def rogue(source, **options):
    data = source if isinstance(source, bytes) else source.read_bytes() if source.is_file() else b""
    word, _, value = data.decode("latin-1").partition(" ")
    if kept and kept[0] == "die later":
        os.abort()
    if word == "signal":
        os.kill(os.getpid(), getattr(signal, value))
    elif word == "exit":
        os._exit(int(value))
    elif word == "hang":
        time.sleep(600)
    elif word == "allocate":
        bytearray(int(value))
    elif word == "keep":
        kept.append(bytearray(int(value)))
    elif word == "corrupt":
        kept.append("die later")
    elif word == "flood":
        for descriptor in (1, 2):
            os.write(descriptor, b"nonsense " * 5000)
        print("more of it", flush=True)
        sys.stderr.write("and more")
    elif word == "raise":
        raise RuntimeError("patient JANE DOE")
    else:
        return read_image(source, **options)
    return read_image(b"", **options)

reading.read_image = rogue
"""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image file."""
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def isolated() -> Iterator[Callable[..., IsolatedReader]]:
    """Returns a function that makes readers, which are closed after the test."""
    made: list[IsolatedReader] = []

    def make(processes: int = 1, **limits: float) -> IsolatedReader:
        made.append(IsolatedReader(processes, ReaderLimits(**limits)))
        return made[-1]

    yield make
    for reader in made:
        reader.close()


@pytest.fixture
def rogue(isolated, monkeypatch) -> Callable[..., IsolatedReader]:
    """Returns a function that makes readers whose decoder does what the image's bytes say."""
    head = process._CODE.split("from semise_sdk")[0]
    worker = "from semise_sdk.images.isolation.worker import main; main()"
    monkeypatch.setattr(process, "_CODE", f"{head}\n{ROGUE}\n{worker}")
    return isolated


@pytest.fixture
def children() -> Callable[[], list[psutil.Process]]:
    """Returns a function that lists this process's live reading processes."""

    def find() -> list[psutil.Process]:
        return [one for one in psutil.Process().children(recursive=True) if _reads(one)]

    return find


def _reads(one: psutil.Process) -> bool:
    try:
        is_reader = any("semise_sdk.images.isolation" in word for word in one.cmdline())
        return is_reader and one.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # it has just ended
        return False
