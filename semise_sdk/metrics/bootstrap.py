"""Many resamples at once: which rows each of them holds, and sums and means over those rows.

``times [R, N]`` says how often each of R resamples holds each of N rows, in whole numbers. A metric of them is ``[R]``,
NaN where a resample leaves it undefined. The plain metric is that of one resample which holds each row once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Values = NDArray[np.float64]
Figures = dict[str, Values]
Groups = Sequence[str] | Sequence[int] | NDArray[np.integer] | NDArray[np.str_]

# with three groups the end points of a 95 % interval are merely the figures of the two most extreme groups
MIN_GROUPS = 4

AT_ONCE = 64
"""Most resamples that are measured at once: for 4,000 images the times of 64 take 2 MB."""

_ENTRIES_AT_ONCE = 1 << 18


def once(rows: Sized) -> Times:
    """Returns the times ``[1, N]`` of the rows as they are: each held once."""
    return np.ones((1, len(rows)))


def single(values: Values) -> float | None:
    """Returns the figure of the first resample of ``[R]``; None for NaN."""
    return None if np.isnan(values[0]) else float(values[0])


def resamples(groups: Groups, *, repeats: int, seed: int) -> Iterator[Times]:
    """Yields the times of ``repeats`` resamples, several of them at once.

    A resample draws whole groups with replacement, as many as there are. There is none for fewer than ``MIN_GROUPS``.
    """
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    count = int(codes.max(initial=-1)) + 1
    generator = np.random.default_rng(seed)
    step = _at_once(codes.size)
    for start in range(0, repeats if count >= MIN_GROUPS else 0, step):
        drawn = generator.integers(count, size=(min(step, repeats - start), count))
        yield sums_by(drawn, np.ones(drawn.shape), count=count)[:, codes]


def blocks(times: Times) -> Iterator[Times]:
    """Yields ``times [R, N]`` in parts of several resamples."""
    step = _at_once(times.shape[1])
    return (times[start : start + step] for start in range(0, len(times), step))


def _at_once(rows: int) -> int:
    """Returns how many resamples of so many rows fit in the memory that one part may take."""
    return max(1, min(AT_ONCE, _ENTRIES_AT_ONCE // max(rows, 1)))


def over(figures: Callable[[Times], Figures], parts: Iterable[Times]) -> Figures:
    """Returns the figures of all resamples, measured part by part to save memory; empty where there is no part."""
    found = [figures(times) for times in parts]
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]} if found else {}


def sums_by(codes: NDArray[np.integer], weights: Values, *, count: int) -> Values:
    """Returns sums ``[R, count]`` of ``weights [R, N]`` over the rows of each code, added in the order of the rows.

    ``codes`` are 0 to ``count`` - 1: one for each row, ``[N]``, or other ones in each resample, ``[R, N]``.
    """
    places = codes + count * np.arange(len(weights))[:, None]
    sums = np.bincount(places.ravel(), weights.ravel(), minlength=count * len(weights))
    return sums.astype(np.float64).reshape(len(weights), count)


def weighted_mean(values: NDArray[np.number] | NDArray[np.bool_], weights: Values) -> Values:
    """Returns the mean ``[R]`` of ``values [N]`` with ``weights [R, N]``; NaN where those sum to 0."""
    # in C order a resample's sum has the same last bits alone and among others
    return quotient(np.multiply(weights, values, order="C").sum(axis=1), weights.sum(axis=1))


def quotient(numerator: Values, denominator: Values) -> Values:
    """Returns ``numerator / denominator``, NaN where the denominator is 0."""
    undefined = denominator == 0
    return np.asarray(np.where(undefined, np.nan, numerator / np.where(undefined, 1, denominator)))
