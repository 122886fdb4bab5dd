"""Metrics of a severity score against true levels: how well the order of one is the order of the other."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semise_sdk.metrics.bootstrap import Figures, Times, Values, once, quotient, single, sums_by, weighted_mean

Levels = NDArray[np.integer] | NDArray[np.bool_]
Scores = NDArray[np.floating] | NDArray[np.integer]
Pairs = NDArray[np.intp]

PAIRS_EVAL = 1000


def spearman(levels: Levels, scores: Scores) -> float | None:
    """Returns the correlation of ranks, ties averaged, -1 to 1; None where either side is constant."""
    return single(_spearman(levels, scores, once(levels)))


def kendall_tau(levels: Levels, scores: Scores) -> float | None:
    """Returns Kendall's tau-b, -1 to 1, exact with ties, in O(n log n); None where either side is constant.

    Tied levels keep tau-b below 1 for any score without ties: the C-index can reach 1.
    Source: Kendall 1945, "The treatment of ties in ranking problems".
    """
    return single(PairCounts.of(levels, scores, once(levels)).kendall_tau())


def c_index(levels: Levels, scores: Scores) -> float | None:
    """Returns the share of pairs of different level that the score orders rightly, tied scores counting 0.5.

    O(n log n); None where no two levels differ. Source: Harrell et al. 1982, without censoring.
    """
    return single(PairCounts.of(levels, scores, once(levels)).c_index())


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
    return single(weighted_mean(_points(scores, pairs), _of_one(pairs, weights)))


def pair_brier(
    scores: Scores, pairs: Pairs, *, beta: float, weights: NDArray[np.integer] | None = None
) -> float | None:
    """Returns the weighted mean of (1 - p)^2, p = sigmoid(beta (s_i - s_j)) that the first row is the more severe.

    ``beta`` is that of the preference loss. None where no pair has weight. Source: Brier 1950; Bradley-Terry 1952.
    """
    return single(weighted_mean(_squared_doubts(scores, pairs, beta=beta), _of_one(pairs, weights)))


def severity_figures(levels: Levels, scores: Scores, times: Times, *, pairs: Pairs, beta: float) -> Figures:
    """Returns every metric of a score for resamples that hold each row ``times [R, N]``: ``[R]`` each.

    NaN where the metric of the rows so repeated is None. A resample holds one of ``pairs`` as often as both its rows.
    """
    counts = PairCounts.of(levels, scores, times)
    weights = times[:, pairs[:, 0]] * times[:, pairs[:, 1]]
    return {
        "spearman": _spearman(levels, scores, times),
        "kendall_tau": counts.kendall_tau(),
        "c_index": counts.c_index(),
        "auroc_healthy": PairCounts.of(levels != 0, scores, times).c_index(),
        "pair_accuracy": weighted_mean(_points(scores, pairs), weights),
        "pair_brier": weighted_mean(_squared_doubts(scores, pairs, beta=beta), weights),
    }


@dataclass(frozen=True, slots=True)
class PairCounts:
    """How many pairs of rows each of R resamples holds, ``[R]``: in all, tied, and in which order.

    A pair that ties in level and in score counts in ``tied_levels`` and in ``tied_scores``.
    """

    total: Values
    tied_levels: Values
    tied_scores: Values
    concordant: Values
    discordant: Values

    @classmethod
    def of(cls, levels: Levels, scores: Scores, times: Times) -> Self:
        """Returns the counts of ``levels [N]`` and ``scores [N]`` for resamples that hold each row ``times [R, N]``.

        Raises:
            ValueError: the two are not both ``[N]``, or a score is not finite.
        """
        _check_paired(levels, scores)
        level, level_count = _codes(levels)
        score, score_count = _codes(scores)
        cells, cell = np.unique(score * level_count + level, return_inverse=True)
        of_cell = sums_by(cell, times, count=cells.size)
        total = _choose_two(times.sum(axis=1, keepdims=True))
        tied_levels = _choose_two(sums_by(level, times, count=level_count))
        tied_scores = _choose_two(sums_by(score, times, count=score_count))
        # sorted by score and, within a score, by level: an inversion of levels is then exactly a discordant pair
        discordant = _inversions(cells % max(level_count, 1), of_cell)
        concordant = total - tied_levels - tied_scores + _choose_two(of_cell) - discordant
        return cls(total, tied_levels, tied_scores, concordant, discordant)

    def kendall_tau(self) -> Values:
        """Returns :func:`kendall_tau` of each resample, ``[R]``; NaN where that is None."""
        untied = (self.total - self.tied_levels) * (self.total - self.tied_scores)
        return quotient(self.concordant - self.discordant, np.sqrt(untied))

    def c_index(self) -> Values:
        """Returns :func:`c_index` of each resample, ``[R]``; NaN where that is None."""
        comparable = self.total - self.tied_levels
        tied = comparable - self.concordant - self.discordant
        return quotient(self.concordant + 0.5 * tied, comparable)


def _spearman(levels: Levels, scores: Scores, times: Times) -> Values:
    _check_paired(levels, scores)
    first, second = _centred_ranks(levels, times), _centred_ranks(scores, times)
    spread = (times * first**2).sum(axis=1) * (times * second**2).sum(axis=1)
    return np.clip(quotient((times * first * second).sum(axis=1), np.sqrt(spread)), -1, 1)


def _centred_ranks(values: Levels | Scores, times: Times) -> Values:
    """Returns twice the average rank less its mean ``[R, N]``: whole numbers, so sums of them are exact."""
    codes, count = _codes(values)
    sizes = sums_by(codes, times, count=count)
    return np.asarray(2 * np.cumsum(sizes, axis=1) - sizes - sizes.sum(axis=1, keepdims=True))[:, codes]


def _codes(values: Levels | Scores) -> tuple[NDArray[np.intp], int]:
    """Returns the place ``[N]`` of each value among the distinct ones, ascending, and how many those are."""
    distinct, codes = np.unique(values, return_inverse=True)
    return codes, distinct.size


def _inversions(codes: NDArray[np.integer], sizes: Values) -> Values:
    """Returns the sum ``[R]`` of ``sizes[i] * sizes[j]`` over all i < j with codes[i] > codes[j].

    ``codes`` are ``[M]``, 0 and more, and ``sizes [R, M]``. One stable partition for each bit, from the highest:
    O(M log K).
    """
    count = np.zeros(len(sizes))
    for bit in reversed(range(int(codes.max(initial=0)).bit_length())):
        ones = sizes * (codes >> bit & 1)
        # where the higher bits change, a new run begins, and what stands before it is already in order
        begins = np.diff(codes >> (bit + 1), prepend=-1) != 0
        start = np.maximum.accumulate(np.where(begins, np.arange(codes.size), 0))
        ones_before = np.cumsum(ones, axis=1) - ones
        count += ((sizes - ones) * (ones_before - ones_before[:, start])).sum(axis=1)
        order = np.argsort(codes >> bit, kind="stable")
        codes, sizes = codes[order], sizes[:, order]
    return count


def _choose_two(sizes: Values) -> Values:
    """Returns how many pairs ``[R]`` are within groups of ``sizes [R, G]``."""
    return np.asarray((sizes * (sizes - 1) / 2).sum(axis=1))


def _points(scores: Scores, pairs: Pairs) -> Values:
    return np.asarray((np.sign(_gaps(scores, pairs)) + 1) / 2)


def _squared_doubts(scores: Scores, pairs: Pairs, *, beta: float) -> Values:
    # tanh is the sigmoid that cannot overflow
    return np.asarray(((1 - np.tanh(0.5 * beta * _gaps(scores, pairs))) / 2) ** 2)


def _gaps(scores: Scores, pairs: Pairs) -> Values:
    wide = scores.astype(np.float64)
    return wide[pairs[:, 0]] - wide[pairs[:, 1]]


def _of_one(pairs: Pairs, weights: NDArray[np.integer] | None) -> Values:
    return once(pairs) if weights is None else weights[None].astype(np.float64)


def _check_paired(levels: Levels, scores: Scores) -> None:
    if levels.ndim != 1 or levels.shape != scores.shape:
        raise ValueError(f"expected two arrays [N], found shapes {levels.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("expected finite scores, found NaN or infinity; leave those rows out")
