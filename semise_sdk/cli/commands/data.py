"""``semise data check``, ``semise data import`` and ``semise init``: look at the data, and set a project folder up."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from semise_sdk.cli.commands.import_data import import_data
from semise_sdk.cli.console import JsonOption, QuietOption, print_json, printable, progress, say, stdout, writing
from semise_sdk.cli.project import PROJECT_FILE, load_project
from semise_sdk.cli.requirements import training_installed
from semise_sdk.errors import EXIT_USAGE, ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from semise_training.data.checks.findings import CheckReport

ColumnsOption = Annotated[
    str,
    typer.Option("--columns", metavar="NAME=HEADER,...", help="Headers that differ, e.g. image=file,group=patient."),
]

_PROJECT_TEMPLATE = """\
# A SemiSe project: `semise train`, `semise export` and `semise rank` read this file when they run in its folder.

[project]
# Name of the model that this project trains; every bundle carries it.
name = {name}

[data]
# The CSV or JSONL manifest, relative to this file.
manifest = {manifest}
# Our column names (image, severity, label, mask, group, split) and the manifest's headers where they differ.
columns = {columns}

[train]
# "recommended", or "faithful": the preset nearest the paper.
preset = "recommended"
# Folder that the runs are written to, relative to this file.
out = "runs"
# Any value of a run's config.yaml may follow, such as: seed = 1
"""


def register(app: typer.Typer) -> None:
    """Adds ``data check``, ``data import`` and ``init`` to the command line."""
    data = typer.Typer(help="Look at the data before training.", no_args_is_help=True)
    data.callback()(_data)
    data.command("check")(check)
    data.command("import")(import_data)
    app.add_typer(data, name="data")
    app.command("init")(init)


def check(
    data: Annotated[
        Path | None, typer.Argument(help="Manifest (CSV or JSONL) or its folder; that of semise.toml by default.")
    ] = None,
    *,
    columns: ColumnsOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Report everything wrong with a manifest and its images; exit code 2 when training would refuse them."""
    with training_installed("semise data check"):
        from semise_training.data.checks.check import check_file
        from semise_training.data.manifest import parse_columns
    manifest, headers = _manifest_of(data, parse_columns(columns))
    with progress(quiet=quiet) as display:
        report = check_file(manifest, columns=headers, reporter=_Bar(display))
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(EXIT_USAGE)


def init(
    data: Annotated[Path, typer.Argument(help="Manifest (CSV or JSONL) or its folder.")],
    *,
    columns: ColumnsOption = "",
    out_dir: Annotated[Path, typer.Option("--out-dir", help="Project folder to write semise.toml in.")] = Path(),
    name: Annotated[str, typer.Option("--name", help="Name of the model; by default that of the data's folder.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a semise.toml.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write semise.toml, so that bare `semise train`, `export` and `rank` work in this folder."""
    from semise_training.data.manifest import load_manifest, parse_columns

    target = out_dir / PROJECT_FILE
    if target.exists() and not force:
        raise ConfigError(f"expected no {target} yet, found one: keep it, or overwrite it with --force")
    headers = parse_columns(columns)
    manifest = load_manifest(data, columns=headers)
    text = _project_text(name or manifest.path.resolve().parent.name or "semise", manifest.path, headers, out_dir)
    with writing(str(target)):
        out_dir.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    grades = ", ".join(manifest.labels) or "no labels"
    say(
        f"wrote {target}: {len(manifest.samples)} images ({grades}); next: semise data check, semise train", quiet=quiet
    )


class _Bar:
    """Draws a check's progress; the Reporter of semise_sdk.system.progress."""

    def __init__(self, display: "Progress") -> None:
        self._display = display
        self._task: TaskID | None = None

    def start(self, label: str, total: int) -> None:
        self._task = self._display.add_task(label, total=total, note="")

    def step(self, note: str) -> None:
        if self._task is not None:
            self._display.update(self._task, advance=1, note=note)

    def say(self, message: str) -> None:
        self._display.console.print(message, markup=False)


def _data() -> None:
    """Look at the data before training."""


def _manifest_of(data: Path | None, columns: Mapping[str, str]) -> tuple[Path, Mapping[str, str]]:
    """Returns the manifest to read and its headers: those given, or those of the folder's semise.toml."""
    if data is not None:
        return data, columns
    project = load_project(Path.cwd())
    if project is None:
        raise ConfigError(
            f"expected a manifest, found no argument and no {PROJECT_FILE} here: semise data check DATA.csv"
        )
    return project.manifest, columns or project.columns


def _print_report(report: "CheckReport") -> None:
    if report.findings:
        table = Table("level", "kind", "rows", "what", title=printable(report.manifest), title_justify="left")
        for column in table.columns:
            column.overflow = "fold"
        for finding in report.findings:
            table.add_row(finding.level, finding.kind, _ranges(finding.rows), printable(finding.message))
        stdout.print(table)
    for line in _summary(report):
        stdout.print(printable(line))


def _summary(report: "CheckReport") -> Iterator[str]:
    grades = ", ".join(f"{label} {count}" for label, count in report.classes.items())
    yield f"{report.images} images: {grades}"
    for part, counts in report.splits.items():
        yield f"{part}: " + ", ".join(f"{label} {count}" for label, count in counts.items())
    if report.near_duplicate_sets:
        yield f"{report.near_duplicate_images} images look alike, in {report.near_duplicate_sets} sets"
    verdict = "ok" if report.ok else "not ok"
    yield f"{verdict}: {len(report.errors)} errors, {len(report.warnings)} warnings"


def _ranges(rows: Sequence[int]) -> str:
    """Returns row numbers as text, runs of them as ``2-5``."""
    runs: list[list[int]] = []
    for row in sorted(rows):
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _project_text(name: str, manifest: Path, columns: Mapping[str, str], out_dir: Path) -> str:
    pairs = ", ".join(f"{ours} = {_toml(header)}" for ours, header in columns.items())
    return _PROJECT_TEMPLATE.format(
        name=_toml(name),
        manifest=_toml(_relative(manifest, out_dir)),
        columns=f"{{ {pairs} }}" if pairs else "{}",
    )


def _toml(text: str) -> str:
    # A JSON string is a TOML string but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # Windows has no relative path from one drive to another
        return path.resolve().as_posix()
