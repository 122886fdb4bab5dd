import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import special

from semise_sdk.images.postprocess import mask_of, severity_map_of, sigmoid, softmax
from semise_sdk.images.record import Geometry
from semise_sdk.results import Severity
from semise_sdk.severity.difference import measured_severity
from semise_sdk.severity.ranks import numbered, ranked
from semise_sdk.severity.reference_bank import ReferenceBank

# A 20 x 40 source, letterboxed into the middle rows of an 8 x 8 canvas.
GEOMETRY = Geometry(
    source_height=20, source_width=40, canvas_height=8, canvas_width=8, top=2, left=0, height=4, width=8
)


def test_softmax_agrees_with_scipy_even_for_large_logits():
    logits = np.random.default_rng(0).normal(scale=300, size=(50, 4)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), special.softmax(logits.astype(np.float64), axis=1), rtol=1e-12)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-12)


def test_sigmoid_agrees_with_scipy_and_never_overflows():
    logits = np.linspace(-200, 200, 4001, dtype=np.float32)
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits.astype(np.float64)), atol=1e-7)
    assert sigmoid(logits).dtype == np.float32


def test_a_mask_has_the_sources_size_and_leaves_the_bars_out():
    logits = np.full((8, 8), 9.0, np.float32)  # the bars are inside too, and must not count
    mask, area = mask_of(logits, GEOMETRY, threshold=0.5)
    assert mask.shape == (20, 40)
    assert mask.dtype == np.uint8
    assert area == 1.0
    logits[2:6, 4:] = -9.0
    mask, area = mask_of(logits, GEOMETRY, threshold=0.5)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[:, :18] == 255).all()
    assert (mask[:, 22:] == 0).all()
    assert area == pytest.approx((mask > 0).sum() / 800)
    assert area == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("threshold", "inside"), [(0.5, True), (0.7, True), (0.8, False)])
def test_a_pixel_belongs_to_the_mask_from_the_threshold_on(threshold, inside):
    logits = np.full((8, 8), math.log(0.75 / 0.25), np.float32)
    mask, area = mask_of(logits, GEOMETRY, threshold=threshold)
    assert area == float(inside)
    assert (mask > 0).all() == inside


def test_a_severity_map_is_brought_to_the_sources_size():
    places = np.array([[0.2, 0.2], [1.4, 1.4]], np.float32)
    severity_map = severity_map_of(places, GEOMETRY)
    assert severity_map.shape == (20, 40)
    assert severity_map.dtype == np.float32
    assert severity_map[0].mean() < 0.8 < severity_map[-1].mean()
    assert severity_map.min() >= 0.2 - 1e-6
    assert severity_map.max() <= 1.4 + 1e-6


def rows(*pairs):
    return [
        Severity(file=file, severity=severity)
        if severity is not None
        else Severity(file=file, status="error", reason="damaged")
        for file, severity in pairs
    ]


def test_the_most_severe_comes_first_and_failed_ones_last_without_rank():
    ranking = ranked(rows(("z", None), ("a", 0.1), ("b", 1.2), ("c", None), ("d", 0.0)))
    assert [(row.rank, row.file) for row in ranking] == [(1, "b"), (2, "a"), (3, "d"), (None, "c"), (None, "z")]
    assert ranking[-1].severity is None
    assert (ranking[-1].status, ranking[-1].reason) == ("error", "damaged")


def test_equal_severities_rank_by_file_name_whatever_order_they_came_in():
    pairs = [("b", 0.5), ("a", 0.5), ("c", 0.5), ("d", 0.7)]
    expected = [(1, "d"), (2, "a"), (3, "b"), (4, "c")]
    for order in (pairs, pairs[::-1]):
        assert [(row.rank, row.file) for row in ranked(rows(*order))] == expected


def test_rows_are_numbered_as_they_come():
    ranking = numbered(Severity(file="a", severity=0.5) for _ in iter(int, 1))
    assert [next(ranking).rank for _ in range(3)] == [1, 2, 3]


def test_answers_that_a_journal_kept_as_json_share_their_places_as_before():
    generator = np.random.default_rng(0)
    bank = ReferenceBank((generator.normal(size=(20, 8)) + 1).astype(np.float32))
    answers = []
    for index, vector in enumerate(generator.normal(size=(30, 8))):
        found = measured_severity(bank, vector)
        answers.append(
            Severity(file=str(index), severity=found.severity, severity_low=found.low, resampled=found.resampled)
        )
    kept = [json.loads(json.dumps(dataclasses.asdict(answer))) for answer in answers]
    again = [Severity(**{**row, "probabilities": (), "grade_set": ()}) for row in kept]
    assert again == answers
    assert ranked(again) == ranked(answers)
    places = [row.tie for row in ranked(answers)]
    assert 1 < len(set(places)) < len(places)


def test_what_a_gate_refused_stands_on_top_without_rank_and_what_is_to_be_looked_at_keeps_its_place():
    refused = [Severity(file=file, status="abstain", reason="quality_blur: it is") for file in ("y", "b")]
    looked_at = Severity(file="m", severity=0.5, status="review", reason="wide_set: it is", percentile=80.0)
    ranking = ranked([*rows(("a", 0.1), ("z", None), ("c", 1.2)), *refused, looked_at])
    assert [(row.rank, row.file, row.status) for row in ranking] == [
        (None, "b", "abstain"),
        (None, "y", "abstain"),
        (1, "c", "ok"),
        (2, "m", "review"),
        (3, "a", "ok"),
        (None, "z", "error"),
    ]
    assert (ranking[3].percentile, ranking[3].reason) == (80.0, "wide_set: it is")


def test_nothing_ranks_to_nothing():
    assert ranked([]) == ()
