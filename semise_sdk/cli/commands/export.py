"""``semise export`` and ``semise verify``: a bundle that agrees with torch, and proof that it still does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from semise_sdk.bundle import SUFFIX, Bundle
from semise_sdk.bundle.signing import own_work
from semise_sdk.cli.batch import parse_precision
from semise_sdk.cli.console import JsonOption, PublicKeyOption, QuietOption, print_json, printable, say, stdout
from semise_sdk.cli.option_groups import refuse_given
from semise_sdk.cli.project import newest_run
from semise_sdk.cli.reporter import reporting
from semise_sdk.errors import ConfigError
from semise_sdk.system.progress import Reporter
from semise_sdk.workflows.verify import QUANTITIES, ReplayReport, replay, replay_all

if TYPE_CHECKING:
    from semise_export.graphs.tensorrt import EngineRow

GateRow = Mapping[str, object]

# key of a parity row, what it is called, how it is written
FIGURES = (
    ("images", "images", "d"),
    ("kendall_tau", "Kendall tau", ".6f"),
    ("c_index", "C-index", ".6f"),
    ("rank_displacement", "worst rank displacement", "d"),
    ("class_flips", "class flips", "d"),
    ("probability_error", "worst probability error", ".1e"),
    ("dice", "mean Dice", ".6f"),
    ("pooled_dice", "pooled Dice", ".6f"),
    ("task_c_index", "C-index against the grades", ".6f"),
    ("task_c_index_torch", "the same of torch", ".6f"),
    ("severity_error", "worst severity error", ".1e"),
    ("severity_error_mean", "mean severity error", ".1e"),
    ("map_error", "worst map error", ".1e"),
    ("embedding_error", "worst embedding error", ".1e"),
    ("reference_error", "worst reference error", ".1e"),
)
STABILITY = (
    ("severity_error", "between batches: severity", ".1e"),
    ("class_flips", "between batches: flips", "d"),
    ("equal_rows_error", "between equal rows", ".1e"),
    ("graph_error", "encoder against unet", ".1e"),
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("export")(export)
    app.command("verify")(verify)


def export(
    run: Annotated[Path | None, typer.Argument(help="A run folder; the project's newest by default.")] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle; RUN/bundle by default.")] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp16, bf16 or int8 beside fp32, repeatable; those already in the bundle stay."),
    ] = None,
    trt: Annotated[
        bool, typer.Option("--trt", help="Also build a TensorRT engine of each graph, for this machine.")
    ] = False,
    pack: Annotated[bool, typer.Option("--pack", help=f"Also write the bundle as one {SUFFIX} file.")] = False,
    backend: Annotated[
        list[str] | None, typer.Option(help="Backend to check on, repeatable; all that are installed by default.")
    ] = None,
    max_images: Annotated[int, typer.Option(min=2, help="Most validation and test images to check on.")] = 256,
    thresholds: Annotated[
        Path | None, typer.Option(help="YAML file of parity thresholds, as class_flips: 0.01.")
    ] = None,
    reference_thumbnails: Annotated[
        bool, typer.Option("--reference-thumbnails", help="Carry thumbnails of the healthy references: patient pixels.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Exports a run as a bundle, unless its answers differ from torch's on the run's own held-out images."""
    precisions = [parse_precision(text) for text in precision or ()]
    root = run or _newest()
    from semise_export.assemble import export_run
    from semise_export.limits import LIMITS, read_limits

    with reporting(quiet=quiet) as reporter:
        folder = export_run(
            root,
            out=out,
            precisions=precisions,
            limits=read_limits(thresholds) if thresholds else LIMITS,
            backends=backend,
            max_images=max_images,
            packed=pack,
            reference_thumbnails=reference_thumbnails,
            reporter=reporter,
        )
        engines = _build_engines(folder, reporter=reporter) if trt else ()
    _print_export(folder, packed=pack, engines=engines, as_json=as_json)
    say(f"bundle: {folder}; next: semise rank IMAGES --bundle {folder}", quiet=quiet)


def _build_engines(folder: Path, *, reporter: Reporter) -> tuple["EngineRow", ...]:
    from semise_export.graphs.tensorrt import build_engines

    with own_work(), Bundle.open(folder) as bundle:
        return build_engines(bundle, reporter=reporter)


def verify(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or a .semise file.")],
    *,
    backend: Annotated[str, typer.Option(help="all, or one that semise doctor lists.")] = "all",
    device: Annotated[str, typer.Option(help="Device of a backend that is named.")] = "auto",
    precision: Annotated[str, typer.Option(help="Precision on a backend that is named.")] = "fp32",
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Checks a bundle's files, and replays its golden pictures here as torch answered them at the export.

    Where a key is required, the bundle must be signed by it.
    """
    if backend == "all":
        names = ("--device", "--precision")
        refuse_given(context, "with --backend all", "name one backend that semise doctor lists", names=names)
        reports, skipped = replay_all(bundle, public_key=public_key)
    else:
        chosen = parse_precision(precision)
        report = replay(bundle, backend=backend, device=device, precision=chosen, public_key=public_key)
        reports, skipped = (report,), {}
    if as_json:
        print_json(
            {
                "bundle": str(bundle),
                "passed": all(report.passed for report in reports),
                "replays": [report.to_json() for report in reports],
                "skipped": skipped,
            }
        )
    else:
        stdout.print(replay_table(reports))
    for name, reason in skipped.items():
        say(f"skipped {name}: {reason}", quiet=quiet)
    for report in reports:
        report.require_agreement()


def parity_table(rows: Sequence[GateRow]) -> Table:
    """Returns the parity figures of a bundle, a column for each backend."""
    # What a manifest says of its parity is shown, not trusted: no markup, and a key may be missing.
    heads = (Column(printable(f"{row.get('backend')} {row.get('precision')}"), overflow="fold") for row in rows)
    table = Table("against torch, fp32", *heads)
    for key, name, form in FIGURES:
        table.add_row(name, *(_figure(row.get(key), form) for row in rows))
    for key, name, form in STABILITY:
        table.add_row(name, *(_figure(_independence(row).get(key), form) for row in rows))
    table.add_row("result", *("passed" if row.get("passed") else "failed" for row in rows))
    return table


def replay_table(reports: Sequence[ReplayReport]) -> Table:
    """Returns the largest difference of each quantity, a column for each backend."""
    table = Table(
        "worst difference", *(Column(f"{report.backend} {report.precision}", overflow="fold") for report in reports)
    )
    for quantity in QUANTITIES:
        table.add_row(quantity, *(_figure(report.errors.get(quantity), ".1e") for report in reports))
    table.add_row("pictures", *(str(report.pictures) for report in reports))
    table.add_row("result", *("passed" if report.passed else "failed" for report in reports))
    return table


def _newest() -> Path:
    found = newest_run(Path.cwd(), finished=True)
    if found is None:
        raise ConfigError("expected a finished run here, found none: semise train DATA.csv, or name the run")
    return found


def _print_export(folder: Path, *, packed: bool, engines: Sequence["EngineRow"], as_json: bool) -> None:
    with own_work(), Bundle.open(folder) as bundle:
        rows = bundle.manifest.parity
    if as_json:
        archive = str(folder.with_name(folder.name + SUFFIX)) if packed else None
        print_json(
            {
                "bundle": str(folder),
                "packed": archive,
                "parity": [dict(row) for row in rows],
                "engines": [engine.to_json() for engine in engines],
            }
        )
        return
    stdout.print(parity_table(rows))
    if engines:
        stdout.print(engines_table(engines))


def engines_table(engines: Sequence["EngineRow"]) -> Table:
    """Returns what was built for TensorRT, a row for each engine, and what is unproven of it."""
    table = Table("engine", "precision", "MB", "seconds", "types", "target", "state", title="TensorRT engines")
    for row in engines:
        if row.is_skipped:
            table.add_row(row.graph, row.precision, "-", "-", "-", "-", f"skipped: {row.reason}")
            continue
        state = "ran here" if row.is_proven else row.reason
        table.add_row(
            row.graph,
            row.precision,
            f"{row.megabytes:.1f}",
            "cached" if row.is_cached else f"{row.seconds:.1f}",
            str(row.types),
            f"{row.library} for {row.target}",
            state,
        )
    return table


def _independence(row: GateRow) -> GateRow:
    figures = row.get("batch_independence")
    return figures if isinstance(figures, Mapping) else {}


def _figure(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"
