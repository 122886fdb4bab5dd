"""``semise compare``: every system under one protocol, cell by cell, and the tables made of the cells."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from semise_sdk.cli.console import JsonOption, QuietOption, print_json, progress, say, stdout
from semise_sdk.cli.option_groups import refuse_given, with_groups
from semise_sdk.cli.project import Project, load_project
from semise_sdk.cli.reporter import ConsoleReporter, OneBarReporter
from semise_sdk.cli.requirements import training_installed
from semise_sdk.cli.training_options import TrainingOptions
from semise_sdk.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from semise_training.compare.cells.plan import Plan
    from semise_training.compare.compute.run import Outcome
    from semise_training.compare.report.tables import Tables

PARTS = ("test", "val")
SHOWN = ("macro_f1", "maee", "kendall_tau", "auroc_healthy", "dice")


# The options that --report-only uses.
OF_THE_TABLES = ("--report-only", "--methods", "--variant", "--out", "--parts", "--repeats", "--json", "--quiet")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """Which cells there are."""

    methods: Annotated[str, typer.Option(help="Methods, as majority,imagenet,semise.")] = ""
    variants: Annotated[
        list[str] | None,
        typer.Option("--variant", help="A row of its own, as NAME:method=semise,phase2.alpha=0.2; repeatable."),
    ] = None
    folds: Annotated[int, typer.Option(help="Cross-validation with that many folds.")] = 0
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Encoder seeds; without --folds also of as many random splits. 1 or 3.")
    ] = None
    only_fold: Annotated[int | None, typer.Option(help="Compute this fold alone, from 0.")] = None
    alphas: Annotated[
        str, typer.Option(help="Values of phase2.alpha that semise chooses among on validation data, as 0,0.1,0.5.")
    ] = ""
    label_fractions: Annotated[
        str, typer.Option(help="Shares of the training labels to learn from as well, as 0.05,0.25.")
    ] = ""
    fraction_methods: Annotated[
        str, typer.Option(help="Rows that learn from those; semise, semise-labeled and supervised by default.")
    ] = ""
    head_seeds: Annotated[int, typer.Option(min=1, max=50, help="Classifiers trained with each loss.")] = 5
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Train a U-Net where there are masks.")] = True
    passes: Annotated[
        float, typer.Option(min=0.1, help="Budget of every system: image views for each labeled training image.")
    ] = 26.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOptions(TrainingOptions):
    """The settings that all cells share."""

    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of all cells, as phase2.epochs=20; repeatable.")
    ] = None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare")(with_groups(compare))


def compare(
    context: typer.Context,
    *,
    asked: PlanOptions,
    cells: CellOptions,
    out: Annotated[Path, typer.Option(help="The comparison's folder.")] = Path("comparison"),
    part: Annotated[
        str,
        typer.Option("--parts", help="Tables of test, or of val alone; a cell holds answers on both, chosen on val."),
    ] = "test",
    repeats: Annotated[int, typer.Option(min=1, help="Resamples of the intervals.")] = 1000,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only make the tables again; of --methods, if given.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Compute cells of another experiment anew.")] = False,
    keep_runs: Annotated[bool, typer.Option("--keep-runs", help="Keep the run folder of each cell.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compares systems under one protocol; what is done stays, and the same command goes on after an interruption.

    Each cell answers the validation and the test part, and nothing that chooses reads the latter; `--parts val` prints
    validation tables only.
    """
    with training_installed("semise compare"):
        from semise_training.compare.cells.rows import rows_of
        from semise_training.compare.report.report import report

    if part not in PARTS:
        raise ConfigError(f"expected --parts test or val, found {part!r}")
    outcome, shown = None, frozenset[str]()
    if report_only:
        refuse_given(context, "beside --report-only", "the cells are there already; leave it out", but=OF_THE_TABLES)
        # semise-labeled, which no option can name, goes with semise.
        rows = rows_of(_words(asked.methods), asked.variants or [], with_fractions=True)
        shown = frozenset(row.name for row in rows)
    else:
        plan = _plan(asked, cells, load_project(Path.cwd()))
        outcome = _run(plan, out, redo=redo, keep_runs=keep_runs, quiet=quiet)
    if outcome is None or outcome.computed or outcome.kept:
        tables = report(out, part=part, repeats=repeats, rows=shown)
        _print(tables, out, as_json=as_json, quiet=quiet)
    if outcome is not None:
        _refuse_failures(outcome)


def _plan(asked: PlanOptions, cells: CellOptions, project: Project | None) -> "Plan":
    from semise_training.compare.cells.plan import Plan, Protocol
    from semise_training.compare.cells.rows import LABELED_ONLY, refuse_planned, rows_of
    from semise_training.config import parse_assignments

    refuse_planned(parse_assignments(cells.settings or []), "--set")
    fractions = _numbers(asked.label_fractions, "--label-fractions")
    fraction_methods = _words(asked.fraction_methods)
    with_fractions = bool(fractions) and (not fraction_methods or LABELED_ONLY in fraction_methods)
    return Plan(
        rows=rows_of(_words(asked.methods), asked.variants or [], with_fractions=with_fractions),
        settings=cells.overrides(project, {}),
        preset=cells.preset_of(project),
        protocol=Protocol(head_seeds=asked.head_seeds, masks=asked.masks, passes=asked.passes),
        folds=asked.folds,
        seeds=(1 if asked.folds else 3) if asked.seeds is None else asked.seeds,
        only_fold=asked.only_fold,
        alphas=_numbers(asked.alphas, "--alphas"),
        label_fractions=fractions,
        fraction_rows=fraction_methods,
    )


def _run(plan: "Plan", out: Path, *, redo: bool, keep_runs: bool, quiet: bool) -> "Outcome":
    from semise_training.compare.compute.run import compare as compute

    with progress(quiet=quiet) as display:
        outcome = compute(
            plan,
            out,
            redo=redo,
            keep_runs=keep_runs,
            reporter=ConsoleReporter(display, quiet=quiet),
            stages=OneBarReporter(display, quiet=quiet),
        )
    say(f"{len(outcome.computed)} cells computed, {outcome.kept} were there", quiet=quiet)
    if outcome.elsewhere:
        say(f"{len(outcome.elsewhere)} cells are, or were, computed by another process", quiet=quiet)
    return outcome


def _refuse_failures(outcome: "Outcome") -> None:
    if outcome.failed:
        key, message = next(iter(outcome.failed.items()))
        raise TrainingError(
            f"{len(outcome.failed)} cells failed, the tables lack them (first: {key.slug}: {message}); correct the "
            "settings and run the same command again"
        )


def _print(tables: "Tables", out: Path, *, as_json: bool, quiet: bool) -> None:
    from semise_training.compare.report.report import report_folder
    from semise_training.compare.report.write import cells_of, entry_of, gaps_of, row_name, to_json

    if as_json:
        print_json(to_json(tables))
        return
    names = [name for name in SHOWN if any(row.estimates[name].value is not None for row in tables.rows)]
    table = Table(tables.part, *names, "cells", title="value [95 % interval]")
    for row in tables.rows:
        table.add_row(row_name(row), *(str(entry_of(row.estimates[name])) for name in names), cells_of(row))
    stdout.print(table)
    for gap in gaps_of(tables):
        say(gap, quiet=quiet)
    say(f"all tables: {report_folder(out, tables.part)}", quiet=quiet)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        numbers = tuple(sorted({float(word) for word in _words(text)}))
    except ValueError as error:
        raise ConfigError(f"expected {option} as numbers of 0 to 1 between commas, found {text!r}") from error
    if any(not 0 <= number <= 1 for number in numbers):
        raise ConfigError(f"expected {option} of 0 to 1, found {text!r}")
    return numbers
