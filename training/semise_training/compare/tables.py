"""The tables of a comparison: what its cells say, row by row."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semise_sdk.evaluation import Decoding
from semise_sdk.metrics import is_collapsed
from semise_training.compare.alpha import alpha_of, chosen_alphas, with_chosen_alphas
from semise_training.compare.answers import DECODINGS, LOSSES, Answers, Loss
from semise_training.compare.cells import Cell
from semise_training.compare.measures import CLASS_METRICS
from semise_training.compare.rows import BASELINE
from semise_training.compare.statistics import (
    CellFigures,
    Measured,
    Resamples,
    RowEstimate,
    difference,
    measure,
    measure_heads,
    row_estimate,
)
from semise_training.methods import METHODS

TABLE1 = (
    "macro_f1",
    "maee",
    "recall",
    "kendall_tau",
    "c_index",
    "auroc_healthy",
    "kappa",
    "mae",
    "spearman",
    "balanced_accuracy",
    "kendall_tau_class",
    "ece",
    "pair_accuracy",
    "pair_brier",
    "accuracy",
)
TABLE2 = ("iou", "dice", "pooled_iou", "pooled_dice")

Place = tuple[tuple[int, int, int], int]
Estimates = Mapping[str, RowEstimate]


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: how its first cells read, its figures, and what they rest on.

    Args:
        keys: What names the row, by column.
        estimates: Its figures.
        cells: Splits and seeds.
        collapsed: Share of its classifiers that decide one grade for all images though the true grades differ.
    """

    keys: Mapping[str, str]
    estimates: Estimates
    cells: int
    collapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class Tables:
    """Every table of a comparison, on one part.

    Args:
        part: ``val`` or ``test``.
        labels: Grade names.
        repeats: Resamples of the intervals.
        rows: Tables 1 and 2: one row per system.
        heads: The systems with each loss and each decoding.
        differences: ``semise`` minus each other system.
        alphas: ``semise`` at each alpha; empty for one alone.
        chosen: In how many splits each alpha was chosen.
        fractions: The systems at each share of the labels; empty for one alone.
    """

    part: str
    labels: tuple[str, ...]
    repeats: int
    rows: tuple[TableRow, ...]
    heads: tuple[TableRow, ...]
    differences: tuple[TableRow, ...]
    alphas: tuple[TableRow, ...] = ()
    chosen: Mapping[float, int] = field(default_factory=dict)
    fractions: tuple[TableRow, ...] = ()


def build_tables(cells: Sequence[Cell], *, part: str, repeats: int, seed: int = 0) -> Tables:
    """Returns the tables of cells of one data set on their ``val`` or ``test`` part.

    Args:
        cells: The cells.
        part: Which answers; with ``val`` nothing of the test part is read.
        repeats: Resamples.
        seed: Of the resamples.
    """
    maker = _Maker(Resamples(cells, part, repeats=repeats, seed=seed))
    full = _by_name([cell for cell in cells if cell.key.label_fraction == 1])
    systems = {name: with_chosen_alphas(of_name) for name, of_name in full.items()}
    choices = full.get(BASELINE, [])
    alphas = sorted({alpha_of(cell) for cell in choices})
    return Tables(
        part=part,
        labels=cells[0].labels,
        repeats=repeats,
        rows=tuple(maker.row({"method": name}, of_name) for name, of_name in systems.items()),
        heads=tuple(row for name, of_name in systems.items() for row in maker.heads(name, of_name)),
        differences=tuple(maker.differences(systems)),
        alphas=tuple(maker.alphas(choices, alphas)) if len(alphas) > 1 else (),
        chosen=_times_chosen(choices, alphas) if len(alphas) > 1 else {},
        fractions=tuple(maker.fractions(cells)),
    )


class _Maker:
    """Measures each cell once, and makes rows of them."""

    def __init__(self, resamples: Resamples) -> None:
        self._resamples = resamples
        self._measured: dict[str, Measured] = {}

    def row(
        self, keys: Mapping[str, str], cells: Sequence[Cell], *, names: Sequence[str] = (*TABLE1, *TABLE2)
    ) -> TableRow:
        measured = [self._measure(cell) for cell in cells]
        return self._row(keys, cells, measured, names=names)

    def heads(self, name: str, cells: Sequence[Cell]) -> list[TableRow]:
        rows = []
        for loss, decoding in itertools.product(LOSSES, DECODINGS):
            measured = [measure_heads(cell, self._resamples, loss=loss, decoding=decoding) for cell in cells]
            keys = {"method": name, "head": loss, "decoding": decoding}
            rows.append(self._row(keys, cells, measured, names=CLASS_METRICS, loss=loss, decoding=decoding))
        return rows

    def differences(self, systems: Mapping[str, Sequence[Cell]]) -> list[TableRow]:
        own = {_place(cell): cell for cell in systems.get(BASELINE, ())}
        rows = []
        for name, cells in systems.items():
            others = [cell for cell in cells if _place(cell) in own]
            if name == BASELINE or not others:
                continue
            first = [self._measure(own[_place(cell)]) for cell in others]
            second = [self._measure(cell) for cell in others]
            estimates = {
                metric: difference(_column(first, metric), _column(second, metric)) for metric in (*TABLE1, *TABLE2)
            }
            rows.append(TableRow({"method": name}, estimates, len(others)))
        return rows

    def alphas(self, cells: Sequence[Cell], alphas: Sequence[float]) -> list[TableRow]:
        return [
            self.row({"alpha": f"{alpha:g}"}, [cell for cell in cells if alpha_of(cell) == alpha]) for alpha in alphas
        ]

    def fractions(self, cells: Sequence[Cell]) -> list[TableRow]:
        """Returns the rows with fewer labels, and with all of them at their own alpha."""
        own_alpha = [cell for cell in cells if cell.key.alpha is None]
        fewer = {cell.key.name for cell in own_alpha if cell.key.label_fraction < 1}
        rows = []
        for name, of_name in _by_name([cell for cell in own_alpha if cell.key.name in fewer]).items():
            for fraction in sorted({cell.key.label_fraction for cell in of_name}):
                chosen = [cell for cell in of_name if cell.key.label_fraction == fraction]
                rows.append(self.row({"method": name, "label_fraction": f"{fraction:g}"}, chosen, names=TABLE1))
        return rows

    def _row(
        self,
        keys: Mapping[str, str],
        cells: Sequence[Cell],
        measured: Sequence[Measured],
        *,
        names: Sequence[str],
        loss: Loss = "weighted",
        decoding: Decoding = "argmax",
    ) -> TableRow:
        estimates = {name: row_estimate(_column(measured, name)) for name in names}
        answers = [cell.answers(self._resamples.part) for cell in cells]
        return TableRow(keys, estimates, len(cells), collapsed_share(answers, loss=loss, decoding=decoding))

    def _measure(self, cell: Cell) -> Measured:
        if cell.key.slug not in self._measured:
            self._measured[cell.key.slug] = measure(cell, self._resamples)
        return self._measured[cell.key.slug]


def collapsed_share(answers: Sequence[Answers], *, loss: Loss = "weighted", decoding: Decoding = "argmax") -> float:
    """Returns the share of classifiers that decide one grade for all images though the true grades differ, 0 to 1."""
    verdicts = [
        is_collapsed(decided) and not is_collapsed(each.levels)
        for each in answers
        for decided in each.heads[loss].decided[decoding]
    ]
    return sum(verdicts) / len(verdicts)


def _column(measured: Sequence[Measured], name: str) -> list[CellFigures]:
    return [figures[name] for figures in measured if name in figures]


def _times_chosen(cells: Sequence[Cell], alphas: Sequence[float]) -> dict[float, int]:
    chosen = list(chosen_alphas(cells).values())
    return {alpha: chosen.count(alpha) for alpha in alphas}


def _by_name(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Returns the cells of each row, methods in the order of their table, then the others by name."""
    found: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: (cell.key.split, cell.key.seed, cell.key.slug)):
        found[cell.key.name].append(cell)
    order = list(METHODS)
    return dict(
        sorted(found.items(), key=lambda item: (order.index(item[0]) if item[0] in order else len(order), item[0]))
    )


def _place(cell: Cell) -> Place:
    return cell.key.split, cell.key.seed
