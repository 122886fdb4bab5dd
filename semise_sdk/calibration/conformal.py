"""Ordinal conformal sets: grades that hold the true one for at least a stated share of exchangeable images.

Source: split conformal prediction (Papadopoulos et al. 2002; Angelopoulos and Bates 2021, arXiv 2107.07511) with the
ranked probability score as the nonconformity of an ordinal label (arXiv 2606.24959).
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

SCORE_DECIMALS = 6
"""Scores are rounded as severities are, so that noise between batch sizes does not decide whether a grade is in."""


def rps_scores(probabilities: Floats) -> NDArray[np.float64]:
    """Returns the ranked probability score ``[N, K]`` of each grade y were it the true one, 0 to K - 1.

    ``sum_k (F_k - 1[y <= k])^2`` with F the cumulative probabilities ``[N, K]``. From y to y + 1 it changes by
    ``2 F_y - 1``: it falls up to the median and rises after it, so that the grades below any threshold are neighbours.

    Example:
        >>> rps_scores(np.array([[0.5, 0.25, 0.25]]))
        array([[0.3125, 0.3125, 0.8125]])
    """
    cumulative = np.cumsum(np.asarray(probabilities, np.float64), axis=1)
    grades = np.arange(cumulative.shape[1])
    reached = (grades[:, None] <= grades[None, :]).astype(np.float64)
    gaps = cumulative[:, None, :] - reached[None, :, :]
    return np.asarray(np.round((gaps**2).sum(axis=2), SCORE_DECIMALS))


def upper_limit(values: Floats, share: float) -> float:
    """Returns the value that a further exchangeable one stays at or below with probability ``share`` at least.

    It is the ``ceil((n + 1) share)``-th smallest of the n; infinity where there are too few for that.

    Example:
        >>> upper_limit(np.arange(1.0, 10.0), 0.9), upper_limit(np.arange(1.0, 9.0), 0.9)
        (9.0, inf)
    """
    # 10 * 0.9 is a little above 9 in binary, and would ask for one value more than there is
    place = math.ceil((len(values) + 1) * share - 1e-9)
    return math.inf if place > len(values) else float(np.sort(values)[max(place, 1) - 1])


def grade_sets(probabilities: Floats, threshold: float) -> NDArray[np.bool_]:
    """Returns which grades ``[N, K]`` score at most ``threshold``; where none does, the one that scores least.

    The grades of a row are neighbours (see :func:`rps_scores`), and only ever more than conformity asks for.
    """
    scores = rps_scores(probabilities)
    inside = scores <= threshold
    inside[np.arange(len(scores)), scores.argmin(axis=1)] = True
    return np.asarray(inside)


def true_scores(probabilities: Floats, levels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Returns the score ``[N]`` of each row's true level."""
    return np.asarray(rps_scores(probabilities)[np.arange(len(levels)), levels])
