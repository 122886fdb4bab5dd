"""Rank metrics against SciPy, scikit-learn and brute force, with ties on both sides."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, roc_auc_score

from semise_sdk import metrics
from semise_sdk.metrics.concordance import _inversions

ALL = [metrics.spearman, metrics.kendall_tau, metrics.c_index, metrics.auroc_healthy]


def draw(seed):
    """Levels and scores that follow them loosely; one decimal makes many ties."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(8, 120))
    levels = generator.integers(0, 5, n)
    levels[:2] = 0, 1
    return levels, np.round(levels / 4 + generator.normal(0, 0.6, n), int(generator.integers(0, 3)))


def slow_c_index(levels, scores):
    """Every pair, one by one."""
    points = [
        0.5 if si == sj else float((si > sj) == (yi > yj))
        for (yi, si), (yj, sj) in combinations(zip(levels, scores, strict=True), 2)
        if yi != yj
    ]
    return sum(points) / len(points)


@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_scipy_and_scikit_learn(seed):
    levels, scores = draw(seed)
    assert metrics.spearman(levels, scores) == pytest.approx(stats.spearmanr(levels, scores).statistic, abs=1e-12)
    assert metrics.kendall_tau(levels, scores) == pytest.approx(stats.kendalltau(levels, scores).statistic, abs=1e-12)
    assert metrics.auroc_healthy(levels, scores) == pytest.approx(roc_auc_score(levels > 0, scores), abs=1e-12)
    assert metrics.c_index(levels, scores) == pytest.approx(slow_c_index(levels, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_kendall_of_two_continuous_scores_agrees_with_scipy(seed):
    first, second = np.random.default_rng(seed).normal(size=(2, 257)).round(2)
    assert metrics.kendall_tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_inversions_agree_with_counting_them(seed):
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, generator.integers(1, 40), generator.integers(0, 60))
    sizes = generator.integers(0, 4, (3, codes.size)).astype(float)
    sizes[0] = 1
    expected = [
        sum(float(a * b) for (before, a), (after, b) in combinations(zip(codes, row, strict=True), 2) if before > after)
        for row in sizes
    ]
    assert _inversions(codes, sizes).tolist() == expected


def test_large_inputs_are_exact():
    # 60,000 rows have 1.8e9 pairs: more than int32 holds, and quadratic memory would not fit
    n = 60_000
    generator = np.random.default_rng(0)
    levels = np.sort(generator.integers(0, 5, n))
    scores = np.arange(n)
    assert metrics.c_index(levels, scores) == 1
    assert metrics.c_index(levels, scores[::-1]) == 0
    noisy = generator.random(n).round(3)
    assert metrics.kendall_tau(levels, noisy) == pytest.approx(stats.kendalltau(levels, noisy).statistic, abs=1e-12)


def test_perfect_order_reaches_one_in_the_c_index_but_not_in_tau_b():
    levels, scores = np.repeat(np.arange(5), 200), np.arange(1000)
    assert metrics.c_index(levels, scores) == 1
    assert metrics.auroc_healthy(levels, scores) == 1
    assert metrics.kendall_tau(levels, scores) == pytest.approx(math.sqrt(0.8), abs=1e-3)
    assert metrics.kendall_tau(levels, scores) == pytest.approx(0.894, abs=1e-3)
    assert metrics.kendall_tau(levels, levels) == 1
    assert metrics.spearman(levels, levels) == 1
    assert metrics.spearman(levels, -levels) == -1


def test_constant_score_orders_nothing():
    levels, scores = np.array([0, 1, 2]), np.zeros(3)
    assert metrics.c_index(levels, scores) == 0.5
    assert metrics.auroc_healthy(levels, scores) == 0.5
    assert metrics.kendall_tau(levels, scores) is None
    assert metrics.spearman(levels, scores) is None


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("levels", [[], [2], [1, 1, 1]], ids=["empty", "one row", "one level"])
def test_undefined_is_none(metric, levels):
    assert metric(np.array(levels, dtype=np.int64), np.arange(len(levels)) / 2) is None


def test_auroc_needs_both_sides():
    assert metrics.auroc_healthy(np.array([1, 2, 3]), np.array([0.1, 0.2, 0.3])) is None


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_only_the_order_counts_and_rows_may_stand_anywhere(metric, seed):
    levels, scores = draw(seed)
    value = metric(levels, scores)
    shuffled = np.random.default_rng(seed).permutation(levels.size)
    assert metric(levels[shuffled], scores[shuffled]) == value
    assert metric(levels, np.exp(3 * scores) - 7) == value


@pytest.mark.parametrize("metric", ALL)
def test_scores_that_are_no_numbers_are_refused(metric):
    with pytest.raises(ValueError, match="finite"):
        metric(np.array([0, 1]), np.array([0.5, np.nan]))
    with pytest.raises(ValueError, match="shapes"):
        metric(np.array([0, 1]), np.array([0.5, 0.1, 0.2]))


def test_pairs_are_seeded_distinct_and_severe_first():
    levels = np.random.default_rng(1).integers(0, 5, 300)
    pairs = metrics.evaluation_pairs(levels)
    assert pairs.shape == (1000, 2)
    assert (levels[pairs[:, 0]] > levels[pairs[:, 1]]).all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == 1000
    assert (pairs == metrics.evaluation_pairs(levels)).all()
    assert (pairs != metrics.evaluation_pairs(levels, seed=1)).any()


def test_every_pair_is_equally_likely():
    levels = np.array([0, 2, 1, 0, 2])
    drawn = [tuple(metrics.evaluation_pairs(levels, count=1, seed=seed)[0].tolist()) for seed in range(1600)]
    tally = {pair: drawn.count(pair) for pair in set(drawn)}
    assert len(tally) == 8
    assert stats.chisquare(list(tally.values())).pvalue > 0.001


def test_few_rows_give_every_pair_and_the_accuracy_is_the_c_index():
    levels, scores = draw(5)
    pairs = metrics.evaluation_pairs(levels, count=10**6)
    assert len(pairs) == sum(a != b for a, b in combinations(levels, 2))
    assert metrics.pair_accuracy(scores, pairs) == pytest.approx(metrics.c_index(levels, scores))


@pytest.mark.parametrize("levels", [[], [1], [2, 2, 2]])
def test_levels_without_a_difference_give_no_pairs(levels):
    pairs = metrics.evaluation_pairs(np.array(levels, dtype=np.int64))
    assert pairs.shape == (0, 2)
    assert metrics.pair_accuracy(np.zeros(len(levels)), pairs) is None
    assert metrics.pair_brier(np.zeros(len(levels)), pairs, beta=1) is None


@pytest.mark.parametrize("beta", [1.0, 5.0])
def test_brier_agrees_with_scikit_learn_whichever_row_comes_first(beta):
    levels, scores = draw(7)
    pairs = metrics.evaluation_pairs(levels, count=200)
    swapped = np.where(np.arange(len(pairs))[:, None] % 2, pairs, pairs[:, ::-1])
    gap = scores[swapped[:, 0]] - scores[swapped[:, 1]]
    expected = brier_score_loss(levels[swapped[:, 0]] > levels[swapped[:, 1]], 1 / (1 + np.exp(-beta * gap)))
    assert metrics.pair_brier(scores, pairs, beta=beta) == pytest.approx(expected)


def test_brier_of_equal_and_of_far_scores():
    pairs = np.array([[1, 0]])
    assert metrics.pair_brier(np.array([1.0, 1.0]), pairs, beta=5) == 0.25
    assert metrics.pair_brier(np.array([0.0, 1e6]), pairs, beta=5) == 0
    assert metrics.pair_brier(np.array([1e6, 0.0]), pairs, beta=5) == 1


def test_weights_repeat_pairs():
    levels, scores = draw(3)
    pairs = metrics.evaluation_pairs(levels, count=30)
    weights = np.arange(30) % 3
    repeated = np.repeat(pairs, weights, axis=0)
    expected = metrics.pair_accuracy(scores, repeated)
    assert metrics.pair_accuracy(scores, pairs, weights=weights) == pytest.approx(expected)
    expected = metrics.pair_brier(scores, repeated, beta=2)
    assert metrics.pair_brier(scores, pairs, beta=2, weights=weights) == pytest.approx(expected)
    assert metrics.pair_accuracy(scores, pairs, weights=np.zeros(30, dtype=int)) is None


def test_a_better_score_has_a_better_index():
    levels = np.repeat(np.arange(4), 30)
    noise = np.random.default_rng(0).normal(size=levels.size)
    values = [metrics.c_index(levels, levels + width * noise) for width in (0.1, 1, 10)]
    assert all(better > worse for better, worse in pairwise(values))
