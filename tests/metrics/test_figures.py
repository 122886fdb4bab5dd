"""Every metric of many resamples against scikit-learn, SciPy and plain loops on the rows repeated as often."""

import math
import warnings
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as oracle

from semise_sdk import metrics
from semise_sdk.metrics import PairCounts

K = 4
N = 23
BETA = 5.0
CLASSES = list(range(K))


@pytest.fixture(scope="module")
def drawn():
    """Levels, predictions and scores, all with ties."""
    random = np.random.default_rng(0)
    return random.integers(0, K, N), random.integers(0, K, N), np.round(random.random(N), 1)


@pytest.fixture(scope="module")
def times(drawn):
    """How often 70 resamples hold each row: all once, none, one level, one score, one row, and 65 at random."""
    levels, _, scores = drawn
    times = np.random.default_rng(1).poisson(0.7, (70, N)).astype(float)
    times[0] = 1
    times[1] = 0
    times[2] = 2 * (levels == 1)
    times[3] = scores == scores[0]
    times[4] = np.arange(N) == 7
    return times


@pytest.fixture(scope="module")
def masks():
    """Predicted and true masks, of which two pairs are empty on both sides and one on one."""
    random = np.random.default_rng(2)
    predicted, truth = random.random((2, N, 6, 7)) < 0.3
    predicted[[2, 9]], truth[[2, 9, 11]] = False, False
    return predicted, truth


def repeated(times, metric):
    """Returns the metric of the rows of each resample, NaN for no rows."""
    rows = [np.repeat(np.arange(len(row)), row.astype(int)) for row in times]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array([metric(each) if each.size else np.nan for each in rows])


def agree(found, expected):
    return np.allclose(found, expected, rtol=0, atol=1e-12, equal_nan=True)


def mean_over(labels, score):
    """A score of scikit-learn averaged over classes, those absent on both sides counting 0."""
    return lambda y, p: score(y, p, labels=labels, average="macro", zero_division=0)


GRADES = {
    "macro_f1": mean_over(CLASSES, oracle.f1_score),
    "recall": mean_over(CLASSES, oracle.recall_score),
    "balanced_accuracy": lambda y, p: mean_over(np.unique(y), oracle.recall_score)(y, p),
    "accuracy": oracle.accuracy_score,
    "mae": oracle.mean_absolute_error,
    "maee": lambda y, p: math.fsum(math.exp(abs(int(a) - int(b))) for a, b in zip(y, p, strict=True)) / len(y),
    "kappa": lambda y, p: oracle.cohen_kappa_score(y, p, labels=CLASSES, weights="quadratic"),
}


@pytest.mark.parametrize("name", GRADES)
@pytest.mark.parametrize("same", [False, True], ids=["wrong at times", "all right"])
def test_grades(drawn, times, name, same):
    levels, predictions = drawn[0], drawn[0] if same else drawn[1]
    found = metrics.grade_figures(levels, predictions, times, num_classes=K)
    assert set(found) == set(GRADES)
    assert agree(found[name], repeated(times, lambda rows: GRADES[name](levels[rows], predictions[rows])))
    assert np.isnan(found[name][1])


def slow_ece(levels, probabilities, bins=15):
    """Guo et al.'s equation 3, bin by bin."""
    top, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            total += inside.mean() * abs((top == levels)[inside].mean() - confidence[inside].mean())
    return total


def test_probabilities(drawn, times):
    levels = drawn[0]
    # quarters make ties of the expected class
    probabilities = np.random.default_rng(3).multinomial(4, np.ones(K) / K, N) / 4
    expected_class = np.array([sum(k * p for k, p in enumerate(row)) for row in probabilities])
    found = metrics.probability_figures(levels, probabilities, times)
    tau = repeated(times, lambda rows: stats.kendalltau(levels[rows], expected_class[rows]).statistic)
    assert agree(found["kendall_tau_class"], tau)
    assert agree(found["ece"], repeated(times, lambda rows: slow_ece(levels[rows], probabilities[rows])))
    assert np.isnan(found["ece"][1])


def slow_c_index(levels, scores):
    """Every pair of rows, one by one."""
    points = [
        0.5 if si == sj else float((si > sj) == (yi > yj))
        for (yi, si), (yj, sj) in combinations(zip(levels, scores, strict=True), 2)
        if yi != yj
    ]
    return sum(points) / len(points) if points else np.nan


def scipy_statistic(test):
    return lambda y, s: test(y, s).statistic if len(y) > 1 else np.nan


RANKS = {
    "spearman": scipy_statistic(stats.spearmanr),
    "kendall_tau": scipy_statistic(stats.kendalltau),
    "c_index": slow_c_index,
    "auroc_healthy": lambda y, s: oracle.roc_auc_score(y > 0, s) if 0 < np.count_nonzero(y) < len(y) else np.nan,
}


@pytest.mark.parametrize("name", RANKS)
def test_ranks(drawn, times, name):
    levels, _, scores = drawn
    found = metrics.severity_figures(levels, scores, times, pairs=metrics.evaluation_pairs(levels), beta=BETA)
    expected = repeated(times, lambda rows: RANKS[name](levels[rows], scores[rows]))
    assert agree(found[name], expected)
    assert np.isnan(found[name][[1, 2, 4]]).all()
    assert np.isfinite(found[name]).sum() > 60


def test_ranks_of_a_constant_score(drawn, times):
    levels = drawn[0]
    constant = np.full(N, 0.3)
    found = metrics.severity_figures(levels, constant, times, pairs=metrics.evaluation_pairs(levels), beta=BETA)
    assert np.isnan(found["kendall_tau"]).all()
    assert np.isnan(found["spearman"]).all()
    assert (np.isnan(found["c_index"]) | (found["c_index"] == 0.5)).all()


@pytest.mark.parametrize("seed", range(5))
def test_ranks_of_two_scores_of_many_values(times, seed):
    first, second = np.random.default_rng(seed).normal(size=(2, N)).round(1)
    counts = PairCounts.of(first, second, times)
    assert agree(counts.kendall_tau(), repeated(times, lambda rows: RANKS["kendall_tau"](first[rows], second[rows])))
    assert agree(counts.c_index(), repeated(times, lambda rows: slow_c_index(first[rows], second[rows])))


def test_pairs_of_five_images_by_hand():
    # levels 0 0 1 1 2 against scores 1 2 2 3 0: of 10 pairs, 2 tie in level and 1 in score; of the other 7,
    # 3 are concordant and 4 are not. With the last image twice there are 15 pairs, 3 tie in level, 1 in score, and 4
    # more are discordant: 3 against 8.
    times = np.array([[1.0, 1, 1, 1, 1], [1, 1, 1, 1, 2]])
    counts = PairCounts.of(np.array([0, 0, 1, 1, 2]), np.array([1.0, 2, 2, 3, 0]), times)
    assert counts.concordant.tolist() == [3, 3]
    assert counts.discordant.tolist() == [4, 8]
    assert counts.kendall_tau() == pytest.approx([(3 - 4) / math.sqrt(8 * 9), (3 - 8) / math.sqrt(12 * 13)])
    assert counts.c_index() == pytest.approx([3.5 / 8, 3.5 / 12])


def test_evaluation_pairs(drawn, times):
    levels, _, scores = drawn
    pairs = metrics.evaluation_pairs(levels, count=50)
    found = metrics.severity_figures(levels, scores, times, pairs=pairs, beta=BETA)
    for held, accuracy, brier in zip(times.astype(int), found["pair_accuracy"], found["pair_brier"], strict=True):
        gaps = np.array([scores[i] - scores[j] for i, j in pairs for _ in range(held[i] * held[j])])
        if not gaps.size:
            assert np.isnan(accuracy)
            assert np.isnan(brier)
            continue
        points = [0.5 if gap == 0 else float(gap > 0) for gap in gaps]
        chances = 1 / (1 + np.exp(-BETA * gaps))
        assert accuracy == pytest.approx(np.mean(points), abs=1e-12)
        assert brier == pytest.approx(oracle.brier_score_loss(np.ones(gaps.size, int), chances, pos_label=1), abs=1e-12)


MASKS = {"iou": oracle.jaccard_score, "dice": oracle.f1_score}


@pytest.mark.parametrize("name", MASKS)
def test_masks(masks, times, name):
    predicted, truth = masks
    counts = np.array([metrics.mask_counts(*pair) for pair in zip(predicted, truth, strict=True)])
    found = metrics.mask_figures(counts, times)

    def slow(some):
        return MASKS[name](truth[some].ravel(), predicted[some].ravel(), zero_division=1.0)

    each = np.array([slow(row) for row in range(N)])
    assert set(found) == {"iou", "dice", "pooled_iou", "pooled_dice"}
    assert agree(found[name], repeated(times, lambda rows: each[rows].mean()))
    assert agree(found[f"pooled_{name}"], repeated(times, slow))
    assert np.isnan(found[name][1])
    empty = metrics.mask_figures(counts, (np.arange(N) == 2)[None].astype(float))
    assert empty[name] == empty[f"pooled_{name}"] == 1
