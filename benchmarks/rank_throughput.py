"""Images per second of ``semise rank`` end to end, of the bare engine, and of the loop that a user would write.

    python benchmarks/rank_throughput.py [--images FOLDER] [--precision fp32 --precision int8] [--json FILE]

All three score the same images on the same machine in one run, in turns, the plain loop in fp32 and the others in
every ``--precision``, ``rank`` also without isolation; the medians and their ratios are printed. Without ``--images``
it takes the images of ../shared/data/busi where that is, else phantoms.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_models import ENCODERS, build_bundle
from numpy.typing import NDArray
from PIL import Image
from plain_loop import plain_loop
from rich.console import Console
from rich.table import Table

from semise_sdk.backends import BACKENDS
from semise_sdk.bundle import Bundle
from semise_sdk.demo.phantoms import write_phantoms
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.inference.graphs import Graphs, opener_for
from semise_sdk.predictor import Predictor
from semise_sdk.spec import PRECISIONS, Precision
from semise_sdk.system.machine import describe_machine

NAMES = ("onnxruntime", "openvino")
PACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "busi" / "images"


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    options = parse_options()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        files = chosen_images(options, Path(scratch))
        if options.side:
            files = as_jpegs(files, options.side, Path(scratch) / "jpegs")
        rows = []
        for encoder in options.encoders:
            bundle = build_bundle(encoder, Path(scratch) / encoder, precisions=options.precision, images=files)
            rows += measure(encoder, bundle, files, options, console)
    console.print(table_of(rows))
    result = {"machine": describe_machine(), "images": len(files), "batch": options.batch, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images; busi or phantoms by default")
    parser.add_argument("--count", type=int, default=256, help="images per measurement")
    parser.add_argument("--side", type=int, help="score JPEG copies whose longer side has that many pixels")
    parser.add_argument("--batch", type=int, default=4, help="images per engine run")
    parser.add_argument("--repeats", type=int, default=3, help="turns; the medians are printed")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=list(PRECISIONS))
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=list(ENCODERS))
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def chosen_images(options: argparse.Namespace, scratch: Path) -> list[Path]:
    """Returns the files to score, evenly over the folder."""
    folder = options.images or (PACK if PACK.is_dir() else scratch / "phantoms" / "images")
    if not folder.is_dir():
        write_phantoms(scratch / "phantoms", count=options.count)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if len(files) < options.count:  # a folder smaller than asked for is gone through again
        return list(itertools.islice(itertools.cycle(files), options.count))
    step = len(files) // options.count
    return files[::step][: options.count]


def as_jpegs(files: list[Path], side: int, folder: Path) -> list[Path]:
    """Returns copies of the files as JPEGs of quality 90 whose longer side is ``side`` pixels."""
    folder.mkdir()
    copies = []
    for index, path in enumerate(files):
        with Image.open(path) as picture:
            scale = side / max(picture.size)
            width, height = (round(length * scale) for length in picture.size)
            copies.append(folder / f"{index:05d}.jpg")
            picture.convert("RGB").resize((width, height)).save(copies[-1], quality=90)
    return copies


def linked(files: list[Path], folder: Path) -> Path:
    """Returns a folder of links to the files, in their order, though one comes twice."""
    folder.mkdir()
    for index, path in enumerate(files):
        (folder / f"{index:05d}{path.suffix}").symlink_to(path.resolve())
    return folder


def measure(
    encoder: str, bundle: Path, files: list[Path], options: argparse.Namespace, console: Console
) -> list[dict[str, object]]:
    """Returns one row per backend: the medians over turns of end to end, bare engine and plain loop."""
    folder = linked(files, bundle.parent / "images")
    rates: dict[str, list[float]] = {}
    for turn in range(options.repeats):
        console.print(f"{encoder}: turn {turn + 1} of {options.repeats}", highlight=False)
        rates.setdefault("plain", []).append(rate(len(files), lambda: plain_loop(encoder, bundle, files)))
        for backend, precision in engines(options):
            engine = Engine(bundle, backend, precision, options.batch)
            rates.setdefault(f"{backend} {precision} bare", []).append(bare_rate(engine, files))
            rates.setdefault(f"{backend} {precision} rank", []).append(rank_rate(engine, folder, len(files)))
            in_process = rank_rate(engine, folder, len(files), isolate=False)
            rates.setdefault(f"{backend} {precision} in process", []).append(in_process)
    median = {name: statistics.median(values) for name, values in rates.items()}
    return [row_of(encoder, f"{backend} {precision}", median) for backend, precision in engines(options)]


class Engine(NamedTuple):
    """What runs a bundle."""

    bundle: Path
    backend: str
    precision: Precision
    batch: int


def engines(options: argparse.Namespace) -> list[tuple[str, Precision]]:
    """Returns every backend with every precision that it computes in."""
    computed = {entry.name: entry.precisions for entry in BACKENDS}
    return [(name, precision) for precision in options.precision for name in NAMES if precision in computed[name]]


def row_of(encoder: str, backend: str, median: dict[str, float]) -> dict[str, object]:
    """Returns a row of the table: images/s and the two ratios that count."""
    rank, bare, plain = median[f"{backend} rank"], median[f"{backend} bare"], median["plain"]
    return {
        "encoder": encoder,
        "backend": backend,
        "rank": round(rank, 1),
        "bare": round(bare, 1),
        "plain": round(plain, 1),
        "rank_over_bare": round(rank / bare, 3),
        "rank_over_plain": round(rank / plain, 2),
        "in_process_over_bare": round(median[f"{backend} in process"] / bare, 3),
    }


def rate(count: int, run: object) -> float:
    """Returns images per second of a callable that scores ``count`` images, after a warm-up inside it."""
    seconds = run()  # type: ignore[operator]
    return count / float(seconds)


def bare_rate(engine: Engine, files: list[Path]) -> float:
    """Returns images per second of the engine alone, on batches that lie ready in memory."""
    backend, precision, batch = engine.backend, engine.precision, engine.batch
    with Bundle.open(engine.bundle) as opened:
        opener = opener_for(opened, backend=backend, device="cpu", precision=precision)
        spec = opened.model.spec
    with closing(Graphs(opener)) as graphs:
        canvases = np.stack([to_canvas(read_image(path), spec).pixels for path in files[: 4 * batch]])
        batches = [canvases[start : start + batch] for start in range(0, len(canvases), batch)]
        encoder, classifier = graphs.get("encoder"), graphs.get("classifier")

        def run(pixels: NDArray[np.uint8]) -> None:
            classifier.run({"embedding": encoder.run({"pixels": pixels})["embedding"]})

        # As many runs at once as the engine serves best: on a CPU that is several, each on one core.
        with ThreadPoolExecutor(encoder.concurrency) as pool:
            list(pool.map(run, batches))
            rounds = max(1, len(files) // len(canvases))
            started = time.perf_counter()
            list(pool.map(run, batches * rounds))
        return rounds * len(canvases) / (time.perf_counter() - started)


def rank_rate(engine: Engine, folder: Path, count: int, *, isolate: bool = True) -> float:
    """Returns images per second of ``semise rank``, files to CSV, the model loaded and warm as in a service."""
    from semise_sdk.tables.write import write_ranking

    bundle = engine.bundle
    options = {"backend": engine.backend, "precision": engine.precision, "batch_size": engine.batch}
    with Predictor.open(bundle, isolate=isolate, **options) as predictor:
        predictor.rank(sorted(folder.iterdir())[: engine.batch])
        started = time.perf_counter()
        ranking = predictor.rank(folder)
        with (bundle.parent / "ranking.csv").open("w") as stream:
            write_ranking(ranking, stream, layout="csv", bundle=str(bundle))
        seconds = time.perf_counter() - started
    if len(ranking.rows) != count:
        raise SystemExit(f"expected {count} rows, found {len(ranking.rows)}")
    return count / seconds


def table_of(rows: list[dict[str, object]]) -> Table:
    """Returns the printed table."""
    table = Table(title="images per second, 224 px; medians over turns; the plain loop is fp32")
    for heading in (
        "encoder",
        "backend",
        "rank end to end",
        "bare engine",
        "plain loop",
        "rank/bare",
        "rank/plain",
        "--no-isolate/bare",
    ):
        table.add_column(heading)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
