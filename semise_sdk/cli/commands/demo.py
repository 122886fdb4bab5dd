"""``semise demo``: the whole path on generated phantom images, from a CSV to a ranking, in minutes on a laptop."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from semise_sdk.bundle.signing import own_work
from semise_sdk.cli.commands.evaluate import labeled_images, measure_predictor
from semise_sdk.cli.console import JsonOption, QuietOption, print_json, say, stdout
from semise_sdk.cli.reporter import ConsoleReporter, reporting
from semise_sdk.demo.contact_sheet import contact_sheet, ranked_item
from semise_sdk.demo.phantoms import write_phantoms
from semise_sdk.errors import ConfigError
from semise_sdk.metrics.evaluation import EvaluationReport
from semise_sdk.predictor import Predictor
from semise_sdk.results import Ranking
from semise_sdk.system.atomic import write_text
from semise_sdk.tables.write import text_file, write_ranking
from semise_sdk.workflows.evaluate import LabeledImage

Made = TypeVar("Made")

PHANTOMS = 480

SETTINGS: dict[str, object] = {
    "name": "demo",
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 64},
    # From random weights: a higher rate and more epochs than the preset, which starts from ImageNet.
    "optimizer": {"lr": 2e-3, "head_lr": 2e-3},
    "phase1": {"epochs": 4},
    "phase2": {"epochs": 30},
    "unet": {"epochs": 12, "decoder_channels": [64, 48, 32, 24, 16]},
}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made: its files and its figures on images that no training saw."""

    run: Path
    bundle: Path
    ranking: Path
    contact_sheet: Path
    report: EvaluationReport
    seconds: dict[str, float]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of phantoms and training.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draws phantoms, trains, exports, verifies and ranks: everything real, nothing downloaded."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"expected an empty folder, found files in {out}: remove it or name another --out")
    with reporting(quiet=quiet) as reporter:
        result = run_demo(out, seed=seed, reporter=reporter, quiet=quiet)
    if as_json:
        print_json(_facts(result))
        return
    _print(result)


def run_demo(out: Path, *, seed: int, reporter: ConsoleReporter, quiet: bool) -> DemoResult:
    """Returns what the demo made in ``out``."""
    from semise_export.assemble import export_run
    from semise_training.config import merge
    from semise_training.recipe import build_config
    from semise_training.run.train import train

    seconds: dict[str, float] = {}
    data = _timed(seconds, "phantoms", lambda: write_phantoms(out / "phantoms", count=PHANTOMS, seed=seed))
    config = build_config("recommended", merge(SETTINGS, {"seed": seed, "data": {"manifest": data.resolve()}}))
    run = _timed(seconds, "train", lambda: train(config, out / "run", reporter=reporter)).root
    bundle = _timed(seconds, "export", lambda: export_run(run, reporter=reporter))
    images = labeled_images(run, None, columns="", part="test")
    with own_work(), Predictor.open(bundle, isolate=False, calibrated=False) as predictor:
        report = _timed(seconds, "evaluate", lambda: measure_predictor(predictor, images, quiet=quiet))
    with own_work(), Predictor.open(bundle, isolate=False) as predictor:
        ranking = _timed(seconds, "rank", lambda: _rank(predictor, images))
        _draw(ranking, images, predictor, out / "contact_sheet.png")
    with text_file(out / "ranking.csv") as stream:
        write_ranking(ranking, stream, layout="csv", bundle=str(bundle), labels=predictor.model.grade_labels)
    write_text(out / "evaluation.json", json.dumps(report.to_json(), indent=2) + "\n")
    return DemoResult(run, bundle, out / "ranking.csv", out / "contact_sheet.png", report, seconds)


def _rank(predictor: Predictor, images: list[LabeledImage]) -> Ranking:
    """Ranks the held-out images against one held-out healthy one."""
    healthy = next(image.image for image in images if image.level == 0)
    ranking = predictor.rank([image.image for image in images], reference=healthy)
    rows = tuple(replace(row, file=Path(row.file).name) for row in ranking.rows)
    return replace(ranking, rows=rows, reference=healthy.name)


def _draw(ranking: Ranking, images: list[LabeledImage], predictor: Predictor, path: Path) -> None:
    """Writes the contact sheet: the ranking with each image's predicted mask outlined and its true grade."""
    labels = predictor.model.labels
    by_name = {image.image.name: image for image in images}
    ranked = [by_name[Path(row.file).name] for row in ranking.rows]
    masks = predictor.iter_segment([image.image for image in ranked])
    items = [
        ranked_item(row, image.image, true_grade=labels[image.level], mask=answer.mask)
        for row, image, answer in zip(ranking.rows, ranked, masks, strict=True)
    ]
    contact_sheet(items, columns=10, title="held-out phantoms, most severe first").save(path)


def _timed(seconds: dict[str, float], name: str, make: Callable[[], Made]) -> Made:
    started = time.monotonic()
    made = make()
    seconds[name] = round(time.monotonic() - started, 1)
    return made


def _facts(result: DemoResult) -> dict[str, object]:
    return {
        "run": str(result.run),
        "bundle": str(result.bundle),
        "ranking": str(result.ranking),
        "contact_sheet": str(result.contact_sheet),
        "seconds": result.seconds,
        "test": result.report.to_json(),
    }


def _print(result: DemoResult) -> None:
    table = Table("what", "held-out phantoms", title="semise demo")
    for name in ("c_index", "kendall_tau", "auroc_healthy", "macro_f1", "maee", "dice"):
        estimate = result.report[name]
        table.add_row(name, "-" if estimate.value is None else f"{estimate.value:.3f} (n = {estimate.n})")
    for name, spent in result.seconds.items():
        table.add_row(f"{name}, seconds", f"{spent:g}")
    stdout.print(table)
    for path in (result.ranking, result.contact_sheet, result.bundle):
        stdout.print(str(path), markup=False)
    say(f"next: semise rank YOUR_IMAGES --reference HEALTHY.png --bundle {result.bundle}")
