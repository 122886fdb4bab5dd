"""The tables of a comparison: what its cells say, row by row."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from semise_sdk.metrics import is_collapsed
from semise_sdk.spec import Decoding
from semise_training.compare.cells.answers import DECODINGS, LOSSES, Answers, Loss
from semise_training.compare.cells.cells import Cell
from semise_training.compare.cells.failures import Failure
from semise_training.compare.cells.rows import BASELINE, LABELED_ONLY
from semise_training.compare.report.alpha import alpha_of, chosen_alphas, with_chosen_alphas
from semise_training.compare.report.measures import CLASS_METRICS
from semise_training.compare.report.statistics import (
    CellFigures,
    Measured,
    Resamples,
    RowEstimate,
    difference,
    measure,
    measure_heads,
    row_estimate,
)
from semise_training.methods import METHODS, find_method

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
        cells: Splits and seeds that they rest on; of a difference, those that both systems have.
        of: Splits and seeds that any row of the table has.
        collapsed: Share of its classifiers that decide one grade for all images though the true grades differ.
        lacks: Why cells are missing; empty where none is.
    """

    keys: Mapping[str, str]
    estimates: Estimates
    cells: int
    of: int
    collapsed: float = 0.0
    lacks: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it rests on as many splits and seeds as the others: only then can it be the best of them."""
        return self.cells == self.of


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
        fraction_differences: ``semise`` minus each other system at the same share of the labels.
        absent: Systems without a single cell, and why.
        sampled: Systems that draw their pairs, and how many they drew.
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
    fraction_differences: tuple[TableRow, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    sampled: Mapping[str, str] = field(default_factory=dict)


def build_tables(
    cells: Sequence[Cell],
    *,
    part: str,
    repeats: int,
    seed: int = 0,
    alphas: Collection[float] | None = None,
    failures: Sequence[Failure] = (),
) -> Tables:
    """Returns the tables of cells of one data set on their ``val`` or ``test`` part.

    Args:
        cells: The cells.
        part: Which answers; with ``val`` nothing of the test part is read.
        repeats: Resamples.
        seed: Of the resamples.
        alphas: What ``semise`` chooses among, None for every alpha that it has cells of.
        failures: Cells that could not be computed.
    """
    maker = _Maker(Resamples(cells, part, repeats=repeats, seed=seed), failures)
    systems, choices = systems_of(cells, alphas), alpha_choices(cells, alphas)
    found = sorted({alpha_of(cell) for cell in choices})
    return Tables(
        part=part,
        labels=cells[0].labels,
        repeats=repeats,
        rows=tuple(maker.systems(systems)),
        heads=tuple(maker.heads(systems)),
        differences=tuple(maker.differences(systems)),
        alphas=tuple(maker.alphas(choices, found)) if len(found) > 1 else (),
        chosen=_times_chosen(choices, found) if len(found) > 1 else {},
        fractions=tuple(maker.fractions(cells)),
        fraction_differences=tuple(maker.fraction_differences(cells)),
        absent=maker.absent(systems),
        sampled={name: drawn for name, of_name in systems.items() if (drawn := sampled_pairs(of_name))},
    )


def systems_of(cells: Sequence[Cell], alphas: Collection[float] | None = None) -> dict[str, list[Cell]]:
    """Returns the cells of each system with all labels, those of ``semise`` at the alpha chosen among ``alphas``."""
    full = _by_name([cell for cell in cells if cell.key.label_fraction == 1])
    chosen = {**full, BASELINE: with_chosen_alphas(alpha_choices(cells, alphas))}
    return {name: chosen[name] for name in full if chosen[name]}


def alpha_choices(cells: Sequence[Cell], alphas: Collection[float] | None) -> list[Cell]:
    """Returns the cells that ``semise`` chooses among: not one that only ends its curve of label fractions.

    Where none of them is there yet, it has those that are.
    """
    full = _by_name([cell for cell in cells if cell.key.label_fraction == 1]).get(BASELINE, [])
    named = [cell for cell in full if alphas is None or alpha_of(cell) in alphas]
    return named or full


class _Maker:
    """Measures each cell once, and makes rows of them."""

    def __init__(self, resamples: Resamples, failures: Sequence[Failure]) -> None:
        self._resamples = resamples
        self._failures = failures
        self._measured: dict[str, Measured] = {}

    def systems(self, systems: Mapping[str, Sequence[Cell]]) -> list[TableRow]:
        places = _places(systems.values())
        return [self._row({"method": name}, cells, places) for name, cells in systems.items()]

    def absent(self, systems: Mapping[str, Sequence[Cell]]) -> dict[str, str]:
        full = [failure for failure in self._failures if failure.key.label_fraction == 1]
        names = dict.fromkeys(failure.key.name for failure in full if failure.key.name not in systems)
        return {name: _counted([each for each in full if each.key.name == name], missing=0) for name in names}

    def heads(self, systems: Mapping[str, Sequence[Cell]]) -> list[TableRow]:
        places = _places(systems.values())
        return [
            self._row(
                {"method": name, "head": loss, "decoding": decoding},
                cells,
                places,
                names=CLASS_METRICS,
                measured=[measure_heads(cell, self._resamples, loss=loss, decoding=decoding) for cell in cells],
                head=(loss, decoding),
            )
            for name, cells in systems.items()
            for loss, decoding in itertools.product(LOSSES, DECODINGS)
        ]

    def differences(self, systems: Mapping[str, Sequence[Cell]]) -> list[TableRow]:
        own = {_place(cell): cell for cell in systems.get(BASELINE, ())}
        places = _places(systems.values())
        rows = []
        for name, cells in systems.items():
            others = [cell for cell in cells if _place(cell) in own]
            if name != BASELINE and others:
                rows.append(self._difference({"method": name}, own, others, places, names=(*TABLE1, *TABLE2)))
        return rows

    def alphas(self, cells: Sequence[Cell], alphas: Sequence[float]) -> list[TableRow]:
        places = _places([cells])
        return [
            self._row({"alpha": f"{alpha:g}"}, [cell for cell in cells if alpha_of(cell) == alpha], places)
            for alpha in alphas
        ]

    def fractions(self, cells: Sequence[Cell]) -> list[TableRow]:
        """Returns the rows with fewer labels, and with all of them at their own alpha."""
        curves = _curves(cells)
        places = _places([curve for of_name in curves.values() for curve in of_name.values()])
        return [
            self._row({"method": name, "label_fraction": f"{fraction:g}"}, of_name[fraction], places, names=TABLE1)
            for name, of_name in curves.items()
            for fraction in sorted(of_name)
        ]

    def fraction_differences(self, cells: Sequence[Cell]) -> list[TableRow]:
        """Returns ``semise`` minus each other row that learned from the same labels, in the same splits."""
        curves = _curves(cells)
        places = _places([curve for of_name in curves.values() for curve in of_name.values()])
        rows = []
        for name, of_name in curves.items():
            for fraction in sorted(of_name):
                own = {_place(cell): cell for cell in curves.get(BASELINE, {}).get(fraction, ())}
                others = [cell for cell in of_name[fraction] if own.get(_place(cell), cell) is not cell]
                if others:
                    keys = {"method": name, "label_fraction": f"{fraction:g}"}
                    rows.append(self._difference(keys, own, others, places, names=TABLE1))
        return rows

    def _difference(
        self,
        keys: Mapping[str, str],
        own: Mapping[Place, Cell],
        others: Sequence[Cell],
        places: Collection[Place],
        *,
        names: Sequence[str],
    ) -> TableRow:
        first = [self._measure(own[_place(cell)]) for cell in others]
        second = [self._measure(cell) for cell in others]
        estimates = {name: difference(_column(first, name), _column(second, name)) for name in names}
        return TableRow(keys, estimates, len(others), len(places))

    def _row(
        self,
        keys: Mapping[str, str],
        cells: Sequence[Cell],
        places: Collection[Place],
        *,
        names: Sequence[str] = (*TABLE1, *TABLE2),
        measured: Sequence[Measured] = (),
        head: tuple[Loss, Decoding] = ("weighted", "argmax"),
    ) -> TableRow:
        figures = measured or [self._measure(cell) for cell in cells]
        answers = [cell.answers(self._resamples.part) for cell in cells]
        return TableRow(
            keys,
            {name: row_estimate(_column(figures, name)) for name in names},
            len(cells),
            len(places),
            collapsed_share(answers, loss=head[0], decoding=head[1]),
            self._lacks(cells, places),
        )

    def _lacks(self, cells: Sequence[Cell], places: Collection[Place]) -> str:
        """Returns why a row lacks splits and seeds that others have."""
        missing = set(places) - {_place(cell) for cell in cells}
        if not missing:
            return ""
        own = {(cell.key.name, cell.key.label_fraction, cell.key.alpha) for cell in cells}
        failed = [
            failure
            for failure in self._failures
            if (failure.key.split, failure.key.seed) in missing
            and (failure.key.name, failure.key.label_fraction, failure.key.alpha) in own
        ]
        return _counted(failed, missing=len(missing) - len(failed))

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


def sampled_pairs(cells: Sequence[Cell]) -> str:
    """Returns how many pairs cells drew, ``320 in phase 1 and 256 to 320 in phase 2``; empty for all of each batch."""
    found = []
    for phase in ("phase1", "phase2"):
        trained = [cell for cell in cells if any(each.section == phase for each in find_method(cell.method).upstream)]
        settings = [section for cell in trained if isinstance(section := cell.config.get(phase), Mapping)]
        sampled = [each for each in settings if each.get("pairing") == "sampled"]
        drawn = {int(each["epochs"]) * int(each["pairs_per_epoch"]) for each in sampled} - {0}
        if drawn:
            ends = dict.fromkeys(map(str, (min(drawn), max(drawn))))
            found.append(f"{' to '.join(ends)} in phase {phase[-1]}")
    return " and ".join(found)


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


def _curves(cells: Sequence[Cell]) -> dict[str, dict[float, list[Cell]]]:
    """Returns the cells of each row that learned from fewer labels, by the share of them."""
    own_alpha = _by_name([cell for cell in cells if cell.key.alpha is None])
    curves: dict[str, dict[float, list[Cell]]] = {}
    for name, of_name in own_alpha.items():
        if all(cell.key.label_fraction == 1 for cell in of_name):
            continue
        curves[name] = defaultdict(list)
        for cell in [*of_name, *(_stand_ins(own_alpha) if name == LABELED_ONLY else [])]:
            curves[name][cell.key.label_fraction].append(cell)
    return curves


def _stand_ins(own_alpha: Mapping[str, Sequence[Cell]]) -> list[Cell]:
    """Returns semise's cells with all labels, which are those of semise-labeled where no image was ever unlabeled."""
    full = [cell for cell in own_alpha.get(BASELINE, ()) if cell.key.label_fraction == 1]
    has_own = any(cell.key.label_fraction == 1 for cell in own_alpha[LABELED_ONLY])
    return [] if has_own else [cell for cell in full if cell.counts.get("unlabeled") == 0]


def _counted(failed: Sequence[Failure], *, missing: int) -> str:
    """Returns why cells are not there: ``2 failed (first: ...), 1 not computed``."""
    said = [f"{len(failed)} failed (first: {failed[0].reason})"] if failed else []
    return ", ".join([*said, *([f"{missing} not computed"] if missing > 0 else [])])


def _places(groups: Iterable[Sequence[Cell]]) -> set[Place]:
    return {_place(cell) for cells in groups for cell in cells}


def _place(cell: Cell) -> Place:
    return cell.key.split, cell.key.seed
