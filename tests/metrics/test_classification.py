"""Grade metrics against scikit-learn, hand-worked numbers and the golden values of method.md section 5."""

import doctest
import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as oracle

from semise_sdk import metrics
from semise_sdk.metrics import classification, concordance, intervals, segmentation

K = 5
EMPTY = np.array([], dtype=np.int64)
OF_CLASSES = [metrics.macro_f1, metrics.recall, metrics.balanced_accuracy, metrics.quadratic_kappa]
OF_ERRORS = [metrics.accuracy, metrics.mae, metrics.maee]


def draw(seed, *, classes=K):
    """Levels and predictions that agree about half the time; with few rows some classes are absent."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(2, 80))
    levels = generator.integers(0, classes, n)
    guesses = generator.integers(0, classes, n)
    return levels, np.where(generator.random(n) < 0.5, levels, guesses)


def constant_majority(counts):
    """The levels of a test set with those class counts, and the predictor that always says the majority class."""
    levels = np.repeat(np.arange(len(counts)), counts)
    return levels, np.full(levels.size, int(np.argmax(counts)))


@pytest.mark.parametrize(
    ("counts", "f1", "recall", "maee"),
    [
        ([2682, 934, 186, 152, 46], 0.16055, 0.20, 3.0399),
        ([779, 295, 295], 0.24178, 1 / 3, 2.7470),
        ([909, 44, 217, 35, 43, 93, 171], 0.10728, 1 / 7, 58.513),
    ],
    ids=["vindr", "papilledema", "isic2018"],
)
def test_constant_majority_predictor_has_its_golden_values(counts, f1, recall, maee):
    levels, predictions = constant_majority(counts)
    k = len(counts)
    assert metrics.macro_f1(levels, predictions, num_classes=k) == pytest.approx(f1, abs=5e-6)
    assert metrics.recall(levels, predictions, num_classes=k) == pytest.approx(recall, abs=1e-12)
    assert metrics.maee(levels, predictions) == pytest.approx(maee, abs=5e-4 if maee > 10 else 5e-5)
    assert metrics.quadratic_kappa(levels, predictions, num_classes=k) == 0
    assert metrics.is_collapsed(predictions)


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_scikit_learn(seed):
    levels, predictions = draw(seed)
    classes, present = list(range(K)), np.unique(levels)
    expected_f1 = oracle.f1_score(levels, predictions, labels=classes, average="macro", zero_division=0)
    expected_recall = oracle.recall_score(levels, predictions, labels=classes, average="macro", zero_division=0)
    expected_balanced = oracle.recall_score(levels, predictions, labels=present, average="macro")
    assert metrics.macro_f1(levels, predictions, num_classes=K) == pytest.approx(expected_f1, abs=1e-12)
    assert metrics.recall(levels, predictions, num_classes=K) == pytest.approx(expected_recall, abs=1e-12)
    assert metrics.balanced_accuracy(levels, predictions, num_classes=K) == pytest.approx(expected_balanced, abs=1e-12)
    assert metrics.accuracy(levels, predictions) == pytest.approx(oracle.accuracy_score(levels, predictions))
    assert metrics.mae(levels, predictions) == pytest.approx(oracle.mean_absolute_error(levels, predictions))
    matrix = metrics.confusion_matrix(levels, predictions, num_classes=K)
    assert (matrix == oracle.confusion_matrix(levels, predictions, labels=classes)).all()


@pytest.mark.parametrize("seed", range(40))
def test_quadratic_kappa_agrees_with_scikit_learn(seed):
    levels, predictions = draw(seed, classes=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle.cohen_kappa_score(levels, predictions, labels=list(range(4)), weights="quadratic")
    assert metrics.quadratic_kappa(levels, predictions, num_classes=4) == pytest.approx(expected, abs=1e-12)


def test_balanced_accuracy_leaves_absent_classes_out_and_recall_counts_them_as_zero():
    levels, predictions = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    assert metrics.balanced_accuracy(levels, predictions, num_classes=3) == pytest.approx(0.75)
    assert metrics.recall(levels, predictions, num_classes=3) == pytest.approx(0.5)


def test_maee_of_hand_worked_errors():
    assert metrics.maee(np.array([0, 1, 4]), np.array([0, 2, 2])) == pytest.approx((1 + math.e + math.e**2) / 3)


def test_unsigned_levels_do_not_wrap_around():
    levels, predictions = np.array([0, 1], dtype=np.uint8), np.array([1, 0], dtype=np.uint8)
    assert metrics.mae(levels, predictions) == 1
    assert metrics.maee(levels, predictions) == pytest.approx(math.e)


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_no_rows_has_no_value_per_class(metric):
    assert metric(EMPTY, EMPTY, num_classes=3) is None


@pytest.mark.parametrize("metric", OF_ERRORS)
def test_no_rows_has_no_value_per_row(metric):
    assert metric(EMPTY, EMPTY) is None


def test_one_row():
    one = np.array([2])
    assert metrics.macro_f1(one, one, num_classes=4) == 0.25
    assert metrics.balanced_accuracy(one, one, num_classes=4) == 1
    assert metrics.maee(one, one) == 1
    assert metrics.quadratic_kappa(one, one, num_classes=4) is None


@pytest.mark.parametrize(
    ("levels", "predictions"),
    [([0, 1], [0, 3]), ([0, -1], [0, 0]), ([0, 1], [0, 1, 2]), ([[0, 1]], [[0, 1]])],
    ids=["too large", "negative", "lengths differ", "not one axis"],
)
def test_arrays_that_are_no_grades_are_refused(levels, predictions):
    with pytest.raises(ValueError, match="expected"):
        metrics.confusion_matrix(np.array(levels), np.array(predictions), num_classes=3)


def test_columns_are_not_broadcast():
    with pytest.raises(ValueError, match="shapes"):
        metrics.mae(np.zeros(3, dtype=int), np.zeros((3, 1), dtype=int))


def slow_ece(levels, probabilities, bins):
    """Guo et al.'s equation 3, bin by bin."""
    top, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            total += inside.sum() / len(levels) * abs((top == levels)[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_agrees_with_its_equation(seed, bins):
    generator = np.random.default_rng(seed)
    levels, probabilities = generator.integers(0, K, 60), generator.dirichlet(np.full(K, 0.4), 60)
    expected = slow_ece(levels, probabilities, bins)
    assert metrics.ece(levels, probabilities, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_ece_of_certain_answers_is_their_error_rate():
    certain = np.eye(3)[[0, 1, 2, 2]]
    assert metrics.ece(np.array([0, 1, 2, 0]), certain) == pytest.approx(0.25)
    assert metrics.ece(np.array([0, 1, 2, 2]), certain) == 0
    assert metrics.ece(EMPTY, np.empty((0, 3))) is None


def test_ece_bins_are_closed_above():
    # .5 and .6 fall in one of two bins (0, .5] and (.5, 1] each: the gaps .5 and .4 cannot cancel
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4]])
    assert metrics.ece(np.array([1, 0]), probabilities, bins=2) == pytest.approx((0.5 + 0.4) / 2)


def test_expected_class_is_the_mean_level_and_equal_rows_tie_wherever_they_stand():
    assert metrics.expected_class(np.array([[0.5, 0.25, 0.25], [0, 0, 1]])) == pytest.approx([0.75, 2])
    row = np.random.default_rng(0).dirichlet(np.ones(7)).astype(np.float32)
    assert np.unique(metrics.expected_class(np.tile(row, (37, 1)))).size == 1


def test_least_maee_class_by_hand():
    # at .6 and .4 the middle costs e = 2.72, the mode .6 + .4 e^2 = 3.56: a level of probability 0 is decided
    probabilities = np.array([[0.8, 0.0, 0.2], [0.6, 0.0, 0.4], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    assert metrics.least_maee_class(probabilities).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_least_maee_class_is_the_cheapest_of_all(seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.full(K, 0.5), 50)
    chosen = metrics.least_maee_class(probabilities)
    for row, choice in zip(probabilities, chosen, strict=True):
        costs = [sum(p * math.exp(abs(k - c)) for k, p in enumerate(row)) for c in range(K)]
        assert costs[choice] == pytest.approx(min(costs))


def test_collapse_is_one_class_for_all_of_several():
    assert metrics.is_collapsed(np.array([3, 3, 3]))
    assert not metrics.is_collapsed(np.array([3, 3, 2]))
    assert not metrics.is_collapsed(np.array([3]))
    assert not metrics.is_collapsed(EMPTY)
    assert metrics.majority_fraction(np.array([3, 3, 2, 1])) == 0.5
    assert metrics.majority_fraction(np.array([2, 2, 2, 0])) == 0.75
    assert metrics.majority_fraction(np.array([1, 1])) == 1.0
    assert metrics.majority_fraction(EMPTY) is None


@pytest.mark.parametrize("seed", range(5))
def test_order_of_rows_does_not_matter(seed):
    levels, predictions = draw(seed)
    shuffled = np.random.default_rng(seed).permutation(levels.size)
    for metric in OF_CLASSES:
        before = metric(levels, predictions, num_classes=K)
        assert metric(levels[shuffled], predictions[shuffled], num_classes=K) == before
    for metric in OF_ERRORS:
        assert metric(levels[shuffled], predictions[shuffled]) == pytest.approx(metric(levels, predictions))


def test_public_names_are_those_of_the_four_modules():
    assert metrics.__all__ == sorted(metrics.__all__)
    defined = {
        name
        for module in (classification, intervals, concordance, segmentation)
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }
    assert defined <= set(metrics.__all__)
    assert doctest.testmod(intervals).attempted > 0
    assert doctest.testmod(intervals).failed == 0
