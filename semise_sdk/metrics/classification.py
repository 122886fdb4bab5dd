"""Metrics of predicted grades against true severity levels, both integers 0 to K - 1."""

import numpy as np
from numpy.typing import NDArray

from semise_sdk.spec import Decoding

Levels = NDArray[np.integer]
Probabilities = NDArray[np.floating]


def confusion_matrix(levels: Levels, predictions: Levels, *, num_classes: int) -> NDArray[np.int64]:
    """Returns counts ``[K, K]``: row is the true level, column the predicted one.

    Raises:
        ValueError: the arrays are not both ``[N]``, or hold something outside 0 to ``num_classes`` - 1.
    """
    truth, predicted = _paired(levels, predictions)
    for name, values in (("levels", truth), ("predictions", predicted)):
        if values.size and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f"expected {name} of 0 to {num_classes - 1}, found {values.min()} to {values.max()}")
    cells = np.bincount(truth * num_classes + predicted, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def accuracy(levels: Levels, predictions: Levels) -> float | None:
    """Returns the share of exact predictions; None for no rows."""
    truth, predicted = _paired(levels, predictions)
    return _mean(truth == predicted)


def macro_f1(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns F1 averaged over all K classes; a class neither true nor predicted counts 0. None for no rows."""
    counts = confusion_matrix(levels, predictions, num_classes=num_classes)
    return _mean(_ratio(2 * np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1))) if counts.any() else None


def recall(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns recall averaged over all K classes; an absent class counts 0. None for no rows."""
    counts = confusion_matrix(levels, predictions, num_classes=num_classes)
    return _mean(_ratio(np.diag(counts), counts.sum(axis=1))) if counts.any() else None


def balanced_accuracy(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns recall averaged over the classes that are present; None for no rows."""
    counts = confusion_matrix(levels, predictions, num_classes=num_classes)
    present = counts.sum(axis=1) > 0
    return _mean(_ratio(np.diag(counts), counts.sum(axis=1))[present])


def mae(levels: Levels, predictions: Levels) -> float | None:
    """Returns mean(|y - yhat|), in levels; None for no rows."""
    truth, predicted = _paired(levels, predictions)
    return _mean(np.abs(truth - predicted))


def maee(levels: Levels, predictions: Levels) -> float | None:
    """Returns the mean absolute exponential error mean(exp(|y - yhat|)), at least 1; None for no rows.

    Source: SemiSe, arXiv 2501.03848; pooled over rows, not over classes.
    """
    truth, predicted = _paired(levels, predictions)
    return _mean(np.exp(np.abs(truth - predicted)))


def quadratic_kappa(levels: Levels, predictions: Levels, *, num_classes: int) -> float | None:
    """Returns Cohen's kappa with weights (i - j)^2, at most 1; None where truth and prediction are one same class."""
    counts = confusion_matrix(levels, predictions, num_classes=num_classes).astype(np.float64)
    grades = np.arange(num_classes)
    weights = (grades[:, None] - grades[None, :]) ** 2
    chance = (weights * np.outer(counts.sum(axis=1), counts.sum(axis=0))).sum()
    if chance == 0:
        return None
    return float(1 - (weights * counts).sum() * counts.sum() / chance)


def ece(levels: Levels, probabilities: Probabilities, *, bins: int = 15) -> float | None:
    """Returns the expected calibration error of the top label, 0 to 1, in equal-width bins (lo, hi]; None for no rows.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    truth, top = _paired(levels, probabilities.argmax(axis=1))
    if not truth.size:
        return None
    confidence = probabilities.max(axis=1).astype(np.float64)
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    gaps = np.bincount(np.digitize(confidence, inner_edges, right=True), weights=confidence - (truth == top))
    return float(np.abs(gaps).sum() / truth.size)


def expected_class(probabilities: Probabilities) -> NDArray[np.float64]:
    """Returns the mean level ``[N]`` of each row of probabilities ``[N, K]``."""
    # a BLAS product may give equal rows unequal last bits, which would break ties that a rank metric must see
    weighted = probabilities * np.arange(probabilities.shape[1], dtype=np.float64)
    return np.asarray(weighted.sum(axis=1))


def least_maee_class(probabilities: Probabilities) -> NDArray[np.intp]:
    """Returns argmin_c sum_k p_k exp(|k - c|) ``[N]``: the Bayes-optimal level for :func:`maee`; ties go down."""
    grades = np.arange(probabilities.shape[1])
    costs = np.exp(np.abs(grades[:, None] - grades[None, :]))
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


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    return numerator / np.maximum(denominator, 1)


def _mean(values: NDArray[np.number] | NDArray[np.bool_]) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if values.size else None


def decide(probabilities: NDArray[np.floating], *, decoding: Decoding = "argmax") -> NDArray[np.intp]:
    """Returns the level ``[N]`` decided from probabilities ``[N, K]``; equal candidates go to the lower level."""
    if decoding == "expected_maee":
        return least_maee_class(probabilities)
    return np.asarray(probabilities.argmax(axis=1))
