"""Metrics of predicted grades against true severity levels, both integers 0 to K - 1."""

import numpy as np
from numpy.typing import NDArray

from semise_sdk.metrics.bootstrap import Figures, Times, Values, once, quotient, single, sums_by, weighted_mean
from semise_sdk.metrics.concordance import PairCounts
from semise_sdk.spec import Decoding

Levels = NDArray[np.integer]
Probabilities = NDArray[np.floating]

ECE_BINS = 15


def confusion_matrix(levels: Levels, predictions: Levels, *, num_classes: int) -> NDArray[np.int64]:
    """Returns counts ``[K, K]``: row is the true level, column the predicted one.

    Raises:
        ValueError: the arrays are not both ``[N]``, or hold something outside 0 to ``num_classes`` - 1.
    """
    return np.asarray(_confusions(levels, predictions, once(levels), num_classes=num_classes)[0], dtype=np.int64)


def accuracy(levels: Levels, predictions: Levels) -> float | None:
    """Returns the share of exact predictions; None for no rows."""
    return single(weighted_mean(_errors(levels, predictions) == 0, once(levels)))


def macro_f1(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns F1 averaged over all K classes; a class neither true nor predicted counts 0. None for no rows."""
    return single(_macro_f1(_confusions(levels, predictions, once(levels), num_classes=num_classes)))


def recall(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns recall averaged over all K classes; an absent class counts 0. None for no rows."""
    return single(_recall(_confusions(levels, predictions, once(levels), num_classes=num_classes)))


def balanced_accuracy(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns recall averaged over the classes that are present; None for no rows."""
    return single(_balanced_accuracy(_confusions(levels, predictions, once(levels), num_classes=num_classes)))


def mae(levels: Levels, predictions: Levels) -> float | None:
    """Returns mean(|y - yhat|), in levels; None for no rows."""
    return single(weighted_mean(_errors(levels, predictions), once(levels)))


def maee(levels: Levels, predictions: Levels) -> float | None:
    """Returns the mean absolute exponential error mean(exp(|y - yhat|)), at least 1; None for no rows.

    Source: SemiSe, arXiv 2501.03848; pooled over rows, not over classes.
    """
    return single(weighted_mean(np.exp(_errors(levels, predictions)), once(levels)))


def quadratic_kappa(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns Cohen's kappa with weights (i - j)^2, at most 1; None where truth and prediction are one same class."""
    return single(_quadratic_kappa(_confusions(levels, predictions, once(levels), num_classes=num_classes)))


def ece(levels: Levels, probabilities: Probabilities, *, bins: int = ECE_BINS) -> float | None:
    """Returns the expected calibration error of the top label, 0 to 1, in equal-width bins (lo, hi]; None for no rows.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    return single(_ece(levels, probabilities, once(levels), bins=bins))


def grade_figures(levels: Levels, predictions: Levels, times: Times, *, num_classes: int) -> Figures:
    """Returns every metric of predicted grades for resamples that hold each row ``times [R, N]``: ``[R]`` each.

    NaN where the metric of the rows so repeated is None. ``kappa`` is :func:`quadratic_kappa`.
    """
    confusions, errors = _confusions(levels, predictions, times, num_classes=num_classes), _errors(levels, predictions)
    return {
        "macro_f1": _macro_f1(confusions),
        "recall": _recall(confusions),
        "maee": weighted_mean(np.exp(errors), times),
        "mae": weighted_mean(errors, times),
        "kappa": _quadratic_kappa(confusions),
        "balanced_accuracy": _balanced_accuracy(confusions),
        "accuracy": weighted_mean(errors == 0, times),
    }


def probability_figures(levels: Levels, probabilities: Probabilities, times: Times) -> Figures:
    """Returns :func:`ece` and ``kendall_tau_class``, tau-b of the expected class, for resamples: ``[R]`` each."""
    return {
        "ece": _ece(levels, probabilities, times, bins=ECE_BINS),
        "kendall_tau_class": PairCounts.of(levels, expected_class(probabilities), times).kendall_tau(),
    }


def expected_class(probabilities: Probabilities) -> NDArray[np.float64]:
    """Returns the mean level ``[N]`` of each row of probabilities ``[N, K]``."""
    # a BLAS product may give equal rows unequal last bits, which would break ties that a rank metric must see
    weighted = probabilities * np.arange(probabilities.shape[1], dtype=np.float64)
    return np.asarray(weighted.sum(axis=1))


def decide(probabilities: Probabilities, *, decoding: Decoding = "argmax") -> NDArray[np.intp]:
    """Returns the level ``[N]`` decided from probabilities ``[N, K]``; equal candidates go to the lower level."""
    if decoding == "expected_maee":
        return least_maee_class(probabilities)
    return np.asarray(probabilities.argmax(axis=1))


def least_maee_class(probabilities: Probabilities) -> NDArray[np.intp]:
    """Returns argmin_c sum_k p_k exp(|k - c|) ``[N]``: the Bayes-optimal level for :func:`maee`; ties go down."""
    costs = np.exp(_gaps(probabilities.shape[1]))
    return np.asarray((probabilities.astype(np.float64) @ costs).argmin(axis=1))


def majority_fraction(predictions: Levels) -> float | None:
    """Returns the share of the most frequent value, 1 / K to 1; None for no rows."""
    _, counts = np.unique(predictions, return_counts=True)
    return float(counts.max() / predictions.size) if predictions.size else None


def is_collapsed(predictions: Levels) -> bool:
    """Returns True when two or more predictions are all one class: no better than a constant."""
    return predictions.size > 1 and majority_fraction(predictions) == 1


def _paired(levels: Levels, predictions: Levels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if levels.ndim != 1 or levels.shape != predictions.shape:
        raise ValueError(f"expected two arrays [N], found shapes {levels.shape} and {predictions.shape}")
    # unsigned levels would wrap around in a difference
    return levels.astype(np.int64), predictions.astype(np.int64)


def _errors(levels: Levels, predictions: Levels) -> NDArray[np.int64]:
    truth, predicted = _paired(levels, predictions)
    return np.asarray(np.abs(truth - predicted))


def _confusions(levels: Levels, predictions: Levels, times: Times, *, num_classes: int) -> Values:
    """Returns the confusion matrices ``[R, K, K]`` of resamples."""
    truth, predicted = _paired(levels, predictions)
    for name, values in (("levels", truth), ("predictions", predicted)):
        if values.size and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f"expected {name} of 0 to {num_classes - 1}, found {values.min()} to {values.max()}")
    cells = sums_by(truth * num_classes + predicted, times, count=num_classes**2)
    return cells.reshape(-1, num_classes, num_classes)


def _macro_f1(confusions: Values) -> Values:
    return _class_mean(2 * _hits(confusions), confusions.sum(axis=1) + confusions.sum(axis=2))


def _recall(confusions: Values) -> Values:
    return _class_mean(_hits(confusions), confusions.sum(axis=2))


def _class_mean(numerator: Values, denominator: Values) -> Values:
    """Returns the mean ``[R]`` over classes of quotients ``[R, K]``, 0 for an empty class and NaN for no rows."""
    mean = (numerator / np.maximum(denominator, 1)).mean(axis=1)
    return np.asarray(np.where(denominator.any(axis=1), mean, np.nan))


def _balanced_accuracy(confusions: Values) -> Values:
    truth = confusions.sum(axis=2)
    return quotient((_hits(confusions) / np.maximum(truth, 1)).sum(axis=1), np.count_nonzero(truth, axis=1))


def _quadratic_kappa(confusions: Values) -> Values:
    weights = _gaps(confusions.shape[1]) ** 2
    chance = (weights * confusions.sum(axis=2)[:, :, None] * confusions.sum(axis=1)[:, None, :]).sum(axis=(1, 2))
    return 1 - quotient((weights * confusions).sum(axis=(1, 2)) * confusions.sum(axis=(1, 2)), chance)


def _hits(confusions: Values) -> Values:
    return np.diagonal(confusions, axis1=1, axis2=2)


def _ece(levels: Levels, probabilities: Probabilities, times: Times, *, bins: int) -> Values:
    truth, top = _paired(levels, probabilities.argmax(axis=1))
    confidence = probabilities.max(axis=1).astype(np.float64)
    bin_of = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = sums_by(bin_of, times * (confidence - (truth == top)), count=bins)
    return quotient(np.abs(gaps).sum(axis=1), times.sum(axis=1))


def _gaps(num_classes: int) -> NDArray[np.int64]:
    """Returns ``|i - j|`` of each two levels, ``[K, K]``."""
    grades = np.arange(num_classes)
    return np.asarray(np.abs(grades[:, None] - grades[None, :]))
