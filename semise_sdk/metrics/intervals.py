"""An estimate with its bootstrap interval, clustered by group: images of one patient are not independent."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semise_sdk.metrics.bootstrap import Figures, Groups, Times, Values, once, over, resamples, single

RowMetric = Callable[[NDArray[np.intp]], float | None]


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


def estimates(
    figures: Callable[[Times], Figures], groups: Groups, *, repeats: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Estimate]:
    """Returns each of ``figures`` over all rows, with its percentile interval when whole groups are resampled.

    Equal groups and seed give equal resamples, so the intervals of two metrics are paired. Of a biased metric, such
    as the calibration error, the interval need not hold the estimate. Both its ends are None for fewer than four
    groups, or where half the resamples or more leave the metric undefined.

    Args:
        figures: Takes how often each resample holds each row, ``[R, N]``, and returns ``[R]`` for each metric, NaN
            where one is undefined.
        groups: The group of each of the N rows.
        repeats: Number of resamples.
        seed: Seed of the draw.
        level: Coverage aimed at, 0 to 1.
    """
    drawn = over(figures, resamples(groups, repeats=repeats, seed=seed))
    found = {}
    for name, values in figures(once(groups)).items():
        value = single(values)
        low, high = _interval(drawn.get(name), level=level)
        found[name] = Estimate.undefined() if value is None else Estimate(value, low, high, len(groups))
    return found


def estimate(metric: RowMetric, groups: Groups, *, repeats: int = 1000, seed: int = 0, level: float = 0.95) -> Estimate:
    """Returns ``metric`` over all rows with its :func:`bootstrap_interval`."""
    found = estimates(partial(_of_rows, metric), groups, repeats=repeats, seed=seed, level=level)
    return found["metric"]


def bootstrap_interval(
    metric: RowMetric, groups: Groups, *, repeats: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Returns the interval of :func:`estimates` for any metric, called once for each resample.

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
    drawn = over(partial(_of_rows, metric), resamples(groups, repeats=repeats, seed=seed))
    return _interval(drawn.get("metric"), level=level)


def percentile_interval(values: Sequence[float] | NDArray[np.floating], *, of: int, level: float = 0.95) -> Interval:
    """Returns the percentile interval of a metric's ``values``, one for each resample that has one.

    Both ends are None where half of the ``of`` resamples or more have none.
    """
    if 2 * len(values) <= of:
        return Interval(None, None)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _interval(values: Values | None, *, level: float) -> Interval:
    if values is None:
        return Interval(None, None)
    return percentile_interval(values[~np.isnan(values)], of=len(values), level=level)


def _of_rows(metric: RowMetric, times: Times) -> Figures:
    rows = np.arange(times.shape[1])
    found = [metric(np.repeat(rows, held)) for held in times.astype(np.intp)]
    if any(value is not None and math.isnan(value) for value in found):
        raise ValueError(
            "expected a finite figure or None from the metric, found NaN; return None where it is undefined"
        )
    return {"metric": np.array([np.nan if value is None else value for value in found], np.float64)}
