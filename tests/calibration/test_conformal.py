"""Ordinal conformal sets against hand-worked numbers, a loop, and the coverage that they promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semise_sdk.calibration.conformal import grade_sets, rps_scores, true_scores, upper_limit


def drawn(generator, *, n, classes=5):
    """Returns probabilities of a noisy classifier, and levels that follow other ones than it says."""
    latent = generator.normal(size=n)
    edges = np.quantile(generator.normal(size=4000), np.linspace(0, 1, classes + 1)[1:-1])
    levels = np.digitize(latent + 0.5 * generator.normal(size=n), edges)
    centres = np.linspace(-1.6, 1.6, classes)
    logits = -2.5 * (latent[:, None] - centres) ** 2 + generator.normal(size=(n, classes))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True), levels


def test_scores_by_hand():
    # F = .2, .7, 1; y = 0: (.2-1)^2 + (.7-1)^2; y = 1: .2^2 + (.7-1)^2; y = 2: .2^2 + .7^2
    assert rps_scores(np.array([[0.2, 0.5, 0.3]]))[0] == pytest.approx([0.73, 0.13, 0.53])
    assert true_scores(np.array([[0.2, 0.5, 0.3], [0, 0, 1]]), np.array([2, 2])) == pytest.approx([0.53, 0.0])


def test_scores_are_the_sum_of_their_definition():
    probabilities, _ = drawn(np.random.default_rng(0), n=50)
    for row, scores in zip(probabilities, rps_scores(probabilities), strict=True):
        for y, score in enumerate(scores):
            slow = sum((sum(row[: k + 1]) - (y <= k)) ** 2 for k in range(len(row)))
            assert score == pytest.approx(slow, abs=1e-6)


@given(
    st.lists(st.floats(1e-6, 1), min_size=2, max_size=8),
    st.floats(0, 3),
)
def test_a_set_is_one_run_of_grades_that_holds_the_median(weights, threshold):
    probabilities = np.array(weights)[None] / sum(weights)
    levels = np.flatnonzero(grade_sets(probabilities, threshold)[0])
    assert len(levels) >= 1
    assert levels.tolist() == list(range(levels[0], levels[-1] + 1))
    cumulative = np.cumsum(probabilities[0])
    # a median is any grade with half of the weight at or below it and half at or above it
    medians = (cumulative >= 0.5 - 1e-5) & (1 - cumulative + probabilities[0] >= 0.5 - 1e-5)
    assert medians[levels].any()


def test_a_threshold_of_none_leaves_one_grade_and_infinity_all():
    probabilities, _ = drawn(np.random.default_rng(1), n=30)
    assert (grade_sets(probabilities, 0.0).sum(axis=1) == 1).all()
    assert grade_sets(probabilities, np.inf).all()


def test_the_limit_is_the_order_statistic_of_n_plus_1():
    values = np.array([3.0, 1.0, 2.0, 4.0])
    assert [upper_limit(values, share) for share in (0.2, 0.21, 0.4, 0.8, 0.81)] == [1, 2, 2, 4, np.inf]
    assert upper_limit(np.arange(99), 0.99) == 98
    assert upper_limit(np.arange(98), 0.99) == np.inf
    assert upper_limit(np.zeros(0), 0.5) == np.inf


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_sets_hold_the_grade_as_often_as_they_say(alpha):
    covered, sizes = [], []
    for repeat in range(200):
        probabilities, levels = drawn(np.random.default_rng([7, repeat]), n=400)
        threshold = upper_limit(true_scores(probabilities[:200], levels[:200]), 1 - alpha)
        sets = grade_sets(probabilities[200:], threshold)
        covered.append(sets[np.arange(200), levels[200:]].mean())
        sizes.append(sets.sum(axis=1).mean())
    # at least 1 - alpha, and hardly more: at most 1 / (n + 1), and what ties and rounding add
    assert 1 - alpha - 0.004 <= np.mean(covered) <= 1 - alpha + 0.012
    assert 1 < np.mean(sizes) < 5


def test_permuting_the_calibration_changes_nothing():
    scores = np.random.default_rng(3).random(7)
    limits = {upper_limit(scores[list(order)], 0.7) for order in itertools.permutations(range(7))}
    assert len(limits) == 1
