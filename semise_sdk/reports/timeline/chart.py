"""Where the points of a patient's chart lie: severity over time, a line for each site, in SVG user units."""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from semise_sdk.reports.timeline.table import verdict
from semise_sdk.timeline.course import Timeline, VisitSeverity

Mark = Literal["first", "more", "less", "undecided", "beside"]

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 110, 14, 30

_MARKS: dict[str | None, Mark] = {
    None: "first",
    "more severe": "more",
    "less severe": "less",
    "undecided": "undecided",
}
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One image on the chart.

    Args:
        x: Its day.
        y: Its severity.
        top: Upper end of the severity's interval, at the severity where there is none.
        bottom: Lower end.
        mark: What the change since the first day is worth; ``beside`` for an image that does not stand for its day.
        title: What it is, in words.
    """

    x: float
    y: float
    top: float
    bottom: float
    mark: Mark
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The images of one site, those that stand for their days joined in order of time."""

    site: str
    points: tuple[Point, ...]
    dashes: str

    @property
    def joined(self) -> tuple[Point, ...]:
        """The points that stand for their days."""
        return tuple(point for point in self.points if point.mark != "beside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One patient's lines, and the ticks of both axes as place and text."""

    lines: tuple[Line, ...]
    severities: tuple[tuple[float, str], ...]
    days: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From days and severities to places."""

    first: dt.date
    last: dt.date
    highest: float

    def x(self, day: dt.date) -> float:
        span = (self.last - self.first).days
        share = (day - self.first).days / span if span else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)

    def y(self, severity: float) -> float:
        return round(HEIGHT - BOTTOM - severity / self.highest * (HEIGHT - TOP - BOTTOM), 2)


def highest_severity(timeline: Timeline) -> float:
    """Returns the top of the severity axis, the same for all patients: the next tenth above what is drawn."""
    answers = [row.answer for row in timeline.rows]
    highest = max((answer.severity_high or answer.severity or 0.0 for answer in answers), default=0.0)
    return max(0.1, math.ceil(round(highest * 10, 6)) / 10)


def chart_of(rows: Iterable[VisitSeverity], *, highest: float) -> Chart | None:
    """Returns the chart of one patient's rows; None where no image has a day and a severity."""
    drawn = [row for row in rows if row.date is not None and row.answer.severity is not None]
    days = sorted({row.date for row in drawn if row.date is not None})
    if not days:
        return None
    scale = _Scale(days[0], days[-1], highest)
    sites: defaultdict[str, list[VisitSeverity]] = defaultdict(list)
    for row in drawn:
        sites[row.site].append(row)
    return Chart(
        lines=tuple(_line(site, sites[site], scale, index) for index, site in enumerate(sites)),
        severities=tuple((scale.y(share * highest), f"{share * highest:g}") for share in (0, 0.5, 1)),
        days=tuple((scale.x(day), day.isoformat()) for day in dict.fromkeys((days[0], days[-1]))),
    )


def _line(site: str, rows: Sequence[VisitSeverity], scale: _Scale, index: int) -> Line:
    return Line(site=site, points=tuple(_point(row, scale) for row in rows), dashes=_DASHES[index % len(_DASHES)])


def _point(row: VisitSeverity, scale: _Scale) -> Point:
    answer, day = row.answer, row.date or scale.first
    severity = answer.severity or 0.0
    low = severity if answer.severity_low is None else answer.severity_low
    high = severity if answer.severity_high is None else answer.severity_high
    return Point(
        x=scale.x(day),
        y=scale.y(severity),
        top=scale.y(high),
        bottom=scale.y(low),
        mark=_MARKS[verdict(row.since_first)] if row.stands_for_day else "beside",
        title=_title(row, day, severity, low, high),
    )


def _title(row: VisitSeverity, day: dt.date, severity: float, low: float, high: float) -> str:
    change = verdict(row.since_first)
    since = "" if change is None else f", {change} since the first"
    return f"{day.isoformat()} {row.site} severity {severity:.4f} ({low:.4f} to {high:.4f}){since}".replace("  ", " ")
