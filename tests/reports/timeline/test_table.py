import datetime as dt

import pytest

from semise_sdk.reports.timeline.table import COLUMNS, numbered, timeline_row, verdict
from semise_sdk.results import Severity
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.timeline import Timeline, VisitSeverity


def row(patient, file, **options):
    return VisitSeverity(
        patient=patient, site="left", date=dt.date(2026, 1, 2), answer=Severity(file=file, severity=0.5), **options
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (SeverityDifference(value=0.2, low=0.1, high=0.3, share=1.0), "more severe"),
        (SeverityDifference(value=-0.2, low=-0.3, high=-0.1, share=0.0), "less severe"),
        (SeverityDifference(value=0.2, low=-0.1, high=0.3, share=0.9), "undecided"),
        (SeverityDifference(value=0.2), None),
        (None, None),
    ],
)
def test_a_change_in_words(change, words):
    assert verdict(change) == words


def test_a_row_has_every_column_in_order():
    change = SeverityDifference(value=0.2, low=0.1, high=0.3, share=1.0)
    found = timeline_row(row("p", "a.png", since_first=change))
    assert tuple(found) == COLUMNS
    assert (found["date"], found["site"], found["severity"]) == ("2026-01-02", "left", 0.5)
    assert [found[f"since_first{end}"] for end in ("", "_low", "_high", "_verdict")] == [0.2, 0.1, 0.3, "more severe"]
    assert [found[f"since_previous{end}"] for end in ("", "_low", "_high", "_verdict")] == [None] * 4


def test_numbers_take_the_place_of_names_in_their_order():
    timeline = Timeline(rows=(row("Zoe", "1"), row("Ann", "2"), row("Zoe", "3")), reference="", backend="")
    assert [found.patient for found in numbered(timeline).rows] == ["1", "2", "1"]
