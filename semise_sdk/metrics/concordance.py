"""Metrics of a severity score against true levels: how well the order of one is the order of the other."""

from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.integer] | NDArray[np.bool_]
Scores = NDArray[np.floating] | NDArray[np.integer]
Pairs = NDArray[np.intp]

PAIRS_EVAL = 1000


def spearman(levels: Levels, scores: Scores) -> float | None:
    """Returns the correlation of ranks, ties averaged, -1 to 1; None where either side is constant."""
    _check_paired(levels, scores)
    first, second = _centred_ranks(levels), _centred_ranks(scores)
    spread = sqrt(float((first**2).sum()) * float((second**2).sum()))
    if spread == 0:
        return None
    return float(np.clip((first * second).sum() / spread, -1, 1))


def kendall_tau(levels: Levels, scores: Scores) -> float | None:
    """Returns Kendall's tau-b, -1 to 1, exact with ties, in O(n log n); None where either side is constant.

    Tied levels keep tau-b below 1 for any score without ties: the C-index can reach 1.
    Source: Kendall 1945, "The treatment of ties in ranking problems".
    """
    pairs = _count_pairs(levels, scores)
    untied = (pairs.total - pairs.tied_levels) * (pairs.total - pairs.tied_scores)
    if untied == 0:
        return None
    return (pairs.concordant - pairs.discordant) / sqrt(untied)


def c_index(levels: Levels, scores: Scores) -> float | None:
    """Returns the share of pairs of different level that the score orders rightly, tied scores counting 0.5.

    O(n log n); None where no two levels differ. Source: Harrell et al. 1982, without censoring.
    """
    pairs = _count_pairs(levels, scores)
    comparable = pairs.total - pairs.tied_levels
    if comparable == 0:
        return None
    tied = comparable - pairs.concordant - pairs.discordant
    return (pairs.concordant + 0.5 * tied) / comparable


def auroc_healthy(levels: Levels, scores: Scores) -> float | None:
    """Returns the area under the ROC curve of level 0 against all others; None where one side is empty."""
    return c_index(levels != 0, scores)


def evaluation_pairs(levels: Levels, *, count: int = PAIRS_EVAL, seed: int = 0) -> Pairs:
    """Returns distinct pairs of rows ``[P, 2]``, the more severe row first, drawn uniformly and seeded.

    P is ``count``, or the number of pairs of different level where that is smaller: then every pair is there.
    """
    order = np.argsort(levels, kind="stable")
    # the rows milder than a row are a prefix of the order, so one number below their sum names one pair
    milder = np.searchsorted(levels[order], levels)
    ends = np.cumsum(milder)
    total = int(milder.sum())
    drawn = np.random.default_rng(seed).choice(total, size=min(count, total), replace=False)
    severe = np.searchsorted(ends, drawn, side="right")
    mild = order[drawn - ends[severe] + milder[severe]]
    return np.stack([severe, mild], axis=1)


def pair_accuracy(scores: Scores, pairs: Pairs, *, weights: NDArray[np.integer] | None = None) -> float | None:
    """Returns the weighted share of pairs ``[P, 2]``, more severe row first, that the score orders rightly.

    Tied scores count 0.5. None where no pair has weight.
    """
    return _weighted_mean((np.sign(_gaps(scores, pairs)) + 1) / 2, weights)


def pair_brier(
    scores: Scores, pairs: Pairs, *, beta: float, weights: NDArray[np.integer] | None = None
) -> float | None:
    """Returns the weighted mean of (1 - p)^2, p = sigmoid(beta (s_i - s_j)) that the first row is the more severe.

    ``beta`` is that of the preference loss. None where no pair has weight. Source: Brier 1950; Bradley-Terry 1952.
    """
    # tanh is the sigmoid that cannot overflow
    return _weighted_mean(((1 - np.tanh(0.5 * beta * _gaps(scores, pairs))) / 2) ** 2, weights)


@dataclass(frozen=True, slots=True)
class _PairCounts:
    """Unordered pairs of rows; ``tied_*`` include the pairs tied in both."""

    total: int
    discordant: int
    tied_levels: int
    tied_scores: int
    tied_both: int

    @property
    def concordant(self) -> int:
        return self.total - self.tied_levels - self.tied_scores + self.tied_both - self.discordant


def _count_pairs(levels: Levels, scores: Scores) -> _PairCounts:
    _check_paired(levels, scores)
    distinct_levels, level_codes = np.unique(levels, return_inverse=True)
    _, score_codes = np.unique(scores, return_inverse=True)
    # sorted by score and, within a score, by level: an inversion of levels is then exactly a discordant pair
    cells = np.sort(score_codes.astype(np.int64) * max(distinct_levels.size, 1) + level_codes)
    changes = np.flatnonzero(np.diff(cells, prepend=-1, append=-1))
    return _PairCounts(
        total=comb(levels.size, 2),
        discordant=_inversions(cells % max(distinct_levels.size, 1)),
        tied_levels=_choose_two(np.bincount(level_codes)),
        tied_scores=_choose_two(np.bincount(score_codes)),
        tied_both=_choose_two(np.diff(changes)),
    )


def _inversions(codes: NDArray[np.int64]) -> int:
    """Returns how many i < j have codes[i] > codes[j], by stable radix partition from the highest bit."""
    count, index = 0, np.arange(codes.size)
    for bit in reversed(range(int(codes.max(initial=0)).bit_length())):
        is_one = (codes >> bit & 1).astype(bool)
        begins = np.diff(codes >> (bit + 1), prepend=-1) != 0
        start = np.maximum.accumulate(np.where(begins, index, 0))
        ones_before = np.cumsum(is_one) - is_one
        ones_before -= ones_before[start]
        count += int(ones_before[~is_one].sum())
        # a zero moves ahead of the ones of its run; the ones keep their order in the places left
        is_taken = np.zeros(codes.size, dtype=bool)
        is_taken[(index - ones_before)[~is_one]] = True
        partitioned = np.empty_like(codes)
        partitioned[is_taken], partitioned[~is_taken] = codes[~is_one], codes[is_one]
        codes = partitioned
    return count


def _choose_two(sizes: NDArray[np.integer]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _centred_ranks(values: Levels | Scores) -> NDArray[np.float64]:
    """Returns twice the average rank less its mean: whole numbers, so sums of them are exact."""
    _, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    doubled = 2 * np.cumsum(sizes) - sizes
    return (doubled[codes] - values.size).astype(np.float64)


def _gaps(scores: Scores, pairs: Pairs) -> NDArray[np.float64]:
    wide = scores.astype(np.float64)
    return wide[pairs[:, 0]] - wide[pairs[:, 1]]


def _weighted_mean(values: NDArray[np.floating], weights: NDArray[np.integer] | None) -> float | None:
    heft = np.ones(values.size, dtype=np.int64) if weights is None else weights
    total = int(heft.sum())
    return float((values * heft).sum() / total) if total else None


def _check_paired(levels: Levels, scores: Scores) -> None:
    if levels.ndim != 1 or levels.shape != scores.shape:
        raise ValueError(f"expected two arrays [N], found shapes {levels.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("expected finite scores, found NaN or infinity; leave those rows out")
