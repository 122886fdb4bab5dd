"""``semise timeline``: patients over time, from a manifest with image, patient and date."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from semise_sdk.cli.batch import Engine, chosen_layout, open_predictor, result_stream
from semise_sdk.cli.commands.compare_images import number
from semise_sdk.cli.console import JsonOption, PublicKeyOption, QuietOption, printable, say, stdout, tracked
from semise_sdk.cli.options import (
    Backend,
    BatchSize,
    BundleOption,
    Device,
    LayoutOption,
    PrecisionOption,
    Reference,
    Threads,
)
from semise_sdk.cli.run_options import ResultKeyOption, ResultPhiOption, RunOptions
from semise_sdk.cli.worklist import check_report
from semise_sdk.errors import EXIT_OK, EXIT_SOME_ROWS_FAILED
from semise_sdk.images.sources import Source
from semise_sdk.predictor import Predictor, describe_reference
from semise_sdk.reports.timeline.page import write_page
from semise_sdk.reports.timeline.table import COLUMNS, numbered, timeline_row, veiled, verdict
from semise_sdk.results import Severity
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.tables.read import parse_headers
from semise_sdk.tables.write import Header, Layout, write_rows
from semise_sdk.timeline import Timeline, Visit, read_visits, timeline_rows
from semise_sdk.timeline.course import visit_name
from semise_sdk.timeline.visits import COLUMNS as MANIFEST_COLUMNS


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("timeline")(timeline)


def timeline(
    manifest: Annotated[
        Path, typer.Argument(help="CSV or JSONL: image,patient,date[,eye|laterality|site].", show_default=False)
    ],
    reference: Reference = None,
    columns: Annotated[str, typer.Option(help="Other headers, as image=file,patient=mrn.")] = "",
    report: Annotated[Path | None, typer.Option(help="File for a page with a chart of each patient.")] = None,
    bundle: BundleOption = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    batch_size: BatchSize = None,
    threads: Threads = None,
    public_key: PublicKeyOption = None,
    out: Annotated[Path | None, typer.Option(help="File for the rows; a table on standard output by default.")] = None,
    layout: LayoutOption = None,
    phi: ResultPhiOption = None,
    phi_key: ResultKeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Follows patients over time: severity, and its change since the first and the previous day.

    A change is decided where its 95 % interval over the healthy references leaves out zero. Patients are named in the
    files of --out and --report alone; on standard output they are numbered.
    """
    visits = read_visits(manifest, columns=parse_headers(columns, MANIFEST_COLUMNS))
    shown = chosen_layout(layout, out, as_json=as_json)
    options = RunOptions(phi=phi, key=phi_key)
    options.refuse_drawings(report=report)
    check_report(report, out)
    engine = Engine(
        bundle=bundle,
        backend=backend,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        public_key=public_key,
    )
    with open_predictor(engine, quiet=quiet) as predictor:
        found = _timeline(predictor, visits, reference, quiet=quiet)
        files = [visit_name(visit, index) for index, visit in enumerate(visits)]
        found = veiled(replace(found, reference=options.described(reference)), options.results, files=files)
        header = Header(
            bundle=predictor.name, backend=found.backend, precision=found.precision, reference=found.reference
        )
    try:
        if report is not None:
            write_page(found, report, bundle=header.bundle)
    finally:  # a page that cannot be written takes no row with it
        if out is None and layout is None and not as_json:
            _print(numbered(found))
        else:
            _write(found, out, shown, header)
    return _finish(found, quiet=quiet)


def _timeline(predictor: Predictor, visits: tuple[Visit, ...], reference: Path | None, *, quiet: bool) -> Timeline:
    def score(images: Sequence[Source]) -> Iterator[Severity]:
        scored = predictor.iter_severity(images, reference=reference)
        return tracked(scored, total=len(images), label="scoring", quiet=quiet)

    return Timeline(
        rows=timeline_rows(visits, score),
        reference=describe_reference(reference),
        backend=predictor.backend,
        precision=predictor.precision,
    )


def _write(found: Timeline, out: Path | None, layout: Layout, header: Header) -> None:
    shown = numbered(found) if out is None else found
    with result_stream(out) as stream:
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
