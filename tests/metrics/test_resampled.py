"""Many resamples at once against each metric's own function on the rows repeated as often."""

import numpy as np
import pytest

from semise_sdk import metrics
from semise_sdk.metrics import resampled
from semise_sdk.metrics.resampled import RankTable

K = 4


@pytest.fixture(scope="module")
def drawn():
    """Levels, predictions, scores with ties, and 60 resamples, of which some miss whole classes."""
    random = np.random.default_rng(0)
    levels = random.integers(0, K, 23)
    predictions = random.integers(0, K, 23)
    scores = np.round(random.random(23), 1)
    times = random.poisson(0.7, (60, 23)).astype(float)
    times[0] = 1
    times[1] = 0
    times[2] = 2 * (levels == 1)
    return levels, predictions, scores, times


def expanded(times, metric):
    """Returns the metric on the rows of each resample, NaN for None."""
    found = [metric(np.repeat(np.arange(len(row)), row.astype(int))) for row in times]
    return np.array([np.nan if value is None else value for value in found])


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (resampled.macro_f1, lambda y, p: metrics.macro_f1(y, p, num_classes=K)),
        (resampled.recall, lambda y, p: metrics.recall(y, p, num_classes=K)),
        (resampled.balanced_accuracy, lambda y, p: metrics.balanced_accuracy(y, p, num_classes=K)),
        (resampled.accuracy, metrics.accuracy),
        (resampled.mae, metrics.mae),
        (resampled.maee, metrics.maee),
        (resampled.quadratic_kappa, lambda y, p: metrics.quadratic_kappa(y, p, num_classes=K)),
    ],
)
def test_grade_metrics(drawn, fast, slow):
    levels, predictions, _, times = drawn
    found = fast(resampled.confusion_matrices(levels, predictions, times, num_classes=K))
    expected = expanded(times, lambda rows: slow(levels[rows], predictions[rows]))
    assert np.allclose(found, expected, equal_nan=True, atol=1e-12)
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (RankTable.kendall_tau, metrics.kendall_tau),
        (RankTable.c_index, metrics.c_index),
        (RankTable.spearman, metrics.spearman),
    ],
)
def test_rank_metrics(drawn, fast, slow):
    levels, _, scores, times = drawn
    found = fast(RankTable.of(levels, scores, times))
    expected = expanded(times, lambda rows: slow(levels[rows], scores[rows]))
    assert np.allclose(found, expected, equal_nan=True, atol=1e-12)
    assert np.isnan(found[2])


def test_kendall_tau_of_five_images_by_hand():
    # levels 0 0 1 1 2 against scores 1 2 2 3 0: of 10 pairs, 2 tie in level and 1 in score; of the other 7,
    # 3 are concordant and 4 are not.
    table = RankTable.of(np.array([0, 0, 1, 1, 2]), np.array([1.0, 2, 2, 3, 0]), np.ones((1, 5)))
    assert table.kendall_tau()[0] == pytest.approx((3 - 4) / np.sqrt(8 * 9))


def test_auroc_and_calibration(drawn):
    levels, _, scores, times = drawn
    auroc = expanded(times, lambda rows: metrics.auroc_healthy(levels[rows], scores[rows]))
    assert np.allclose(resampled.auroc_healthy(levels, scores, times), auroc, equal_nan=True)
    probabilities = np.random.default_rng(1).dirichlet(np.ones(K), 23)
    ece = expanded(times, lambda rows: metrics.ece(levels[rows], probabilities[rows]))
    assert np.allclose(resampled.ece(levels, probabilities, times), ece, equal_nan=True)


def test_pairs(drawn):
    levels, _, scores, times = drawn
    pairs = metrics.evaluation_pairs(levels, count=50)
    for found, slow in (
        (resampled.pair_accuracy(scores, pairs, times), lambda w: metrics.pair_accuracy(scores, pairs, weights=w)),
        (
            resampled.pair_brier(scores, pairs, times, beta=5),
            lambda w: metrics.pair_brier(scores, pairs, beta=5, weights=w),
        ),
    ):
        weights = [(row[pairs[:, 0]] * row[pairs[:, 1]]).astype(int) for row in times]
        expected = np.array([np.nan if (value := slow(w)) is None else value for w in weights])
        assert np.allclose(found, expected, equal_nan=True)


def test_the_mean_of_no_rows_is_undefined():
    found = resampled.mean_of_rows(np.array([1.0, 4.0]), np.array([[1.0, 2.0], [0.0, 0.0]]))
    assert found[0] == 3
    assert np.isnan(found[1])


def test_whole_groups_are_resampled_and_equal_seeds_give_equal_resamples():
    groups = np.array([7, 3, 7, 9, 3, 7])
    times = resampled.resample_times(groups, repeats=300, seed=4)
    assert (times[:, 0] == times[:, 2]).all()
    assert (times[:, 0] == times[:, 5]).all()
    assert (times[:, 1] == times[:, 4]).all()
    assert (times[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert times[:, 0].mean() == pytest.approx(1, abs=0.15)
    assert np.array_equal(times, resampled.resample_times(groups, repeats=300, seed=4))
    assert not np.array_equal(times, resampled.resample_times(groups, repeats=300, seed=5))
