"""How much the severity depends on which healthy images happen to stand for healthy: the bank, drawn anew many times.

The bank's members are drawn with replacement, as many as there are, by the balanced bootstrap (Davison, Hinkley and
Schechtman 1986, Biometrika 73): over all resamples each member is drawn equally often. What is resampled is the bank
alone: neither the network nor the image is, so the interval says nothing of another network, camera or moment.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semise_sdk.severity.cosine import cosine_distances, unit
from semise_sdk.spec import ReferenceMode

RESAMPLES = 201
"""Of 201 ordered values the 6th and the 196th are the 2.5 % and 97.5 % points, with nothing to interpolate."""

_LOW, _HIGH = 5, 195
# One image read twice may differ in the last bits that the engine computes.
_SAME = 1e-6

Distances = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResampledBank:
    """The resamples of a reference bank, made once and used for every image.

    Args:
        mode: How the bank becomes one distance (see :class:`semise_sdk.severity.reference_bank.ReferenceBank`).
        nearest: Members that ``knn`` counts.
        targets: Unit vectors ``[T, D]`` that are measured from: a resample's own in the modes ``mean`` and
            ``medoid`` (T is RESAMPLES), else the members (T is M).
        times: How often each member is in each resample, ``[M, RESAMPLES]``.
    """

    mode: ReferenceMode
    nearest: int
    targets: NDArray[np.float64]
    times: NDArray[np.int32]

    @classmethod
    def of(cls, members: NDArray[np.float64], mode: ReferenceMode, *, nearest: int, seed: int = 0) -> Self | None:
        """Returns the resamples of unit vectors ``[M, D]``; None where they are one image, however often."""
        if np.abs(members - members[0]).max() < _SAME:
            return None
        times = _balanced_times(len(members), seed)
        return cls(mode=mode, nearest=nearest, targets=_resampled_targets(members, times, mode), times=times)

    def severity(self, vector: NDArray[np.floating]) -> Distances:
        """Returns the severity of one image's vector ``[D]`` by each resample, ``[RESAMPLES]``, 0 to 2, unrounded."""
        distances = cosine_distances(unit(vector[None]), self.targets)[0]
        if self.mode in ("mean", "medoid"):
            return np.asarray(distances)
        order = np.argsort(distances, kind="stable")
        held = np.cumsum(self.times[order], axis=0, dtype=np.int32)  # how many of a resample lie at most so far away
        return _median(distances[order], held) if self.mode == "median" else self._nearest_mean(distances[order], held)

    def _nearest_mean(self, distances: Distances, held: NDArray[np.int32]) -> Distances:
        counted = np.minimum(held, min(self.nearest, len(distances)))
        return np.asarray(distances @ np.diff(counted, axis=0, prepend=0) / counted[-1])


def interval_ends(values: NDArray[np.floating], estimate: float) -> tuple[float, float]:
    """Returns the 95 % interval of an estimate from its value by each resample, ``[RESAMPLES]``; it holds the estimate.

    Near distance 0 every resample lies farther off than the bank itself, and the percentiles alone would leave the
    estimate out.
    """
    ordered = np.sort(values)
    return min(float(ordered[_LOW]), estimate), max(float(ordered[_HIGH]), estimate)


def _balanced_times(members: int, seed: int) -> NDArray[np.int32]:
    draws = np.random.default_rng(seed).permutation(np.tile(np.arange(members), RESAMPLES)).reshape(RESAMPLES, members)
    times = np.zeros((members, RESAMPLES), np.int32)
    np.add.at(times, (draws, np.arange(RESAMPLES)[:, None]), 1)
    return times


def _resampled_targets(
    members: NDArray[np.float64], times: NDArray[np.int32], mode: ReferenceMode
) -> NDArray[np.float64]:
    if mode == "mean":
        return unit(times.T @ members)
    if mode == "medoid":
        # rounded so that the choice among equals does not hang on the last bits of a sum
        to_others = np.round(cosine_distances(members, members) @ times / len(members), 12)
        return np.asarray(members[np.where(times > 0, to_others, np.inf).argmin(axis=0)])
    return members


def _median(distances: Distances, held: NDArray[np.int32]) -> Distances:
    """Returns the median of each resample from the members' distances in ascending order, ``[M]``."""
    middle = len(held) - 1
    lower, upper = ((held <= place).sum(axis=0) for place in (middle // 2, (middle + 1) // 2))
    return np.asarray((distances[lower] + distances[upper]) / 2)
