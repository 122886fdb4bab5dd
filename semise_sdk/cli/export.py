"""``semise export`` and ``semise verify``: a bundle that agrees with torch, and proof that it still does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from semise_sdk.bundle import SUFFIX, Bundle
from semise_sdk.cli.console import JsonOption, QuietOption, print_json, say, stdout
from semise_sdk.cli.reporter import reporting
from semise_sdk.errors import ConfigError
from semise_sdk.project import newest_run
from semise_sdk.replay import QUANTITIES, ReplayReport, replay, replay_all

Row = Mapping[str, object]

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
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle; RUN/bundle by default.")] = None,
    precision: Annotated[str, typer.Option(help="Precision of the graphs; fp32 in this version.")] = "fp32",
    pack: Annotated[bool, typer.Option("--pack", help=f"Also write the bundle as one {SUFFIX} file.")] = False,
    backend: Annotated[
        list[str] | None, typer.Option(help="Backend to check on, repeatable; all that are installed by default.")
    ] = None,
    max_images: Annotated[int, typer.Option(min=2, help="Most validation and test images to check on.")] = 256,
    thresholds: Annotated[
        Path | None, typer.Option(help="YAML file of parity thresholds, as class_flips: 0.01.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Exports a run as a bundle, unless its answers differ from torch's on the run's own held-out images."""
    if precision != "fp32":
        raise ConfigError(f"expected --precision fp32, found {precision!r}: other precisions come with a later version")
    root = run or _newest()
    from semise_export.assemble import export_run
    from semise_export.config import ParityThresholds, read_thresholds

    with reporting(quiet=quiet) as reporter:
        folder = export_run(
            root,
            out=out,
            thresholds=read_thresholds(thresholds) if thresholds else ParityThresholds(),
            backends=backend,
            max_images=max_images,
            packed=pack,
            reporter=reporter,
        )
    _print_export(folder, packed=pack, as_json=as_json)
    say(f"bundle: {folder}; next: semise rank IMAGES --bundle {folder}", quiet=quiet)


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or a .semise file.")],
    backend: Annotated[str, typer.Option(help="all, or one that semise doctor lists.")] = "all",
    device: Annotated[str, typer.Option(help="Device of a backend that is named.")] = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Checks a bundle's files, and replays its golden pictures here as torch answered them at the export."""
    if backend == "all":
        reports, skipped = replay_all(bundle)
    else:
        reports, skipped = (replay(bundle, backend=backend, device=device),), {}
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


def parity_table(rows: Sequence[Row]) -> Table:
    """Returns the parity figures of a bundle, a column for each backend."""
    heads = (Column(f"{row['backend']} {row['precision']}", overflow="fold") for row in rows)
    table = Table("against torch, fp32", *heads)
    for key, name, form in FIGURES:
        table.add_row(name, *(_figure(row.get(key), form) for row in rows))
    for key, name, form in STABILITY:
        table.add_row(name, *(_figure(_independence(row).get(key), form) for row in rows))
    table.add_row("result", *("passed" if row["passed"] else "failed" for row in rows))
    return table


def replay_table(reports: Sequence[ReplayReport]) -> Table:
    """Returns the largest difference of each quantity, a column for each backend."""
    table = Table("worst difference", *(Column(report.backend, overflow="fold") for report in reports))
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


def _print_export(folder: Path, *, packed: bool, as_json: bool) -> None:
    with Bundle.open(folder) as bundle:
        rows = bundle.manifest.parity
    if as_json:
        archive = str(folder.with_name(folder.name + SUFFIX)) if packed else None
        print_json({"bundle": str(folder), "packed": archive, "parity": [dict(row) for row in rows]})
        return
    stdout.print(parity_table(rows))


def _independence(row: Row) -> Row:
    figures = row.get("batch_independence")
    return figures if isinstance(figures, Mapping) else {}


def _figure(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"
