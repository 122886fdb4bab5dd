"""A timeline as one HTML page: a small chart and a table for each patient, no script, not one network request."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.reports.html_page import page_file, require_jinja, source_hash
from semise_sdk.reports.timeline.chart import HEIGHT, LEFT, RIGHT, WIDTH, Chart, chart_of, highest_severity
from semise_sdk.reports.timeline.table import verdict
from semise_sdk.results import INTENDED_USE
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.system.atomic import write_text
from semise_sdk.tables.write import utf8_text
from semise_sdk.timeline.course import Timeline, VisitSeverity

COLUMNS = ("date", "site", "severity", "grade", "since the first", "since the one before", "status", "file", "reason")


@dataclass(frozen=True, slots=True)
class _Patient:
    name: str
    chart: Chart | None
    rows: tuple[tuple[str, ...], ...]


def write_page(timeline: Timeline, path: Path, *, bundle: str) -> None:
    """Writes the page; it names the patients as the timeline does.

    Raises:
        OutputError: the page cannot be written.
        ConfigError: the extra ``report`` is not installed.
    """
    write_text(path, page_of(timeline, bundle=bundle))


def page_of(timeline: Timeline, *, bundle: str) -> str:
    """Returns the page as HTML; raises ConfigError where the extra ``report`` is not installed."""
    require_jinja()
    from jinja2 import DictLoader, Environment

    texts = {name: page_file("semise_sdk.reports.timeline", name) for name in ("page.html", "page.css")}
    environment = Environment(autoescape=True, trim_blocks=True, loader=DictLoader(texts))
    style = environment.get_template("page.css").render()
    page = environment.get_template("page.html").render(
        style_hash=source_hash(style),
        intended_use=INTENDED_USE,
        reference=timeline.reference,
        bundle=bundle,
        backend=timeline.backend,
        precision=timeline.precision,
        images=len(timeline.rows),
        not_scored=sum(row.answer.severity is None for row in timeline.rows),
        patients=list(_patients(timeline)),
        columns=COLUMNS,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
    )
    return utf8_text(page)  # a manifest's names may hold bytes that are no text


def _patients(timeline: Timeline) -> Iterable[_Patient]:
    highest = highest_severity(timeline)
    for name, rows in timeline.by_patient().items():
        yield _Patient(name, chart_of(rows, highest=highest), tuple(map(_cells, rows)))


def _cells(row: VisitSeverity) -> tuple[str, ...]:
    answer = row.answer
    return (
        "" if row.date is None else row.date.isoformat(),
        row.site,
        _with_interval(answer.severity, answer.severity_low, answer.severity_high),
        answer.grade or "",
        _change(row.since_first),
        _change(row.since_previous),
        answer.status,
        answer.file,
        answer.reason,
    )


def _change(change: SeverityDifference | None) -> str:
    if change is None:
        return ""
    words = verdict(change)
    found = _with_interval(change.value, change.low, change.high, sign="+")
    return found if words is None else f"{found}: {words}"


def _with_interval(value: float | None, low: float | None, high: float | None, *, sign: str = "") -> str:
    if value is None:
        return ""
    if low is None or high is None:
        return f"{value:{sign}.4f}"
    return f"{value:{sign}.4f} ({low:{sign}.4f} to {high:{sign}.4f})"
