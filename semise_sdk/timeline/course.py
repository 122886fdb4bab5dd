"""Visits, their severities, and the changes between them."""

import datetime as dt
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from semise_sdk.images.sources import Source, single
from semise_sdk.results import Severity
from semise_sdk.severity.comparison import difference_of
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.spec import Precision

NO_PATIENT = "no_patient: expected a patient in this row, found none: name one, so that the image has a timeline"
NO_DATE = "no_date: expected the day the image was taken, found none: write it as 2026-11-24 (ISO 8601)"
_BY_SEVERITY = "the most severe stands for the day; name their sides in a column eye, laterality or site if they differ"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visit:
    """One image of a patient and the day it was taken.

    Args:
        image: Path, bytes or array of one image.
        patient: Whose it is; images of one patient make one timeline for each site.
        date: The day; None where it is not known.
        site: Which eye, side or place; empty where there is one only.
        file: The image's name in results; None for the path, or ``visit[i]`` by its place for bytes and arrays.
        problem: Why the image cannot be placed in time, as ``code: sentence``; empty where it can.
    """

    image: Source
    patient: str
    date: dt.date | None
    site: str = ""
    file: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitSeverity:
    """One image of a timeline.

    Args:
        patient: Whose it is.
        site: Which eye, side or place.
        date: The day it was taken; None where that is not known.
        answer: Its severity, with interval and grade, or why it has none.
        stands_for_day: Whether it is the scored image by which its day is compared with others.
        since_first: Change of severity since the first scored day of this patient and site; None on that day, and for
            an image that does not stand for its day.
        since_previous: Change since the scored day before; None alike.
    """

    patient: str
    site: str
    date: dt.date | None
    answer: Severity
    stands_for_day: bool = False
    since_first: SeverityDifference | None = None
    since_previous: SeverityDifference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The images of all patients: by patient as they first came, then by site and date; undated ones last.

    Args:
        rows: One for each image, whatever happened to it.
        reference: What the severity was measured from: a file, a folder or ``bundle``.
        backend: Backend and device that ran, such as ``onnxruntime:CPUExecutionProvider``.
        precision: What the graphs computed in.
    """

    rows: tuple[VisitSeverity, ...]
    reference: str
    backend: str
    precision: Precision = "fp32"

    def by_patient(self) -> dict[str, tuple[VisitSeverity, ...]]:
        """Returns the rows of each patient; rows without a patient are under the empty name."""
        rows: defaultdict[str, list[VisitSeverity]] = defaultdict(list)
        for row in self.rows:
            rows[row.patient].append(row)
        return {patient: tuple(found) for patient, found in rows.items()}


def timeline_rows(
    visits: Sequence[Visit], score: Callable[[Sequence[Source]], Iterable[Severity]]
) -> tuple[VisitSeverity, ...]:
    """Returns the rows of a timeline in its order, with their changes.

    Several images of one patient and site on one day are one visit, for which the most severe of them stands; each of
    them is marked for review.

    Args:
        visits: The images, in the order they came.
        score: Gives an answer for each of the images that can be placed in time, in order; the others are not scored.
    """
    scored = iter(score([single(visit.image) for visit in visits if not _problem(visit)]))
    answers = [_answer(visit, index, scored) for index, visit in enumerate(visits)]
    places = {patient: place for place, patient in enumerate(dict.fromkeys(visit.patient for visit in visits))}
    rows = [
        VisitSeverity(patient=visit.patient, site=visit.site, date=visit.date, answer=answer)
        for visit, answer in zip(visits, answers, strict=True)
    ]
    courses: defaultdict[tuple[int, str], list[VisitSeverity]] = defaultdict(list)
    for row in rows:
        courses[places[row.patient], row.site].append(row)
    return tuple(row for key in sorted(courses) for row in _course(courses[key]))


def _course(rows: Iterable[VisitSeverity]) -> list[VisitSeverity]:
    """Returns the rows of one patient and site in the order of their dates, with their changes."""
    ordered = sorted(rows, key=lambda row: (row.date is None, row.date or dt.date.min, row.answer.file))
    days: defaultdict[dt.date, list[VisitSeverity]] = defaultdict(list)
    for row in ordered:
        if row.date is not None and row.answer.severity is not None:
            days[row.date].append(row)
    stand_ins = [max(days[date], key=lambda row: row.answer.severity or 0.0) for date in sorted(days)]
    standing = {id(row): replace(row, stands_for_day=True) for row in stand_ins[:1]}
    for previous, row in itertools.pairwise(stand_ins):
        standing[id(row)] = replace(
            row,
            stands_for_day=True,
            since_first=difference_of(row.answer, stand_ins[0].answer),
            since_previous=difference_of(row.answer, previous.answer),
        )
    return [_reviewed(standing.get(id(row), row), days) for row in ordered]


def _reviewed(row: VisitSeverity, days: Mapping[dt.date, list[VisitSeverity]]) -> VisitSeverity:
    same_day = len(days.get(row.date, ())) if row.date is not None and row.answer.severity is not None else 0
    if same_day < 2:
        return row
    reason = f"same_day: expected one image of a patient and site a day, found {same_day}: {_BY_SEVERITY}"
    # A reason that is there already weighs more than the day.
    answer = row.answer if row.answer.reason else replace(row.answer, status="review", reason=reason)
    return replace(row, answer=answer)


def _answer(visit: Visit, index: int, scored: Iterator[Severity]) -> Severity:
    """Returns the next of those scored, or why the visit cannot be placed in time, by the visit's name."""
    file, problem = visit_name(visit, index), _problem(visit)
    if problem:
        return Severity(file=file, status="error", reason=problem)
    return replace(next(scored), file=file)


def _problem(visit: Visit) -> str:
    if visit.problem:
        return visit.problem
    if not visit.patient:
        return NO_PATIENT
    return NO_DATE if visit.date is None else ""


def visit_name(visit: Visit, index: int) -> str:
    """Returns what the image of the ``index``-th visit is called in results."""
    if visit.file is not None:
        return visit.file
    return os.fspath(visit.image) if isinstance(visit.image, str | os.PathLike) else f"visit[{index}]"
