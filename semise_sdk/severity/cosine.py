"""Directions of vectors, and the cosine distance between them."""

import numpy as np
from numpy.typing import NDArray


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the vectors at length 1, zero ones at 0; scaled first so that no square over- or underflows."""
    wide = vectors.astype(np.float64)
    largest = np.abs(wide).max(axis=-1, keepdims=True)
    scaled = wide / np.where(largest > 0, largest, 1)
    lengths = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return np.asarray(scaled / np.where(lengths > 0, lengths, 1))


def cosine_distances(units: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the distance ``[N, T]`` of unit vectors ``[N, D]`` to unit vectors ``[T, D]``, 0 to 2."""
    return np.clip(1 - units @ targets.T, 0, 2)
