"""``semise timeline``: patients over time, from a manifest with image, patient and date."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from semise_sdk.cli.batch import open_predictor
from semise_sdk.cli.commands.compare_images import number
from semise_sdk.cli.console import printable, progress, say, stdout
from semise_sdk.cli.option_groups import Without, with_groups
from semise_sdk.cli.options import Engine, Reference
from semise_sdk.cli.output import Output
from semise_sdk.cli.reporter import OneBarReporter
from semise_sdk.cli.run_options import NamingOptions
from semise_sdk.cli.worklist import check_report
from semise_sdk.errors import EXIT_OK, EXIT_SOME_ROWS_FAILED
from semise_sdk.reports.timeline.page import write_page
from semise_sdk.reports.timeline.table import COLUMNS, numbered, timeline_row, veiled, verdict
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.tables.read import parse_headers
from semise_sdk.tables.write import Header, Layout, write_rows
from semise_sdk.timeline import Timeline, read_visits
from semise_sdk.timeline.course import visit_name
from semise_sdk.timeline.visits import COLUMNS as MANIFEST_COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineOutput(Output):
    """The output of ``timeline``: a table for people, unless rows are asked for."""

    out: Annotated[Path | None, typer.Option(help="File for the rows; a table on standard output by default.")] = None

    @property
    def is_table(self) -> bool:
        """Whether people read it: neither a file nor a format is asked for."""
        return self.out is None and self.layout is None and not self.as_json


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("timeline")(with_groups(timeline))


def timeline(
    manifest: Annotated[
        Path, typer.Argument(help="CSV or JSONL: image,patient,date[,eye|laterality|site].", show_default=False)
    ],
    *,
    reference: Reference = None,
    columns: Annotated[str, typer.Option(help="Other headers, as image=file,patient=mrn.")] = "",
    report: Annotated[Path | None, typer.Option(help="File for a page with a chart of each patient.")] = None,
    engine: Annotated[Engine, Without("isolate", "decode")],
    naming: NamingOptions,
    output: TimelineOutput,
) -> int:
    """Follows patients over time: severity, and its change since the first and the previous day.

    A change is decided where its 95 % interval over the healthy references leaves out zero. Patients are named in the
    files of --out and --report alone; on standard output they are numbered.
    """
    visits = read_visits(manifest, columns=parse_headers(columns, MANIFEST_COLUMNS))
    layout = output.chosen_layout()
    naming.refuse_drawings(report=report)
    check_report(report, output.out)
    with open_predictor(engine, quiet=output.quiet) as predictor, progress(quiet=output.quiet) as display:
        reporter = OneBarReporter(display, quiet=output.quiet)
        found = predictor.timeline(visits, reference=reference, reporter=reporter)
        files = [visit_name(visit, index) for index, visit in enumerate(visits)]
        found = veiled(replace(found, reference=naming.described(reference)), naming.results, files=files)
        header = Header(
            bundle=predictor.name, backend=found.backend, precision=found.precision, reference=found.reference
        )
    try:
        if report is not None:
            write_page(found, report, bundle=header.bundle)
    finally:  # a page that cannot be written takes no row with it
        if output.is_table:
            _print(numbered(found))
        else:
            _write(found, output, layout, header)
    return _finish(found, quiet=output.quiet)


def _write(found: Timeline, output: Output, layout: Layout, header: Header) -> None:
    shown = numbered(found) if output.out is None else found
    with output.stream() as stream:
        write_rows(map(timeline_row, shown.rows), stream, columns=COLUMNS, layout=layout, header=header)


def _finish(found: Timeline, *, quiet: bool) -> int:
    statuses = Counter(row.answer.status for row in found.rows)
    say(
        f"{len(found.by_patient())} patients, {len(found.rows)} images, {statuses['review']} to review, "
        f"{statuses['abstain']} not scored, {statuses['error']} failed",
        quiet=quiet,
    )
    return EXIT_SOME_ROWS_FAILED if statuses["error"] else EXIT_OK


def _print(found: Timeline) -> None:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("patient", "date", "file", "severity", "grade", "since first", "since previous", "status"):
        is_change = name.startswith("since")
        table.add_column(
            name,
            no_wrap=name in ("date", "severity", "status"),
            overflow="fold",
            min_width=len("more severe") if is_change else None,
        )
    for row in found.rows:
        answer = row.answer
        table.add_row(
            printable(f"{row.patient} {row.site}".strip()),
            "" if row.date is None else row.date.isoformat(),
            printable(answer.file),
            number(answer.severity),
            printable(answer.grade or ""),
            _words(row.since_first),
            _words(row.since_previous),
            answer.status,
        )
    stdout.print(table)
    for row in found.rows:
        if row.answer.reason:
            stdout.print(printable(f"{row.answer.file}: {row.answer.reason}"))


def _words(change: SeverityDifference | None) -> str:
    if change is None:
        return ""
    words = verdict(change)
    return f"{change.value:+.4f}" + (f" {words}" if words else "")
