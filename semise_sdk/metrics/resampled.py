"""The metrics of many resamples at once, from how often each resample holds each row.

Every function takes ``times [R, N]``, whole numbers, and returns ``[R]`` floats that equal those of the function of the
same name on the rows repeated that often; NaN where that one returns None.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Values = NDArray[np.float64]
Levels = NDArray[np.integer] | NDArray[np.bool_]


def resample_times(groups: NDArray[np.integer], *, repeats: int, seed: int) -> Times:
    """Returns how often each of ``repeats`` resamples of whole groups holds each row, ``[R, N]``.

    As many groups are drawn, with replacement, as there are. A row's place in the order of the groups and the seed
    decide its draws, so that equal groups give equal resamples.
    """
    _, codes = np.unique(groups, return_inverse=True)
    count = int(codes.max(initial=-1)) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / max(count, 1)), size=repeats)
    return drawn[:, codes].astype(np.float64)


def confusion_matrices(
    levels: NDArray[np.integer], predictions: NDArray[np.integer], times: Times, *, num_classes: int
) -> Values:
    """Returns the counts ``[R, K, K]`` of each resample: row is the true level, column the predicted one."""
    cells = np.zeros((len(levels), num_classes * num_classes))
    cells[np.arange(len(levels)), levels.astype(np.int64) * num_classes + predictions] = 1
    return np.asarray(times @ cells).reshape(-1, num_classes, num_classes)


def macro_f1(confusions: Values) -> Values:
    """Returns F1 averaged over all K classes from confusion matrices ``[R, K, K]``."""
    hits = _diagonal(confusions)
    return _defined(_ratio(2 * hits, confusions.sum(1) + confusions.sum(2)).mean(axis=1), confusions)


def recall(confusions: Values) -> Values:
    """Returns recall averaged over all K classes; an absent class counts 0."""
    return _defined(_ratio(_diagonal(confusions), confusions.sum(2)).mean(axis=1), confusions)


def balanced_accuracy(confusions: Values) -> Values:
    """Returns recall averaged over the classes that are present."""
    truth = confusions.sum(2)
    return _quotient(_ratio(_diagonal(confusions), truth).sum(axis=1), (truth > 0).sum(axis=1))


def accuracy(confusions: Values) -> Values:
    """Returns the share of exact predictions."""
    return _quotient(_diagonal(confusions).sum(axis=1), confusions.sum((1, 2)))


def mae(confusions: Values) -> Values:
    """Returns mean(|y - yhat|), in levels."""
    return _mean_cost(confusions, _gaps(confusions))


def maee(confusions: Values) -> Values:
    """Returns mean(exp(|y - yhat|)), at least 1."""
    return _mean_cost(confusions, np.exp(_gaps(confusions)))


def quadratic_kappa(confusions: Values) -> Values:
    """Returns Cohen's kappa with weights (i - j)^2."""
    weights = _gaps(confusions) ** 2
    chance = np.einsum("rij,ij->r", confusions.sum(2)[:, :, None] * confusions.sum(1)[:, None, :], weights)
    observed = np.einsum("rij,ij->r", confusions, weights) * confusions.sum((1, 2))
    return 1 - _quotient(observed, chance)


def ece(levels: NDArray[np.integer], probabilities: Values, times: Times, *, bins: int = 15) -> Values:
    """Returns the expected calibration error of the top label of probabilities ``[N, K]``."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    bin_of = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = np.zeros((len(levels), bins))
    gaps[np.arange(len(levels)), bin_of] = confidence - (probabilities.argmax(axis=1) == levels)
    return _quotient(np.abs(times @ gaps).sum(axis=1), times.sum(axis=1))


@dataclass(frozen=True, slots=True)
class RankTable:
    """How often each resample holds each pair of true level and score: ``[R, U, K]``, both in ascending order."""

    counts: Values

    @classmethod
    def of(cls, levels: Levels, scores: NDArray[np.floating], times: Times) -> "RankTable":
        """Returns the table of ``levels [N]`` and ``scores [N]``."""
        distinct_levels, level = np.unique(levels, return_inverse=True)
        distinct_scores, score = np.unique(scores, return_inverse=True)
        counts = np.zeros((len(times), distinct_scores.size * distinct_levels.size))
        for row, cell in enumerate(score * distinct_levels.size + level):
            counts[:, cell] += times[:, row]
        return cls(counts.reshape(len(times), distinct_scores.size, distinct_levels.size))

    def kendall_tau(self) -> Values:
        """Returns Kendall's tau-b of each resample."""
        total = _choose_two(self.counts.sum((1, 2)))
        tied_levels = _choose_two(self.counts.sum(1)).sum(axis=1)
        tied_scores = _choose_two(self.counts.sum(2)).sum(axis=1)
        return _quotient(self._concordance(), np.sqrt((total - tied_levels) * (total - tied_scores)))

    def c_index(self) -> Values:
        """Returns the share of pairs of different level that the score orders rightly, tied scores counting 0.5."""
        comparable = _choose_two(self.counts.sum((1, 2))) - _choose_two(self.counts.sum(1)).sum(axis=1)
        return 0.5 + 0.5 * _quotient(self._concordance(), comparable)

    def spearman(self) -> Values:
        """Returns the correlation of ranks, ties averaged."""
        of_score, of_level = self.counts.sum(2), self.counts.sum(1)
        first, second = _centred_ranks(of_score), _centred_ranks(of_level)
        shared = np.einsum("ruk,ru,rk->r", self.counts, first, second)
        spread = (of_score * first**2).sum(axis=1) * (of_level * second**2).sum(axis=1)
        return _quotient(shared, np.sqrt(spread))

    def _concordance(self) -> Values:
        """Returns concordant less discordant pairs: each row against the rows of lower score."""
        below = np.cumsum(self.counts, axis=1) - self.counts
        milder = np.cumsum(below, axis=2) - below
        severer = below.sum(axis=2, keepdims=True) - milder - below
        return np.asarray((self.counts * (milder - severer)).sum(axis=(1, 2)))


def auroc_healthy(levels: NDArray[np.integer], scores: NDArray[np.floating], times: Times) -> Values:
    """Returns the area under the ROC curve of level 0 against all others."""
    return RankTable.of(levels != 0, scores, times).c_index()


def pair_accuracy(scores: NDArray[np.floating], pairs: NDArray[np.intp], times: Times) -> Values:
    """Returns the share of pairs ``[P, 2]``, more severe row first, that the score orders rightly; ties count 0.5."""
    return _pair_mean((np.sign(scores[pairs[:, 0]] - scores[pairs[:, 1]]) + 1) / 2, pairs, times)


def pair_brier(scores: NDArray[np.floating], pairs: NDArray[np.intp], times: Times, *, beta: float) -> Values:
    """Returns the mean of (1 - p)^2, p = sigmoid(beta (s_i - s_j)) that the first row is the more severe."""
    gaps = scores[pairs[:, 0]] - scores[pairs[:, 1]]
    return _pair_mean(((1 - np.tanh(0.5 * beta * gaps)) / 2) ** 2, pairs, times)


def mean_of_rows(values: Values, times: Times) -> Values:
    """Returns the mean of ``values [N]``."""
    return _quotient(times @ values, times.sum(axis=1))


def _pair_mean(values: Values, pairs: NDArray[np.intp], times: Times) -> Values:
    weights = times[:, pairs[:, 0]] * times[:, pairs[:, 1]]
    return _quotient(weights @ values, weights.sum(axis=1))


def _mean_cost(confusions: Values, costs: Values) -> Values:
    return _quotient(np.einsum("rij,ij->r", confusions, costs), confusions.sum((1, 2)))


def _gaps(confusions: Values) -> Values:
    grades = np.arange(confusions.shape[1], dtype=np.float64)
    return np.abs(grades[:, None] - grades[None, :])


def _diagonal(confusions: Values) -> Values:
    return np.asarray(np.diagonal(confusions, axis1=1, axis2=2))


def _centred_ranks(sizes: Values) -> Values:
    """Returns twice the average rank less its mean of values held ``sizes [R, U]`` times: whole numbers."""
    return np.asarray(2 * np.cumsum(sizes, axis=1) - sizes - sizes.sum(axis=1, keepdims=True))


def _choose_two(sizes: Values) -> Values:
    return sizes * (sizes - 1) / 2


def _ratio(numerator: Values, denominator: Values) -> Values:
    return numerator / np.maximum(denominator, 1)


def _quotient(numerator: Values, denominator: NDArray[np.floating] | NDArray[np.integer]) -> Values:
    return np.asarray(np.where(denominator == 0, np.nan, numerator / np.where(denominator == 0, 1, denominator)))


def _defined(values: Values, confusions: Values) -> Values:
    return np.asarray(np.where(confusions.sum((1, 2)) == 0, np.nan, values))
