"""Turns raw network outputs into results: probabilities, masks and maps."""

import numpy as np
from numpy.typing import NDArray

from semise_sdk.images.preprocess import mask_to_source
from semise_sdk.images.record import Geometry


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the probabilities ``[N, K]`` of logits ``[N, K]``; each row sums to 1.

    Example:
        >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
        array([[0.5, 0.5],
               [1. , 0. ]])
    """
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns ``1 / (1 + exp(-logits))`` for logits of any size without overflow.

    Example:
        >>> sigmoid(np.array([-1000.0, 0.0, 1000.0], dtype=np.float32))
        array([0. , 0.5, 1. ], dtype=float32)
    """
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)


def mask_of(logits: NDArray[np.float32], geometry: Geometry, *, threshold: float) -> tuple[NDArray[np.uint8], float]:
    """Returns the mask ``[H, W]`` of 0 and 255 at the source's upright size, and its share of the image's area.

    Args:
        logits: Mask logits ``[h, w]`` on the canvas.
        geometry: Where the image lies on the canvas.
        threshold: Probability from which a pixel belongs to the mask.
    """
    inside = mask_to_source(sigmoid(logits), geometry) >= threshold
    return np.where(inside, np.uint8(255), np.uint8(0)), float(inside.mean())


def severity_map_of(places: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Returns the severity map ``[H, W]`` at the source's upright size from one of the network's places ``[h, w]``."""
    return mask_to_source(places, geometry)
