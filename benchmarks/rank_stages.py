"""Where the time of ``semise rank`` goes, stage by stage, beside the loop that a user would write.

    python benchmarks/rank_stages.py [--encoder resnet50] [--precision fp32 int8] [--side 500] [--json FILE]

Each stage runs alone on one core over the same images, so that its figure is what an image costs a core; the sum,
divided by the cores, is what a perfect pipeline would take, and ``rank`` end to end on all cores is set against it.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import timm
import torch
from bench_models import ENCODERS, build_bundle
from numpy.typing import NDArray
from PIL import Image
from plain_loop import PREPROCESS, plain_loop
from rank_throughput import Engine, as_jpegs, chosen_images, engines, linked, rank_rate
from rich.console import Console
from rich.table import Table

from semise_sdk.bundle import Bundle
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.inference.graphs import opener_for
from semise_sdk.results import Ranking, Severity
from semise_sdk.severity.ranks import ranked
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import PRECISIONS
from semise_sdk.system.machine import describe_machine, usable_cores
from semise_sdk.tables.write import write_ranking

Item = TypeVar("Item")
Result = TypeVar("Result")
STAGES = ("decode", "canvas", "encoder", "classifier", "score and table")


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as scratch:
        files = as_jpegs(chosen_images(options, Path(scratch)), options.side, Path(scratch) / "jpegs")
        bundle = build_bundle(options.encoder, Path(scratch), precisions=options.precision, images=files)
        folder = linked(files, Path(scratch) / "images")
        rows = [plain_row(options.encoder, bundle, files)]
        for backend, precision in engines(options):
            engine = Engine(bundle, backend, precision, options.batch)
            rows.append(rank_row(engine, folder, files))
    Console().print(table_of(rows))
    if options.json:
        result = {"machine": describe_machine(), "images": len(files), "side": options.side, "rows": rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images; busi or phantoms by default")
    parser.add_argument("--count", type=int, default=96, help="images per stage")
    parser.add_argument("--side", type=int, default=500, help="longer side of the JPEGs that are scored")
    parser.add_argument("--batch", type=int, default=4, help="images per engine run")
    parser.add_argument("--encoder", default=ENCODERS[0], choices=list(ENCODERS))
    parser.add_argument("--precision", nargs="+", default=["fp32", "int8"], choices=list(PRECISIONS))
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def plain_row(encoder: str, bundle: Path, files: list[Path]) -> dict[str, object]:
    """Returns the stages of the plain PyTorch loop, on one core, and the whole loop on torch's own threads."""
    model = timm.create_model(encoder, pretrained=False, num_classes=0).eval()
    projection = torch.nn.Linear(model.num_features, 256)
    with one_core(), torch.inference_mode():
        decode, images = timed(files, lambda path: Image.open(path).convert("RGB"))
        canvas, planes = timed(images, PREPROCESS)
        network, features = timed(planes, lambda image: model(image[None]))
        score, _ = timed(features, lambda row: torch.nn.functional.cosine_similarity(projection(row), projection(row)))
    seconds = plain_loop(encoder, bundle, files)
    return row_of("plain loop, fp32", (decode, canvas, network, 0.0, score), seconds / len(files))


def rank_row(engine: Engine, folder: Path, files: list[Path]) -> dict[str, object]:
    """Returns the stages of ``rank``, on one core, and the whole command on all of them."""
    with Bundle.open(engine.bundle) as opened:
        opener = opener_for(opened, backend=engine.backend, device="cpu", threads=1, precision=engine.precision)
        spec, bank = opened.model.spec, opened.references()
    with closing(opener("encoder")) as encoder, closing(opener("classifier")) as classifier:
        decode, records = timed(files, read_image)
        canvas, canvases = timed(records, lambda record: to_canvas(record, spec).pixels)
        batches = [np.stack(canvases[start : start + engine.batch]) for start in range(0, len(files), engine.batch)]
        network, outputs = timed(batches, lambda batch: encoder.run({"pixels": batch}))
        grading, _ = timed(outputs, lambda rows: classifier.run({"embedding": rows["embedding"]}))
    score = table_seconds(bank, np.concatenate([rows["severity_vector"] for rows in outputs]), folder)
    per_image = len(batches) / len(files)
    stages = (decode, canvas, network * per_image, grading * per_image, score)
    seconds = 1 / rank_rate(engine, folder, len(files))
    return row_of(f"{engine.backend} {engine.precision}", stages, seconds)


def table_seconds(bank: ReferenceBank, vectors: NDArray[np.float32], folder: Path) -> float:
    """Returns the seconds that scoring, sorting and the CSV take for an image."""
    started = time.perf_counter()
    rows = [
        Severity(file=path.name, severity=float(bank.severity(vector[None])[0]), grade="normal")
        for path, vector in zip(sorted(folder.iterdir()), vectors, strict=True)
    ]
    write_ranking(Ranking(rows=ranked(rows), reference="bundle", backend=""), io.StringIO(), layout="csv", bundle="")
    return (time.perf_counter() - started) / len(rows)


def timed(items: Sequence[Item], stage: Callable[[Item], Result]) -> tuple[float, list[Result]]:
    """Returns the seconds that a stage takes for one item, after a warm-up, and what it made of each."""
    stage(items[0])
    started = time.perf_counter()
    results = [stage(item) for item in items]
    return (time.perf_counter() - started) / len(items), results


@contextmanager
def one_core() -> Iterator[None]:
    """Lets torch use one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def row_of(name: str, stages: Sequence[float], wall: float) -> dict[str, object]:
    """Returns a row of the table, in milliseconds an image."""
    milliseconds = {stage: round(1000 * seconds, 3) for stage, seconds in zip(STAGES, stages, strict=True)}
    total = sum(stages)
    return {
        "what": name,
        **milliseconds,
        "sum on one core": round(1000 * total, 2),
        "sum / cores": round(1000 * total / usable_cores(), 2),
        "end to end": round(1000 * wall, 2),
        "of the possible": round(total / usable_cores() / wall, 3),
    }


def table_of(rows: Sequence[dict[str, object]]) -> Table:
    """Returns the printed table, a column for each row of the JSON."""
    table = Table("", *(str(row["what"]) for row in rows), title=f"milliseconds an image, {usable_cores()} cores")
    for name in list(rows[0])[1:]:
        table.add_row(name, *(str(row[name]) for row in rows))
    return table


if __name__ == "__main__":
    main()
