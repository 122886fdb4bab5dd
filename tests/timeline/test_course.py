"""Timelines on hand-made severities: order, changes, days with several images, and what cannot be placed."""

import datetime as dt

import numpy as np
import pytest

from semise_sdk.images.record import NamedImage
from semise_sdk.results import Severity
from semise_sdk.severity.resamples import RESAMPLES
from semise_sdk.timeline import Timeline, Visit, timeline_rows

STILL = np.zeros(RESAMPLES, np.float16)
WIDE = (np.linspace(-1, 1, RESAMPLES) * 0.2).astype(np.float16)


def visit(image, patient="p", date="2026-01-01", **options):
    day = None if date is None else dt.date.fromisoformat(date)
    return Visit(image=image, patient=patient, date=day, **options)


def rows_of(*visits_and_severities, resampled=STILL):
    visits = [found for found, _ in visits_and_severities]
    severities = {found.image: severity for found, severity in visits_and_severities}

    def score(images):
        for image in images:
            severity = severities[image.file]
            if severity is None:
                yield Severity(file=image.file, status="error", reason="damaged: it is")
            else:
                yield Severity(file=image.file, severity=severity, resampled=resampled)

    return timeline_rows(visits, score)


def changes(rows):
    return [
        (row.answer.file, row.since_first and row.since_first.value, row.since_previous and row.since_previous.value)
        for row in rows
    ]


def test_days_come_in_order_with_the_change_since_the_first_and_the_one_before():
    rows = rows_of(
        (visit("c", date="2026-03-01"), 0.4), (visit("a", date="2025-12-31"), 0.5), (visit("b", date="2026-02-01"), 0.9)
    )
    assert changes(rows) == [("a", None, None), ("b", 0.4, 0.4), ("c", -0.1, -0.5)]
    assert [row.since_first.is_decided for row in rows[1:]] == [True, True]
    assert all(row.stands_for_day and row.answer.status == "ok" for row in rows)


def test_a_change_within_what_the_bank_leaves_open_is_undecided():
    visits = (visit("a"), 0.5), (visit("b", date="2026-02-01"), 0.6)
    *_, steady = rows_of(*visits, resampled=STILL)
    assert steady.since_first.is_decided is True
    answers = [Severity(file="a", severity=0.5, resampled=WIDE), Severity(file="b", severity=0.6, resampled=STILL)]
    *_, unsteady = timeline_rows([found for found, _ in visits], lambda images: answers)
    assert unsteady.since_first.is_decided is False
    *_, unknown = rows_of(*visits, resampled=None)
    assert (unknown.since_first.value, unknown.since_first.is_decided) == (0.1, None)


def test_patients_keep_the_order_they_came_in_and_sites_are_apart():
    rows = rows_of(
        (visit("z1", "zoe", "2026-01-01", site="right"), 0.1),
        (visit("a1", "ann", "2026-01-01"), 0.2),
        (visit("z2", "zoe", "2026-01-01", site="left"), 0.3),
        (visit("z3", "zoe", "2026-02-01", site="right"), 0.6),
    )
    assert [(row.patient, row.site, row.answer.file) for row in rows] == [
        ("zoe", "left", "z2"), ("zoe", "right", "z1"), ("zoe", "right", "z3"), ("ann", "", "a1"),
    ]  # fmt: skip
    assert changes(rows)[2] == ("z3", 0.5, 0.5)
    assert all(row.answer.status == "ok" for row in rows)
    timeline = Timeline(rows=rows, reference="bundle", backend="x")
    assert [(name, len(found)) for name, found in timeline.by_patient().items()] == [("zoe", 3), ("ann", 1)]


def test_of_several_images_of_a_day_the_most_severe_stands_and_all_are_to_be_reviewed():
    rows = rows_of(
        (visit("a"), 0.5),
        (visit("b"), 0.7),
        (visit("c", date="2026-02-01"), 0.6),
        (visit("d", date="2026-02-01"), None),
    )
    assert changes(rows) == [("a", None, None), ("b", None, None), ("c", -0.1, -0.1), ("d", None, None)]
    assert [row.stands_for_day for row in rows] == [False, True, True, False]
    assert [row.answer.status for row in rows] == ["review", "review", "ok", "error"]
    assert rows[0].answer.reason.startswith("same_day: expected one image of a patient and site a day, found 2: ")


def test_an_abstention_keeps_its_reason_and_is_no_day():
    answers = [
        Severity(file="a", severity=0.5, resampled=STILL),
        Severity(file="b", status="abstain", reason="quality_blur: expected a sharp image, found a blurred one"),
        Severity(file="c", severity=0.6, status="review", reason="wide_set: look", resampled=STILL),
        Severity(file="d", severity=0.7, resampled=STILL),
    ]
    visits = [visit("a"), visit("b", date="2026-02-01"), visit("c", date="2026-03-01"), visit("d", date="2026-03-01")]
    rows = timeline_rows(visits, lambda images: answers)
    assert changes(rows) == [("a", None, None), ("b", None, None), ("c", None, None), ("d", 0.2, 0.2)]
    assert [row.answer.reason.split(":")[0] for row in rows] == ["", "quality_blur", "wide_set", "same_day"]


def test_what_cannot_be_placed_in_time_is_a_row_that_is_not_scored():
    asked = []

    def score(images):
        asked.extend(images)
        return [Severity(file="x", severity=0.5, resampled=STILL)]

    visits = [visit("a", date=None), visit("b", patient=""), visit("c", problem="other_date: it is"), visit("d")]
    rows = {row.answer.file: row for row in timeline_rows(visits, score)}
    assert [image.file for image in asked] == ["d"]
    assert [rows[name].answer.status for name in "abcd"] == ["error", "error", "error", "ok"]
    assert [rows[name].answer.reason.split(":")[0] for name in "abc"] == ["no_date", "no_patient", "other_date"]
    assert rows["d"].answer.severity == 0.5


def test_undated_rows_come_last_of_their_patient():
    rows = rows_of((visit("a", date=None), 0.5), (visit("b"), 0.5))
    assert [row.answer.file for row in rows] == ["b", "a"]


@pytest.mark.parametrize(
    ("image", "file", "name"), [(b"png", None, "visit[0]"), ("x/a.png", None, "x/a.png"), (b"png", "scan 1", "scan 1")]
)
def test_an_image_goes_by_the_name_it_was_given(image, file, name):
    (row,) = timeline_rows([visit(image, file=file)], lambda images: [Severity(file="other", severity=0.5)])
    assert row.answer.file == name


def test_a_folder_stays_one_image():
    seen = []
    timeline_rows([visit("folder")], lambda images: seen.extend(images) or [Severity(file="folder", severity=0.5)])
    assert isinstance(seen[0], NamedImage)


def test_no_visits_no_rows():
    assert timeline_rows([], lambda images: []) == ()
