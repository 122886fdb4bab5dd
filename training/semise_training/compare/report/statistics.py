"""Figures of rows from their cells: a mean over splits and seeds, its spread, and intervals from resampled groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_sdk.metrics import Interval, percentile_interval
from semise_sdk.metrics.bootstrap import MIN_GROUPS, Times, Values, single
from semise_sdk.spec import Decoding
from semise_training.compare.cells.answers import Answers, Loss
from semise_training.compare.cells.cells import Cell
from semise_training.compare.report.measures import (
    MASK_METRICS,
    class_figures,
    mask_figures,
    observed,
    probability_figures,
    severity_figures,
)
from semise_training.data.splits.connected import connected

REPEATS = 1000


@dataclass(frozen=True, slots=True)
class RowEstimate:
    """A row's figure: the mean over its cells, and how sure it is.

    Args:
        value: Mean over splits and seeds of the figure of each; None where one of them has none.
        sd: Standard deviation over splits and seeds; None for fewer than two.
        low: Lower end of the 95 % interval; None where there are too few groups, or half the resamples have no figure.
        high: Its upper end.
        n: Answers that it rests on, an image once for every split and seed; 0 where the figure is undefined.
    """

    value: float | None
    sd: float | None
    low: float | None
    high: float | None
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """Returns the object ``{"value", "sd", "low", "high", "n"}``."""
        return {"value": self.value, "sd": self.sd, "low": self.low, "high": self.high, "n": self.n}


UNDEFINED = RowEstimate(None, None, None, None, 0)


class Resamples:
    """The resamples of one comparison: the same for every system, so that differences between two are paired.

    Whole groups are resampled within each fold. Splits whose test parts share groups, such as the same test images for
    several seeds or random splits that overlap, are resampled together: what they share is drawn once.

    Args:
        cells: All cells that will be measured.
        part: ``val`` or ``test``.
        repeats: R.
        seed: Of the draw.
    """

    def __init__(self, cells: Sequence[Cell], part: str, *, repeats: int = REPEATS, seed: int = 0) -> None:
        self.part = part
        self.repeats = repeats
        self._seed = seed
        self._times = self._drawn([cell.answers(part).groups for cell in cells])

    def _drawn(self, parts: Sequence[NDArray[np.int64]]) -> dict[int, Times | None]:
        """Returns how often each resample holds each group; None for a stratum too small to resample."""
        names = np.unique(np.concatenate([*parts, np.zeros(0, np.int64)]))
        group_nodes = [len(parts) + np.searchsorted(names, np.unique(groups)) for groups in parts]
        edges = [(node, int(group)) for node, groups in enumerate(group_nodes) for group in groups]
        sets = connected(len(parts) + len(names), [one for one, _ in edges], [other for _, other in edges])
        strata = np.asarray(sets)[len(parts) :]
        drawn: dict[int, Times | None] = {}
        for place, stratum in enumerate(dict.fromkeys(strata.tolist())):
            members = names[strata == stratum]
            generator, count = np.random.default_rng(self._seed + place), len(members)
            times = generator.multinomial(count, np.full(count, 1 / count), size=self.repeats).astype(np.float64)
            for column, group in enumerate(members):
                drawn[int(group)] = times[:, column] if count >= MIN_GROUPS else None
        return drawn

    def times(self, cell: Cell) -> Times | None:
        """Returns how often each resample holds each image of a cell, ``[R, N]``; None for too few groups."""
        columns = [self._times[int(group)] for group in cell.answers(self.part).groups]
        kept = [column for column in columns if column is not None]
        return np.stack(kept, axis=1) if len(kept) == len(columns) else None


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One metric of one cell: of the images as they are, and of each resample ``[R]``, None where there are none."""

    value: float
    resampled: Values | None
    n: int


Measured = Mapping[str, CellFigures]


def measure(cell: Cell, resamples: Resamples) -> Measured:
    """Returns every metric of a cell; those of classifiers are of the weighted loss, means over the head seeds."""
    answers, times = cell.answers(resamples.part), resamples.times(cell)
    now = _figures(cell, answers, observed(answers))
    later = {} if times is None else _figures(cell, answers, times)
    images = {name: len(answers.mask_rows) for name in MASK_METRICS}
    return {
        name: CellFigures(float(values[0]), later.get(name), images.get(name, len(answers.levels)))
        for name, values in now.items()
    }


def measure_heads(cell: Cell, resamples: Resamples, *, loss: Loss, decoding: Decoding) -> Measured:
    """Returns the metrics of the grades that the classifiers of one loss decide in one way, means over head seeds."""
    answers, times = cell.answers(resamples.part), resamples.times(cell)
    now = _head_figures(cell, answers, observed(answers), loss, decoding)
    later = {} if times is None else _head_figures(cell, answers, times, loss, decoding)
    return {name: CellFigures(float(own[0]), later.get(name), len(answers.levels)) for name, own in now.items()}


def row_estimate(measured: Sequence[CellFigures]) -> RowEstimate:
    """Returns the estimate of one metric of a row from its cells."""
    values = np.array([figures.value for figures in measured])
    if not len(values) or np.isnan(values).any():
        return UNDEFINED
    low, high = _interval([figures.resampled for figures in measured])
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return RowEstimate(float(values.mean()), sd, low, high, sum(figures.n for figures in measured))


def difference(first: Sequence[CellFigures], second: Sequence[CellFigures]) -> RowEstimate:
    """Returns first minus second over cells that pair up: same split, seed and resamples."""
    pairs = list(zip(first, second, strict=True))
    return row_estimate(
        [CellFigures(one.value - other.value, _minus(one.resampled, other.resampled), one.n) for one, other in pairs]
    )


def mean_figure(cell: Cell, name: str, *, part: str) -> float | None:
    """Returns one metric of a cell's answers as they are, the mean over head seeds; None where undefined."""
    answers = cell.answers(part)
    return single(_figures(cell, answers, observed(answers))[name])


def _figures(cell: Cell, answers: Answers, times: Times) -> dict[str, Values]:
    decided = _head_figures(cell, answers, times, "weighted", "argmax")
    of_probabilities = {name: rows.mean(axis=0) for name, rows in probability_figures(answers, times).items()}
    return decided | of_probabilities | severity_figures(answers, times) | mask_figures(answers, times)


def _head_figures(cell: Cell, answers: Answers, times: Times, loss: Loss, decoding: Decoding) -> dict[str, Values]:
    figures = class_figures(answers, times, classes=len(cell.labels), loss=loss, decoding=decoding)
    return {name: rows.mean(axis=0) for name, rows in figures.items()}


def _interval(resampled: Sequence[Values | None]) -> Interval:
    kept = [values for values in resampled if values is not None]
    if len(kept) < len(resampled):
        return Interval(None, None)
    means = np.mean(kept, axis=0)
    return percentile_interval(means[~np.isnan(means)], of=len(means))


def _minus(first: Values | None, second: Values | None) -> Values | None:
    return None if first is None or second is None else first - second
