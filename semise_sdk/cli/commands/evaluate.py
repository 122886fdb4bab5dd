"""``semise evaluate``: every metric, with its interval, of a run or a bundle on labelled images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from semise_sdk.cli.batch import parse_precision
from semise_sdk.cli.console import JsonOption, PublicKeyOption, QuietOption, print_json, say, stdout, tracked
from semise_sdk.cli.options import Columns
from semise_sdk.errors import ConfigError, DataError, OptionError
from semise_sdk.metrics import Estimate
from semise_sdk.metrics.evaluation import EvaluationReport
from semise_sdk.metrics.evaluation import evaluate as measure
from semise_sdk.predictor import Predictor
from semise_sdk.spec import SPLIT_NAMES
from semise_sdk.system.atomic import write_text
from semise_sdk.workflows.evaluate import LabeledImage, gather

if TYPE_CHECKING:
    from semise_training.data.manifest import Manifest

PARTS = (*SPLIT_NAMES, "all")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder or a bundle.")],
    data: Annotated[Path | None, typer.Argument(help="A manifest; a run's own by default.")] = None,
    *,
    columns: Columns = "",
    part: Annotated[
        str | None, typer.Option("--split", help="train, val, test, calibration or all; a run's test by default.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Backend of a bundle; see semise doctor.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of the backend.")] = "auto",
    precision: Annotated[str, typer.Option(help="Precision of a bundle's graphs.")] = "fp32",
    public_key: PublicKeyOption = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measures the bare model of a run or a bundle on labelled images, with 95 % intervals by group.

    No gate leaves an image out, and probabilities are the classifier's own.
    """
    if data is None and columns:
        raise OptionError("DATA with --columns", "none", "name its manifest; a run knows the headers of its own")
    is_run = (model / "checkpoint").is_dir()
    chosen = "pytorch" if is_run and backend == "auto" else backend
    with Predictor.open(
        model,
        backend=chosen,
        device=device,
        precision=parse_precision(precision),
        public_key=public_key,
        calibrated=False,
    ) as opened:
        images = labeled_images(model, data, columns=columns, part=part, labels=opened.model.labels)
        say(f"evaluating {len(images)} images", quiet=quiet)
        report = measure_predictor(opened, images, quiet=quiet)
    if out is not None:
        write_text(out, json.dumps(report.to_json(), indent=2) + "\n")
    if as_json:
        print_json(report.to_json())
    else:
        stdout.print(report_table({str(model): report}))


def measure_predictor(predictor: Predictor, images: list[LabeledImage], *, quiet: bool) -> EvaluationReport:
    """Returns the report of an open predictor on labelled images."""
    from semise_training.data.masks import read_mask

    answers = tracked(
        predictor.iter_analyze([image.image for image in images], maps=False),
        total=len(images),
        label="evaluating",
        quiet=quiet,
    )
    observations = gather(images, answers, num_classes=len(predictor.model.labels), read_mask=read_mask)
    return measure(observations)


def labeled_images(
    model: Path, data: Path | None, *, columns: str, part: str | None, labels: tuple[str, ...] | None = None
) -> list[LabeledImage]:
    """Returns the labelled images to measure on.

    Without ``data`` they are a run's own, of its ``part`` (test by default); with it, all of the manifest's, or those
    that it puts in ``part``.

    Raises:
        DataError: none are left, or the manifest's grades are called otherwise than the model's ``labels``.
    """
    if part is not None and part not in PARTS:
        raise ConfigError(f"expected --split {', '.join(PARTS)}, found {part!r}")
    manifest, parts, wanted = _run_images(model, part) if data is None else _other_images(data, columns, part)
    refuse_other_grades(manifest, labels)
    images = [
        LabeledImage(image=sample.image, level=sample.severity, group=sample.group, mask=sample.mask)
        for sample, of in zip(manifest.samples, parts, strict=True)
        if sample.severity is not None and wanted in ("all", of)
    ]
    if not images:
        raise DataError(f"expected labelled images in part {wanted} of {manifest.path}, found none: see --split")
    return images


def refuse_other_grades(manifest: "Manifest", labels: tuple[str, ...] | None) -> None:
    """Raises DataError where a manifest's grades are called otherwise than the model's ``labels``."""
    names_grades = any(sample.label for sample in manifest.samples)
    if labels is None or not names_grades or manifest.labels == labels[: len(manifest.labels)]:
        return
    raise DataError(
        f"expected grades called {', '.join(labels)} as the model's, found {', '.join(manifest.labels)} in "
        f"{manifest.path}: evaluate on images graded on the model's own scale"
    )


def _run_images(model: Path, part: str | None) -> tuple["Manifest", tuple[str | None, ...], str]:
    from semise_training.config import read_config
    from semise_training.data.manifest import load_manifest
    from semise_training.data.splits.split_file import read_split

    if not (model / "split.csv").is_file():
        raise ConfigError(f"expected a manifest to evaluate {model} on, found none: only a run folder knows its own")
    data = read_config(model / "config.yaml").data
    manifest = load_manifest(data.manifest, columns=data.columns)
    return manifest, tuple(read_split(model / "split.csv", manifest)), part or "test"


def _other_images(data: Path, columns: str, part: str | None) -> tuple["Manifest", tuple[str | None, ...], str]:
    from semise_training.data.manifest import load_manifest, parse_columns

    manifest = load_manifest(data, columns=parse_columns(columns))
    return manifest, tuple(sample.split for sample in manifest.samples), part or "all"


def report_table(reports: dict[str, EvaluationReport]) -> Table:
    """Returns a table of one or more reports, a column each."""
    table = Table("metric", *reports, "n", title="value [95 % interval]")
    first = next(iter(reports.values()))
    for name, estimate in first.estimates.items():
        table.add_row(name, *(_cell(report[name]) for report in reports.values()), str(estimate.n))
    return table


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
