"""``semise bench``: speed, memory and answers of a bundle on every backend, device, precision and batch."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from semise_sdk.backends import BACKENDS
from semise_sdk.bench import BATCHES, BenchReport, BenchRow, Request, Speed, Truth, run_bench
from semise_sdk.bench.plot import draw, require_matplotlib
from semise_sdk.bundle import Bundle
from semise_sdk.cli.batch import parse_precision
from semise_sdk.cli.commands.evaluate import labeled_images
from semise_sdk.cli.console import (
    JsonOption,
    PipedConsole,
    PublicKeyOption,
    QuietOption,
    print_json,
    say,
    stdout,
    writing,
)
from semise_sdk.cli.option_groups import refuse_given
from semise_sdk.cli.reporter import reporting
from semise_sdk.errors import EXIT_OK, EXIT_USAGE, ConfigError, DataError
from semise_sdk.images.readers import find_images
from semise_sdk.system.atomic import write_text

MANIFEST_SUFFIXES = (".csv", ".jsonl")

RANK, GPU = "rank images/s", "GPU MiB"

# heading, figure of a row that ran, how it is written
FIGURES: tuple[tuple[str, Callable[[BenchRow, Speed], float | None], str], ...] = (
    ("images/s", lambda _row, speed: speed.images_per_second, ".1f"),
    (RANK, lambda _row, speed: speed.rank_images_per_second, ".1f"),
    ("ms p50", lambda _row, speed: speed.latency.p50, ".1f"),
    ("p95", lambda _row, speed: speed.latency.p95, ".1f"),
    ("p99", lambda _row, speed: speed.latency.p99, ".1f"),
    ("first s", lambda _row, speed: speed.first_result_seconds, ".2f"),
    ("peak MiB", lambda _row, speed: _scaled(speed.peak_memory_bytes, 1 << 20), ".0f"),
    (GPU, lambda _row, speed: _scaled(speed.gpu_memory_bytes, 1 << 20), ".0f"),
    ("model MB", lambda row, _speed: _scaled(row.encoder_bytes, 1_000_000), ".1f"),
)

_NOTE, _WIDEST = 44, 400


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("bench")(bench)


def bench(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or a .semise file.")],
    images: Annotated[
        Path | None,
        typer.Argument(help="A folder of images, or a manifest with labels; phantoms by default, for speed only."),
    ] = None,
    *,
    columns: Annotated[str, typer.Option(help="Other headers of the manifest, as image=file,group=patient.")] = "",
    backend: Annotated[list[str] | None, typer.Option(help="Backend, repeatable; all by default.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of them; each that a backend knows by default.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="Precision, repeatable; all that the bundle carries by default.")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images per engine run, repeatable; 1, the backend's best and 16.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="How long latency and throughput are measured, each.")] = 2.0,
    max_images: Annotated[int, typer.Option(min=2, help="Most unlabeled images to compare answers on.")] = 256,
    public_key: PublicKeyOption = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the rows here, as PNG.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Measures a bundle on this machine, row after row; exit code 2 when no row could run."""
    if plot is not None:
        require_matplotlib()
    is_manifest = images is not None and images.suffix in MANIFEST_SUFFIXES
    if images is None or is_manifest:
        refuse_given(context, "without a folder of images", "it is for unlabeled images", names=("--max-images",))
    if not is_manifest:
        refuse_given(context, "without a manifest", "leave it out, or name the manifest", names=("--columns",))
    paths, truth = benched_images(bundle, images, columns=columns, public_key=public_key)
    request = Request(
        bundle=bundle,
        targets=targets(backend, device),
        precisions=tuple(parse_precision(text) for text in precision) if precision else None,
        batches=tuple(dict.fromkeys(batch)) if batch else BATCHES,
        seconds=seconds,
        images=paths,
        truth=truth,
        most_compared=max_images,
        public_key=public_key,
    )
    with reporting(quiet=quiet) as reporter:
        report = run_bench(request, reporter=reporter)
    _write(report, out=out, plot=plot, as_json=as_json)
    say(f"{report.machine['processor']}, {report.machine['cores']} cores; see --json for its versions", quiet=quiet)
    return EXIT_OK if any(row.speed is not None for row in report.rows) else EXIT_USAGE


def benched_images(
    bundle: Path, images: Path | None, *, columns: str, public_key: Path | None
) -> tuple[tuple[Path, ...], Truth | None]:
    """Returns the images to measure on and, where ``images`` is a manifest, their truth.

    Raises:
        DataError: there are none, or their grades are not the model's.
    """
    if images is None:
        return (), None
    if images.suffix not in MANIFEST_SUFFIXES:
        paths = tuple(found.source for found in find_images(images))
        if not paths:
            raise DataError(f"expected images in {images}, found none: name another folder")
        return paths, None
    from semise_training.data.masks import read_mask

    with Bundle.open(bundle, public_key=public_key) as opened:
        labels = opened.model.labels
    labeled = labeled_images(bundle, images, columns=columns, part=None, labels=labels)
    truth = Truth(images=tuple(labeled), num_classes=len(labels), read_mask=read_mask)
    return tuple(image.image for image in labeled), truth


def targets(backends: list[str] | None, device: str | None) -> tuple[tuple[str, str], ...]:
    """Returns the backends to measure, each with its devices; raises ConfigError for an unknown backend."""
    known = {entry.name: entry for entry in BACKENDS}
    chosen = tuple(dict.fromkeys(backends)) if backends else tuple(known)
    for name in chosen:
        if name not in known:
            raise ConfigError(f"expected --backend {', '.join(known)}, found {name!r}")
    return tuple((name, of) for name in chosen for of in ((device,) if device else known[name].devices))


def bench_table(report: BenchReport) -> Table:
    """Returns the printed table; columns that no row fills are left out."""
    table = Table(title=f"{report.bundle}: {_subject(report)}", box=box.SIMPLE_HEAD, padding=(0, 1))
    has_gpu = any(row.speed is not None and row.speed.gpu_memory_bytes is not None for row in report.rows)
    kept = [column for column in FIGURES if (column[0] != RANK or report.images) and (column[0] != GPU or has_gpu)]
    for heading in ("backend", "device", "precision"):
        table.add_column(heading, no_wrap=True)
    for heading in ("batch", *(heading for heading, _, _ in kept)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("answers" if report.images else "note", overflow="fold", max_width=_NOTE)
    for row in report.rows:
        case = row.case
        figures = [_figure(None if row.speed is None else of(row, row.speed), form) for _, of, form in kept]
        cells = [case.backend, case.device, case.precision or "-", str(row.batch or "-"), *figures, _note(row)]
        table.add_row(*map(Text, cells))
    return table


def _write(report: BenchReport, *, out: Path | None, plot: Path | None, as_json: bool) -> None:
    data = {"command": ["semise", *sys.argv[1:]], **report.to_json()}
    if out is not None:
        write_text(out, json.dumps(data, indent=2, allow_nan=False) + "\n")
    if plot is not None:
        draw(report, plot)
    if as_json:
        print_json(data)
        return
    print_whole(bench_table(report))


def print_whole(table: Table) -> None:
    """Prints a table in the width that it needs: figures cut to fit a narrow terminal, or a pipe, would be none."""
    needed = Measurement.get(stdout, stdout.options.update(max_width=_WIDEST), table).maximum
    with writing("standard output"):
        PipedConsole(highlight=False, soft_wrap=True, width=max(needed, stdout.width)).print(table)


def _subject(report: BenchReport) -> str:
    if not report.images:
        return "speed on phantoms"
    kind = "against the truth" if report.is_labeled else "against the bundle's own fp32 run"
    return f"{report.images} images, answers {kind}"


def _note(row: BenchRow) -> str:
    if row.speed is None:
        return f"skipped: {row.reason}"
    return f"no answers: {row.answers_reason}" if row.answers_reason else _answers(row)


def _answers(row: BenchRow) -> str:
    if row.metrics is not None:
        return ", ".join(
            f"{title} {value:.3f}"
            for name, title in (("c_index", "C-index"), ("kendall_tau", "tau"), ("macro_f1", "F1"), ("dice", "Dice"))
            if (value := row.metrics[name]["value"]) is not None
        )
    figures = row.agreement or {}
    names = (("kendall_tau", "tau", ".4f"), ("class_flips", "flips", "d"), ("pooled_dice", "Dice", ".4f"))
    return ", ".join(f"{title} {_figure(figures.get(name), form)}" for name, title, form in names if name in figures)


def _scaled(value: int | None, unit: int) -> float | None:
    return None if value is None else value / unit


def _figure(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"
