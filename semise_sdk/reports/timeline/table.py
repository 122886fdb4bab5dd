"""A timeline as rows to be written, and its changes in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from semise_sdk.privacy import Privacy
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.tables.write import Cell, Row, answer_row
from semise_sdk.timeline.course import Timeline, VisitSeverity

COLUMNS = (
    "patient",
    "site",
    "date",
    "file",
    "severity",
    "severity_low",
    "severity_high",
    "grade",
    "since_first",
    "since_first_low",
    "since_first_high",
    "since_first_verdict",
    "since_previous",
    "since_previous_low",
    "since_previous_high",
    "since_previous_verdict",
    "status",
    "reason",
)


def timeline_row(row: VisitSeverity) -> Row:
    """Returns one row of a timeline with the columns of ``COLUMNS``; dates as 2026-11-24."""
    cells: Row = {
        **answer_row(row.answer),
        "patient": row.patient,
        "site": row.site or None,
        "date": None if row.date is None else row.date.isoformat(),
        **_change("since_first", row.since_first),
        **_change("since_previous", row.since_previous),
    }
    return {name: cells[name] for name in COLUMNS}


def verdict(change: SeverityDifference | None) -> str | None:
    """Returns what a change of severity is worth: ``more severe``, ``less severe`` or ``undecided``.

    None where there is no change to speak of, or a bank of one image, which decides nothing.
    """
    if change is None or change.is_decided is None:
        return None
    if not change.is_decided:
        return "undecided"
    return "more severe" if change.value > 0 else "less severe"


def numbered(timeline: Timeline) -> Timeline:
    """Returns the timeline with its patients as numbers, in the order they first came."""
    numbers = {patient: str(number) for number, patient in enumerate(timeline.by_patient(), start=1)}
    return replace(timeline, rows=tuple(replace(row, patient=numbers[row.patient]) for row in timeline.rows))


def veiled(timeline: Timeline, privacy: Privacy, *, files: Sequence[str]) -> Timeline:
    """Returns the timeline as a policy lets it be shown; its order stays.

    ``hash`` gives patients and files pseudonyms; ``drop`` numbers them, files by their place in ``files``, and leaves
    the days out, one of the eighteen identifiers of HIPAA's safe harbor (45 CFR 164.514(b)(2)). Both number the sites,
    which are free text.

    Args:
        timeline: The timeline.
        privacy: The policy.
        files: The names of the images in the order of the manifest.
    """
    if privacy.phi == "keep":
        return timeline
    shown = timeline if privacy.phi == "hash" else numbered(timeline)
    sites = {
        site: str(number) for number, site in enumerate(dict.fromkeys(row.site for row in timeline.rows if row.site), 1)
    }
    numbers = {file: number for number, file in reversed(list(enumerate(files, start=1)))}
    return replace(shown, rows=tuple(_veiled(row, privacy, numbers[row.answer.file], sites) for row in shown.rows))


def _veiled(row: VisitSeverity, privacy: Privacy, number: int, sites: Mapping[str, str]) -> VisitSeverity:
    shown = replace(row, answer=privacy.veiled(row.answer, number=number), site=row.site and sites[row.site])
    if privacy.phi == "drop":
        return replace(shown, date=None)
    return replace(shown, patient=row.patient and f"p-{privacy.digest('patient', row.patient).hex()[:16]}")


def _change(name: str, change: SeverityDifference | None) -> dict[str, Cell]:
    return {
        name: None if change is None else change.value,
        f"{name}_low": None if change is None else change.low,
        f"{name}_high": None if change is None else change.high,
        f"{name}_verdict": verdict(change),
    }
