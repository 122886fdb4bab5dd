"""What a calibration claims, and what it leaves unsaid when there are too few images for it."""

import dataclasses

import numpy as np
import pytest

from semise_sdk.calibration import PASSED, UNLABELED, coverage_of, fit_calibration, grade_of, grade_sets, percentile_of
from semise_sdk.calibration.model import Healthy
from semise_sdk.calibration.temperature import tempered
from semise_sdk.errors import ConfigError
from semise_sdk.severity.reference_bank import ReferenceBank

LABELS = ("none", "mild", "severe")


@pytest.fixture(scope="module")
def fitted(made_up, bank):
    def fit(observed=None, **options):
        return fit_calibration(observed or made_up(), bank=bank, labels=LABELS, source="made up", **options)

    return fit


def test_sets_are_measured_on_images_of_other_groups(fitted, made_up):
    found = fitted().sets
    assert found.temperature > 1.5  # the probabilities were overconfident
    assert found.coverage.n == found.of_grade["none"].n + found.of_grade["mild"].n + found.of_grade["severe"].n
    assert found.coverage.low < found.coverage.value < found.coverage.high
    assert found.coverage.value == pytest.approx(0.9, abs=0.06)
    assert found.groups == 80
    fresh = made_up(400, seed=9)
    sets = grade_sets(tempered(fresh.probabilities, found.temperature), found.threshold)
    assert sets[np.arange(400), fresh.levels].mean() == pytest.approx(0.9, abs=0.06)


def test_no_miss_among_few_groups_is_no_certainty():
    groups = [str(index // 2) for index in range(40)]
    every = coverage_of(np.ones(40, np.bool_), groups)
    # twenty groups without a miss: at a true share of 0.8316 that happens once in 40 times
    assert (every.value, every.low, every.high) == (1, pytest.approx(0.8316, abs=1e-4), 1)
    never = coverage_of(np.zeros(40, np.bool_), groups)
    assert (never.value, never.low, never.high) == (0, 0, pytest.approx(1 - 0.8316, abs=1e-4))
    some = coverage_of(np.arange(40) >= 2, groups)
    assert some.low < some.value == 0.95 < some.high
    assert coverage_of(np.zeros(0, np.bool_), []).value is None
    assert coverage_of(np.ones(6, np.bool_), list("aabbcc")).low is None


def test_a_smaller_alpha_makes_larger_sets(fitted):
    strict, loose = fitted(alpha=0.02).sets, fitted(alpha=0.3).sets
    assert strict.threshold > loose.threshold
    assert strict.mean_size > loose.mean_size


def test_images_too_few_to_measure_what_a_small_alpha_covers_give_no_sets(fitted, made_up):
    few = fitted(made_up(108), alpha=0.01)  # about 97 outside of a fold, where 99 are needed
    assert few.sets is None
    assert few.is_calibrated
    assert fitted(made_up(108), alpha=0.1).sets.mean_size < len(LABELS)
    assert fitted(made_up(140), alpha=0.01).sets.mean_size < len(LABELS)


@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.6, float("nan")])
def test_an_alpha_out_of_range_is_refused(fitted, alpha):
    with pytest.raises(ConfigError, match=r"expected an alpha of 0\.01 to 0\.5, found"):
        fitted(alpha=alpha)


def test_few_images_claim_nothing_but_what_needs_no_more(fitted, made_up):
    few = fitted(made_up(98))
    assert (few.sets, few.quality, few.distance, few.is_calibrated) == (None, None, None, False)
    assert few.facts()["gates"] == few.facts()["grade sets"]
    assert few.facts()["gates"].startswith("not calibrated: 98 images of 49 groups, at least 100 images of 10")
    assert len(few.healthy.severities) >= 20  # a percentile needs 20


def test_many_images_of_few_patients_are_few(fitted, made_up):
    crowded = dataclasses.replace(made_up(120), groups=[f"p{index % 9}" for index in range(120)])
    assert not fitted(crowded).is_calibrated
    assert fitted(dataclasses.replace(crowded, groups=[f"p{index % 10}" for index in range(120)])).is_calibrated


def test_images_without_a_grade_set_the_gates_alone(fitted, made_up):
    blind = dataclasses.replace(made_up(), levels=np.full(160, UNLABELED))
    found = fitted(blind)
    assert found.is_calibrated
    assert found.sets is None
    assert len(found.healthy.severities) == 0
    assert "too few graded images" in found.facts()["grade sets"]
    assert fitted(dataclasses.replace(made_up(), probabilities=None)).sets is None
    assert fitted(dataclasses.replace(made_up(), levels=np.zeros(160, np.int64))).sets is None  # of one grade


def test_what_a_gate_refuses_is_no_part_of_sets_and_percentiles(fitted, made_up):
    observed = made_up()
    row = int(np.flatnonzero(observed.levels == 0)[0])
    constant = list(observed.pictures)
    constant[row] = dataclasses.replace(constant[row], is_constant=True)
    spoiled = fitted(dataclasses.replace(observed, pictures=constant))
    whole = fitted(observed)
    assert len(spoiled.healthy.severities) == len(whole.healthy.severities) - 1
    assert spoiled.sets.coverage.n == whole.sets.coverage.n - 1


def test_percentile_by_hand():
    healthy = np.array([0.1, 0.2, 0.2, 0.4])
    assert [percentile_of(s, healthy) for s in (0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 2.0)] == [0, 12.5, 25, 50, 75, 87.5, 100]


def test_percentiles_follow_the_reference(fitted, bank):
    healthy = fitted().healthy
    other = ReferenceBank(np.eye(8, dtype=np.float32)[[3]])
    assert np.array_equal(healthy.against(other, is_own=False), np.sort(other.severity(healthy.vectors)))
    assert np.array_equal(healthy.against(bank, is_own=True), healthy.severities)
    old = Healthy(vectors=None, severities=np.linspace(0, 1, 30))  # of schema 1
    assert old.against(other, is_own=False) is None
    assert np.array_equal(old.against(bank, is_own=True), old.severities)
    assert Healthy(vectors=None, severities=np.linspace(0, 1, 19)).against(bank, is_own=True) is None


def test_decoding_by_hand():
    spread = np.array([0.45, 0.1, 0.45])
    assert grade_of(spread, None, decoding="argmax").level == 0
    # e^|k - c|: .45 + .1e + .45e^2 = 4.05 at either end, .9e + .1 = 2.55 between them
    assert grade_of(spread, None, decoding="expected_maee").level == 1


def test_a_wide_or_unclear_set_is_for_a_person(fitted):
    sets = dataclasses.replace(fitted().sets, temperature=1.0, threshold=0.3)
    sure = grade_of(np.array([0.02, 0.96, 0.02]), sets, decoding="argmax")
    assert (sure.possible, sure.verdict) == ((1,), PASSED)
    neighbours = grade_of(np.array([0.5, 0.49, 0.01]), sets, decoding="argmax")
    assert (neighbours.possible, neighbours.verdict) == ((0, 1), PASSED)
    every = grade_of(np.array([0.4, 0.2, 0.4]), dataclasses.replace(sets, threshold=2.0), decoding="argmax")
    assert every.possible == (0, 1, 2)
    assert every.verdict.status == "review"
    assert every.verdict.reason == (
        "wide_set: expected a grade and at most one neighbour to be possible, found none to severe: let a person "
        "grade it"
    )
    beside = grade_of(np.array([0.4, 0.25, 0.35]), dataclasses.replace(sets, threshold=0.0), decoding="argmax")
    assert (beside.level, beside.possible) == (0, (1,))
    assert beside.verdict.reason.startswith("unclear_grade: expected the decided grade none to be a likely one, found")
