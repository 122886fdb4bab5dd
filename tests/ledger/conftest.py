"""A folder of files, and a model that reads a severity out of each: the ledger needs no engine."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from semise_sdk.images.readers import scan_images
from semise_sdk.images.record import FoundImage
from semise_sdk.ledger import Ledger, RunSettings
from semise_sdk.results import Severity

SETTINGS = {
    "command": "rank",
    "bundle": "toy",
    "bundle_sha256": "b" * 64,
    "precision": "fp32",
    "phi": "hash",
    "key": "",
    "part": "1/1",
    "reference": "bundle",
    "reference_sha256": "r" * 64,
    "labels": ("mild", "severe"),
    "sdk_version": "0",
    "created": "2026-01-01T00:00:00+00:00",
}


class Model:
    """Answers files, and remembers which."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.before: Callable[[FoundImage], None] = lambda _found: None

    def __call__(self, images: Iterable[FoundImage]) -> Iterator[Severity]:
        for found in images:
            self.before(found)
            self.answered.append(found.file)
            yield self.answer(found)

    @staticmethod
    def answer(found: FoundImage) -> Severity:
        try:
            content = found.source.read_bytes()
        except OSError:
            content = b""
        if not content:
            name = repr(found.source.name)
            return Severity(
                file=found.file, status="error", reason=f"empty_file: {name}: expected an image, found none"
            )
        level = hashlib.sha256(content).digest()[0] % 20 / 10  # many ties
        return Severity(file=found.file, severity=level, grade="severe" if level > 1 else "mild")


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def settings() -> Callable[..., RunSettings]:
    return lambda **changes: RunSettings(**{**SETTINGS, **changes})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for number in range(50):
        path = folder / f"ward_{number % 3}" / f"DOE_JANE_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image %d" % number)
    (folder / "DOE_EMPTY.png").write_bytes(b"")
    return folder


@pytest.fixture
def open_ledger(images, settings):
    """Opens a run over ``images``, with settings that differ as given."""

    def build(run: Path, *, sources: tuple[Path, ...] = (), key: Path | None = None, batch_size: int = 4, **changes):
        found = ((place, image) for place, folder in enumerate(sources or (images,)) for image in scan_images(folder))
        return Ledger.open(
            run, Severity, settings(**changes), found, provider="toy:cpu", batch_size=batch_size, key=key
        )

    return build
