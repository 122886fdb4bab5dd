"""An estimate with its bootstrap interval, clustered by group: images of one patient are not independent."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Groups = Sequence[str] | Sequence[int] | NDArray[np.integer] | NDArray[np.str_]
RowMetric = Callable[[NDArray[np.intp]], float | None]

# with three groups the end points of a 95 % interval are merely the figures of the two most extreme groups
MIN_GROUPS = 4


class Interval(NamedTuple):
    """End points of an interval; both None where there is too little to tell."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its interval and ``n``, the number of images it rests on; ``value`` None and n 0 where undefined.

    Example:
        >>> Estimate(0.5, 0.25, 0.75, 120).to_json()
        {'value': 0.5, 'low': 0.25, 'high': 0.75, 'n': 120}
        >>> Estimate.undefined()
        Estimate(value=None, low=None, high=None, n=0)
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __post_init__(self) -> None:
        if any(number is not None and not math.isfinite(number) for number in (self.value, self.low, self.high)):
            raise ValueError(f"expected finite numbers or None, found {self}")

    @classmethod
    def undefined(cls) -> "Estimate":
        """Returns the estimate of a metric that has no value here."""
        return cls(None, None, None, 0)

    def to_json(self) -> dict[str, float | int | None]:
        """Returns the object ``{"value", "low", "high", "n"}``."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def estimate(metric: RowMetric, groups: Groups, *, repeats: int = 1000, seed: int = 0, level: float = 0.95) -> Estimate:
    """Returns ``metric`` over all rows with its :func:`bootstrap_interval`."""
    value = metric(np.arange(len(groups)))
    if value is None:
        return Estimate.undefined()
    low, high = bootstrap_interval(metric, groups, repeats=repeats, seed=seed, level=level)
    return Estimate(value, low, high, len(groups))


def bootstrap_interval(
    metric: RowMetric, groups: Groups, *, repeats: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Returns the percentile interval of ``metric`` when whole groups are resampled with replacement.

    Equal groups and seed give equal resamples, so the intervals of two metrics are paired. Of a biased metric, such
    as the calibration error, the interval need not hold the estimate.

    Args:
        metric: Takes row numbers ``[n]``, repeats among them, and returns a figure; resamples where it returns
            None are left out.
        groups: The group of each row.
        repeats: Number of resamples.
        seed: Seed of the draw.
        level: Coverage aimed at, 0 to 1.

    Returns:
        Both ends None for fewer than four groups, or where half the resamples or more leave the metric undefined.
    """
    drawn = (metric(rows) for rows in _resamples(groups, repeats=repeats, seed=seed))
    return percentile_interval([value for value in drawn if value is not None], of=repeats, level=level)


def percentile_interval(values: Sequence[float] | NDArray[np.floating], *, of: int, level: float = 0.95) -> Interval:
    """Returns the percentile interval of a metric's ``values``, one for each resample that has one.

    Both ends are None where half of the ``of`` resamples or more have none.
    """
    if 2 * len(values) <= of:
        return Interval(None, None)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _resamples(groups: Groups, *, repeats: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yields the rows of each resample; nothing for fewer than ``MIN_GROUPS`` groups."""
    _, codes, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(sizes) < MIN_GROUPS:
        return
    members = np.argsort(codes, kind="stable")
    starts = np.cumsum(sizes) - sizes
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        drawn = generator.integers(len(sizes), size=len(sizes))
        ends = np.cumsum(sizes[drawn])
        shifts = starts[drawn] - ends + sizes[drawn]
        yield members[np.repeat(shifts, sizes[drawn]) + np.arange(ends[-1])]
