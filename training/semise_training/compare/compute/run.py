"""Runs a comparison: the cells that are not there yet, one after the other, each kept as soon as it is done."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import ConfigError, TrainingError
from semise_sdk.system.locks import claimed
from semise_sdk.system.progress import Reporter
from semise_training.compare.cells.cells import Cell, CellKey
from semise_training.compare.cells.experiment import is_same_experiment
from semise_training.compare.cells.failures import Failure, write_failure
from semise_training.compare.cells.folder import Folder
from semise_training.compare.cells.plan import Plan, PlannedCell
from semise_training.compare.cells.rows import BASELINE
from semise_training.compare.cells.setup import mixture, planned_setup, planned_unet, setup_of, unet_of
from semise_training.compare.compute.compute import Workplace, compute_cell
from semise_training.compare.compute.preflight import refuse_bad_encoders, refuse_impossible
from semise_training.compare.compute.shared import SharedData, data_digest
from semise_training.data.manifest import load_manifest
from semise_training.methods import find_method


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the cells of a plan.

    Args:
        computed: Those computed now.
        kept: How many were there already.
        elsewhere: Those that another process is computing.
        failed: What went wrong, by cell: training that diverged or collapsed.
    """

    computed: tuple[CellKey, ...]
    kept: int
    elsewhere: tuple[CellKey, ...]
    failed: dict[CellKey, str]


def compare(
    plan: Plan,
    root: Path,
    *,
    redo: bool = False,
    keep_runs: bool = False,
    reporter: Reporter,
    stages: Reporter,
) -> Outcome:
    """Computes the cells of a plan that ``root`` does not hold yet.

    A system that diverges or collapses loses its cell, not the comparison, and the folder says why.

    Args:
        plan: What to compare.
        root: The comparison's folder.
        redo: Whether a cell of another experiment is computed anew; else it is refused.
        keep_runs: Whether run folders stay.
        reporter: Told of each cell.
        stages: Told of the stages within a cell.

    Raises:
        ConfigError: a wrong plan, a cell that could not be trained, or ``root`` holds cells of another experiment.
        DataError: the manifest or its images are wrong, or a cell is damaged.
        OutputError: a file could not be written.
    """
    folder, manifest = Folder(root), load_manifest(plan.data.manifest, columns=plan.data.columns)
    cells = plan.cells(manifest)
    if plan.folds and manifest.names_splits:
        reporter.say(f"the splits that {manifest.path.name} names are left aside: --folds deals its test part anew")
    due = _due(cells, folder, data_digest(manifest), redo=redo)
    _refuse_mixture(cells, folder)
    outcome = Outcome((), len(cells) - len(due), (), {})
    if not due:
        folder.add_candidates(_candidates(plan, cells, folder))
        return outcome
    refuse_bad_encoders(due)
    data = SharedData.open(manifest, due[0].config, folder.cache, reporter=stages)
    refuse_impossible(due, data, reporter=stages)
    folder.add_candidates(_candidates(plan, cells, folder))
    return _compute_all(due, Workplace(data, folder, stages, keep_runs), outcome, reporter=reporter)


def _candidates(plan: Plan, cells: Sequence[PlannedCell], folder: Folder) -> Sequence[float]:
    """Returns the alphas that ``semise`` is to choose among: those of ``--alphas``; without it its own joins them."""
    if plan.alphas or folder.candidates() is None:
        return plan.alphas
    return [cell.config.phase2.alpha for cell in cells if cell.key.name == BASELINE and cell.key.label_fraction == 1]


def _compute_all(due: Sequence[PlannedCell], place: Workplace, before: Outcome, *, reporter: Reporter) -> Outcome:
    computed: list[CellKey] = []
    elsewhere: list[CellKey] = []
    failed: dict[CellKey, str] = {}
    reporter.start("cells", len(due))
    clock = _Clock(due)
    for planned in due:
        with claimed(place.folder.work(planned.key)) as is_mine:
            if not is_mine or _is_done(planned, place.folder, place.digest):
                elsewhere.append(planned.key)
                clock.skip(planned)
            else:
                try:
                    cell = compute_cell(planned, place)
                    computed.append(planned.key)
                    reporter.say(f"{planned.key.slug}: {_shown(cell)}; {clock.done(planned)}")
                    place.folder.failed(planned.key).unlink(missing_ok=True)
                except TrainingError as error:
                    failed[planned.key] = str(error)
                    _record_failure(planned.key, str(error), place.folder)
                    reporter.say(f"{planned.key.slug} failed: {error}; {clock.done(planned)}")
        reporter.step(planned.key.slug)
    return Outcome(tuple(computed), before.kept, tuple(elsewhere), failed)


def _record_failure(key: CellKey, reason: str, folder: Folder) -> None:
    """Records why a cell could not be computed; one of another experiment that it was to replace goes."""
    write_failure(folder.failed(key), Failure(key, reason))
    folder.cell(key).unlink(missing_ok=True)
    shutil.rmtree(folder.maps(key), ignore_errors=True)


class _Clock:
    """Says how far the cells are, and when all will be done if the rest take as long for what they have to learn."""

    def __init__(self, due: Sequence[PlannedCell]) -> None:
        self._total = self._left = len(due)
        self._work_left = sum(map(_work, due))
        self._work_done = 0
        self._started = time.monotonic()

    def skip(self, planned: PlannedCell) -> None:
        self._left -= 1
        self._work_left -= _work(planned)

    def done(self, planned: PlannedCell) -> str:
        self.skip(planned)
        self._work_done += _work(planned)
        place = f"{self._total - self._left} of {self._total}"
        if not (self._left and self._work_done):
            return place
        seconds = (time.monotonic() - self._started) / self._work_done * self._work_left
        return f"{place}, about {_duration(seconds)} left"


def _work(planned: PlannedCell) -> int:
    """Returns how many stages a cell has, the heads as one; a constant has none."""
    method = find_method(planned.config.method)
    return 0 if method.is_constant else 1 + len(method.upstream)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _shown(cell: Cell) -> str:
    """Returns the validation macro-F1 and the time; a test figure is no business of a progress line."""
    each = cell.selected.get("head_macro_f1")
    figures = each.get("weighted", []) if isinstance(each, dict) else []
    shown = f"validation macro-F1 {sum(figures) / len(figures):.3f}, " if figures else ""
    return f"{shown}{_duration(cell.seconds)}"


def _due(cells: Sequence[PlannedCell], folder: Folder, digest: str, *, redo: bool) -> list[PlannedCell]:
    due = [cell for cell in cells if not _is_done(cell, folder, digest)]
    others = [cell.key.slug for cell in due if folder.cell(cell.key).exists()]
    if others and not redo:
        raise ConfigError(
            f"expected cells of this experiment in {folder.cells}, found {len(others)} of another (first: "
            f"{others[0]}): use the same settings and data, another --out, or --redo to compute them anew"
        )
    return due


def _refuse_mixture(cells: Sequence[PlannedCell], folder: Folder) -> None:
    """Refuses cells that would not stand in one table with each other, or with the others that are there."""
    slugs = {planned.key.slug for planned in cells}
    there = [cell for cell in folder.read() if cell.key.slug not in slugs]
    setups = [(cell.key.slug, setup_of(cell)) for cell in there]
    unets = [(cell.key.slug, unet_of(cell)) for cell in there]
    setups += [(planned.key.slug, planned_setup(planned)) for planned in cells]
    unets += [(planned.key.slug, planned_unet(planned)) for planned in cells]
    found = mixture(setups) or mixture([each for each in unets if each[1]])
    if found:
        raise ConfigError(
            f"expected one protocol, split, canvas, encoder and U-Net for all cells of {folder.root}, found {found}: "
            "use the same settings, or another --out"
        )


def _is_done(planned: PlannedCell, folder: Folder, digest: str) -> bool:
    cell = folder.stored(planned.key)
    return cell is not None and is_same_experiment(cell.asked, planned.asked(digest))
