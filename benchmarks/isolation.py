"""What it costs to decode files in processes of their own, against decoding them in this process.

    python benchmarks/isolation.py [--count 600] [--rounds 7] [--json FILE]

Both ways read the same phantoms as PNG and JPEG of three sizes on all usable cores, in turns, so that both see the
same machine; the median of the rounds counts. Processor time holds on a busy machine too. A fresh reader's first image
shows what starting its process takes.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from semise_sdk.demo.phantoms import write_phantoms
from semise_sdk.images.isolation import ImageReader, InProcessReader, IsolatedReader
from semise_sdk.images.record import NamedImage
from semise_sdk.spec import InputSpec
from semise_sdk.system.machine import describe_machine, usable_cores

SPEC = InputSpec(height=224, width=224)
KINDS = (("PNG", 224), ("JPEG", 500), ("PNG", 1000))
COLUMNS = (
    "files",
    "in process, images/s",
    "isolated, images/s",
    "ratio",
    "in process, CPU ms",
    "isolated, CPU ms",
    "first image of a fresh reader, s",
)
Row = dict[str, object]


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="images per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            row_of(kind, side, files_of(kind, side, Path(scratch) / f"{kind}{side}"), options) for kind, side in KINDS
        ]
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    Console().print(table)
    if options.json:
        result = {"machine": describe_machine(), "count": options.count, "rounds": options.rounds, "rows": rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def files_of(kind: str, side: int, folder: Path) -> list[Path]:
    """Returns sixteen phantoms of ``side`` pixels in files of one kind."""
    manifest = write_phantoms(folder, count=16, seed=1, size=64)
    files = []
    for source in sorted(manifest.parent.rglob("*.png"))[:16]:
        files.append(folder / f"{source.stem}.{side}.{kind.lower()}")
        with Image.open(source) as image:
            image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(files[-1], kind)
    return files


def row_of(kind: str, side: int, files: Sequence[Path], options: argparse.Namespace) -> Row:
    """Returns one line of the table."""
    images = [NamedImage(path.name, path) for path in files] * -(-options.count // len(files))
    apart, here = IsolatedReader(usable_cores()), InProcessReader()
    rounds: dict[ImageReader, list[tuple[float, float]]] = {here: [], apart: []}
    measured(apart, images[: 4 * usable_cores()])
    for _ in range(options.rounds):
        for reader, found in rounds.items():
            found.append(measured(reader, images))
    apart.close()
    here_rate, here_cpu = medians(rounds[here])
    apart_rate, apart_cpu = medians(rounds[apart])
    rates = (round(here_rate), round(apart_rate), round(apart_rate / here_rate, 2))
    cpu = (round(1000 * here_cpu, 2), round(1000 * apart_cpu, 2))
    return dict(zip(COLUMNS, (f"{kind} of {side} x {side}", *rates, *cpu, first_image(images[0])), strict=True))


def medians(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns the median of each of the two figures of a round."""
    first, second = zip(*rounds, strict=True)
    return statistics.median(first), statistics.median(second)


def measured(reader: ImageReader, images: Sequence[NamedImage]) -> tuple[float, float]:
    """Returns images a second with one thread per usable core, and the seconds of all processors that one took."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        before, started = processor_seconds(), time.perf_counter()
        for _ in pool.map(lambda image: reader.read(image, SPEC), images):
            pass
        seconds = time.perf_counter() - started
        return len(images) / seconds, (processor_seconds() - before) / len(images)


def processor_seconds() -> float:
    """Returns what this process and its readers have used."""
    me = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (me, *me.children()))


def first_image(image: NamedImage) -> float:
    """Returns the seconds from a fresh reader to its first canvas, the median of five."""
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        reader = IsolatedReader(1)
        reader.read(image, SPEC)
        seconds.append(time.perf_counter() - started)
        reader.close()
    return round(statistics.median(seconds), 3)


if __name__ == "__main__":
    main()
