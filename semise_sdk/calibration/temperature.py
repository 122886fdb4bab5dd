"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599) of probabilities, after the graph: any backend's."""

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0

_TINY = 1e-300  # float64 still has a logarithm here
_STEPS = 60
_GOLDEN = (np.sqrt(5) - 1) / 2


def tempered(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Returns ``softmax(logits / temperature)`` ``[N, K]`` from the probabilities ``softmax(logits)`` ``[N, K]``.

    Example:
        >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3)
        array([[0.667, 0.333]])
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def negative_log_likelihood(probabilities: NDArray[np.floating], levels: NDArray[np.integer]) -> float:
    """Returns the mean of ``-log p[level]`` of probabilities ``[N, K]`` and levels ``[N]``."""
    of_level = np.asarray(probabilities, np.float64)[np.arange(len(levels)), levels]
    return float(-np.log(np.maximum(of_level, _TINY)).mean())


def fit_temperature(probabilities: NDArray[np.floating], levels: NDArray[np.integer]) -> float:
    """Returns the T of 0.05 to 20 under which the levels are most likely; 1 where no T does better than it.

    Golden-section search: the likelihood is concave in 1 / T, so it has one peak in log T too.
    """

    def loss(log_t: float) -> float:
        return negative_log_likelihood(tempered(probabilities, float(np.exp(log_t))), levels)

    low, high = float(np.log(LOWEST)), float(np.log(HIGHEST))
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    middle = (low + high) / 2
    is_better = loss(middle) < negative_log_likelihood(probabilities, levels)
    return float(np.exp(middle)) if is_better else 1.0
