"""Images per second of ``semise rank`` end to end, of the bare engine, and of the loop that a user would write.

    python benchmarks/rank_throughput.py [--images FOLDER] [--json FILE]

All three score the same images on the same machine in one run, in turns, in fp32; the medians and their ratios are
printed. Without ``--images`` it takes ../shared/data/busi/images where that is, else phantoms.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from bench_models import ENCODERS, build_bundle
from machine import describe_machine
from numpy.typing import NDArray
from plain_loop import plain_loop
from rich.console import Console
from rich.table import Table

from semise_sdk.bundle import Bundle
from semise_sdk.graphs import Graphs, opener_for
from semise_sdk.phantoms import write_phantoms
from semise_sdk.predictor import Predictor
from semise_sdk.preprocess import to_canvas
from semise_sdk.readers import read_image

BACKENDS = ("onnxruntime", "openvino")
PACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "busi" / "images"


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    options = parse_options()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        files = chosen_images(options, Path(scratch))
        rows = []
        for encoder in options.encoders:
            bundle = build_bundle(encoder, Path(scratch) / encoder)
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
    parser.add_argument("--batch", type=int, default=4, help="images per engine run")
    parser.add_argument("--repeats", type=int, default=3, help="turns; the medians are printed")
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=list(ENCODERS))
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def chosen_images(options: argparse.Namespace, scratch: Path) -> list[Path]:
    """Returns the files to score, evenly over the folder."""
    folder = options.images or (PACK if PACK.is_dir() else scratch / "phantoms" / "images")
    if not folder.is_dir():
        write_phantoms(scratch / "phantoms", count=options.count)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    step = max(1, len(files) // options.count)
    return files[::step][: options.count]


def measure(
    encoder: str, bundle: Path, files: list[Path], options: argparse.Namespace, console: Console
) -> list[dict[str, object]]:
    """Returns one row per backend: the medians over turns of end to end, bare engine and plain loop."""
    folder = bundle.parent / "images"
    folder.mkdir()
    for index, path in enumerate(files):
        (folder / f"{index:05d}{path.suffix}").symlink_to(path.resolve())
    rates: dict[str, list[float]] = {}
    for turn in range(options.repeats):
        console.print(f"{encoder}: turn {turn + 1} of {options.repeats}", highlight=False)
        rates.setdefault("plain", []).append(rate(len(files), lambda: plain_loop(encoder, bundle, files)))
        for backend in BACKENDS:
            rates.setdefault(f"{backend} bare", []).append(bare_rate(bundle, backend, files, options.batch))
            ranked = rank_rate(bundle, backend, folder, options.batch, len(files))
            rates.setdefault(f"{backend} rank", []).append(ranked)
    median = {name: statistics.median(values) for name, values in rates.items()}
    return [row_of(encoder, backend, median) for backend in BACKENDS]


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
    }


def rate(count: int, run: object) -> float:
    """Returns images per second of a callable that scores ``count`` images, after a warm-up inside it."""
    seconds = run()  # type: ignore[operator]
    return count / float(seconds)


def bare_rate(bundle: Path, backend: str, files: list[Path], batch: int) -> float:
    """Returns images per second of the engine alone, on batches that lie ready in memory."""
    with Bundle.open(bundle) as opened, closing(Graphs(opener_for(opened, backend=backend, device="cpu"))) as graphs:
        spec = opened.model.spec
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


def rank_rate(bundle: Path, backend: str, folder: Path, batch: int, count: int) -> float:
    """Returns images per second of ``semise rank``, files to CSV, the model loaded and warm as in a service."""
    from semise_sdk.writers import write_ranking

    with Predictor.open(bundle, backend=backend, batch_size=batch) as predictor:
        predictor.rank(sorted(folder.iterdir())[:batch])
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
    table = Table(title="images per second, fp32, 224 px; medians over turns")
    for heading in ("encoder", "backend", "rank end to end", "bare engine", "plain loop", "rank/bare", "rank/plain"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
