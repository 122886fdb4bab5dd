"""Overlap of predicted and true masks, from the pixel counts of each image."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from semise_sdk.metrics.bootstrap import Figures, Times, Values, once, single, weighted_mean

Mask = NDArray[np.bool_] | NDArray[np.uint8]
Counts = NDArray[np.integer]


def mask_counts(predicted: Mask, truth: Mask) -> tuple[int, int, int]:
    """Returns pixel counts (intersection, predicted, truth) of two masks ``[H, W]``, non-zero meaning inside.

    The caller thresholds probabilities, at the source mask's size.

    Raises:
        ValueError: the shapes differ, or a mask is neither bool nor uint8.
    """
    if predicted.ndim != 2 or predicted.shape != truth.shape:
        raise ValueError(f"expected two masks [H, W] of one size, found shapes {predicted.shape} and {truth.shape}")
    if {predicted.dtype, truth.dtype} - {np.dtype(np.bool_), np.dtype(np.uint8)}:
        raise ValueError(f"expected bool or uint8 masks, found {predicted.dtype} and {truth.dtype}; threshold first")
    inside, wanted = predicted != 0, truth != 0
    return int(np.count_nonzero(inside & wanted)), int(np.count_nonzero(inside)), int(np.count_nonzero(wanted))


def iou(counts: Counts) -> float | None:
    """Returns intersection over union averaged over the images of counts ``[M, 3]``; None for no images.

    Columns as :func:`mask_counts`; an image whose two masks are empty counts 1.
    """
    return single(weighted_mean(_iou(counts), once(counts)))


def dice(counts: Counts) -> float | None:
    """Returns 2 I / (P + T) averaged over the images of counts ``[M, 3]``; both-empty is 1; None for no images."""
    return single(weighted_mean(_dice(counts), once(counts)))


def pooled_iou(counts: Counts) -> float | None:
    """Returns intersection over union of the counts ``[M, 3]`` summed over all images; None for no images."""
    return single(_pooled(_iou, counts, once(counts)))


def pooled_dice(counts: Counts) -> float | None:
    """Returns 2 I / (P + T) of the counts ``[M, 3]`` summed over all images; None for no images."""
    return single(_pooled(_dice, counts, once(counts)))


def mask_figures(counts: Counts, times: Times) -> Figures:
    """Returns the four metrics of resamples that hold each image ``times [R, M]``: ``[R]`` each, NaN for no images."""
    return {
        "iou": weighted_mean(_iou(counts), times),
        "dice": weighted_mean(_dice(counts), times),
        "pooled_iou": _pooled(_iou, counts, times),
        "pooled_dice": _pooled(_dice, counts, times),
    }


def _pooled(overlap: Callable[[Counts | Values], Values], counts: Counts, times: Times) -> Values:
    return np.asarray(np.where(times.any(axis=1), overlap(times @ counts), np.nan))


def _iou(counts: Counts | Values) -> Values:
    intersection, predicted, truth = counts.astype(np.float64).T
    return _overlap(intersection, predicted + truth - intersection)


def _dice(counts: Counts | Values) -> Values:
    intersection, predicted, truth = counts.astype(np.float64).T
    return _overlap(2 * intersection, predicted + truth)


def _overlap(shared: Values, area: Values) -> Values:
    return np.where(area == 0, 1.0, shared / np.maximum(area, 1))
