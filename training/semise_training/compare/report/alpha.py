"""Which alpha the row ``semise`` has: chosen for each split on validation data alone."""

from collections import Counter
from collections.abc import Mapping, Sequence

from semise_training.compare.cells.cells import Cell
from semise_training.compare.report.statistics import mean_figure

Split = tuple[int, int, int]


def alpha_of(cell: Cell) -> float:
    """Returns the alpha that a cell was trained with."""
    phase2 = cell.config["phase2"]
    if not isinstance(phase2, Mapping):
        raise TypeError(f"expected a section phase2 in the configuration of {cell.key.slug}, found {phase2!r}")
    return float(phase2["alpha"])


def criterion(cell: Cell) -> float | None:
    """Returns the mean of the validation macro-F1, itself the mean over head seeds, and Kendall tau of the severity.

    None where one of the two is undefined: such a cell is not chosen.
    """
    macro_f1, tau = mean_figure(cell, "macro_f1", part="val"), mean_figure(cell, "kendall_tau", part="val")
    return None if macro_f1 is None or tau is None else (macro_f1 + tau) / 2


def chosen_alphas(cells: Sequence[Cell]) -> dict[Split, float]:
    """Returns the alpha of the best mean criterion over the seeds of each split; of equal ones the smallest.

    An alpha takes part where it has a cell for each split and seed that any of them has; where none has them all, those
    with the most take part, and a split that they lack has no choice. A split whose criteria are all undefined takes
    the smallest alpha.
    """
    whole = _most_complete(cells)
    taking_part = [cell for cell in cells if alpha_of(cell) in whole]
    splits = sorted({cell.key.split for cell in taking_part})
    return {split: _best([cell for cell in taking_part if cell.key.split == split]) for split in splits}


def with_chosen_alphas(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells of the chosen alpha of each split."""
    chosen = chosen_alphas(cells)
    return [cell for cell in cells if alpha_of(cell) == chosen.get(cell.key.split)]


def _most_complete(cells: Sequence[Cell]) -> set[float]:
    """Returns the alphas that have the most splits and seeds: all of them, unless something is missing of each."""
    counts = Counter(alpha_of(cell) for cell in cells)
    return {alpha for alpha, count in counts.items() if count == max(counts.values())}


def _best(cells: Sequence[Cell]) -> float:
    alphas = sorted({alpha_of(cell) for cell in cells})
    if len(alphas) == 1:
        return alphas[0]
    return max(alphas, key=lambda alpha: (_mean_criterion(cells, alpha), -alpha))


def _mean_criterion(cells: Sequence[Cell], alpha: float) -> float:
    found = [criterion(cell) for cell in cells if alpha_of(cell) == alpha]
    defined = [value for value in found if value is not None]
    return sum(defined) / len(defined) if len(defined) == len(found) else float("-inf")
