"""Overlap of predicted and true masks, from the pixel counts of each image."""

import numpy as np
from numpy.typing import NDArray

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
    return _mean(_iou(counts))


def dice(counts: Counts) -> float | None:
    """Returns 2 I / (P + T) averaged over the images of counts ``[M, 3]``; both-empty is 1; None for no images."""
    return _mean(_dice(counts))


def pooled_iou(counts: Counts) -> float | None:
    """Returns intersection over union of the counts ``[M, 3]`` summed over all images; None for no images."""
    return _mean(_iou(_pooled(counts)))


def pooled_dice(counts: Counts) -> float | None:
    """Returns 2 I / (P + T) of the counts ``[M, 3]`` summed over all images; None for no images."""
    return _mean(_dice(_pooled(counts)))


def _pooled(counts: Counts) -> Counts:
    return counts.sum(axis=0, keepdims=True) if len(counts) else counts


def _iou(counts: Counts) -> NDArray[np.float64]:
    intersection, predicted, truth = counts.astype(np.int64).T
    return _overlap(intersection, predicted + truth - intersection)


def _dice(counts: Counts) -> NDArray[np.float64]:
    intersection, predicted, truth = counts.astype(np.int64).T
    return _overlap(2 * intersection, predicted + truth)


def _overlap(shared: NDArray[np.int64], area: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(area == 0, 1.0, shared / np.maximum(area, 1))


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
