"""Computes one cell: selection first, and only then the test part is opened."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.system.machine import describe_machine
from semise_sdk.system.progress import Reporter
from semise_training.compare.cells.answers import Answers
from semise_training.compare.cells.cells import Cell, CodeVersion, write_cell
from semise_training.compare.cells.experiment import digest_of, portable
from semise_training.compare.cells.folder import Folder
from semise_training.compare.cells.plan import PlannedCell
from semise_training.compare.compute.examples import choose_examples, draw_examples, draw_maps
from semise_training.compare.compute.features import FeatureStore
from semise_training.compare.compute.select import Constant, Selected, prepare_run, select, views_passed
from semise_training.compare.compute.shared import Examined, Selection, SharedData, data_digest, image_counts
from semise_training.compare.report.measures import summary
from semise_training.data.cache import cache_key
from semise_training.data.dataset import Dataset
from semise_training.loop.run_folder import RunFolder, read_records


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where cells are computed.

    Args:
        data: What they share.
        folder: The comparison's folder.
        reporter: Told of the stages within a cell.
        keep_runs: Whether run folders stay.
    """

    data: SharedData
    folder: Folder
    reporter: Reporter
    keep_runs: bool = False

    @property
    def digest(self) -> str:
        """The digest of the data."""
        return data_digest(self.data.manifest)

    def store(self, planned: PlannedCell) -> FeatureStore:
        """Returns where features of a cell's untrained encoder are kept."""
        return FeatureStore(self.folder.cache, cache_key(self.data.manifest.samples, planned.config.input.spec()))


def compute_cell(planned: PlannedCell, place: Workplace) -> Cell:
    """Returns a cell, computed from where its run folder stands, and written; the run folder is then deleted.

    Raises:
        TrainingError: the training diverged or collapsed.
        OutputError: a file could not be written.
    """
    asked = planned.asked(place.digest)
    run = prepare_run(place.folder.work(planned.key), digest_of(asked))
    started, before = time.monotonic(), _seconds_before(run)
    dataset = place.data.dataset(planned.config, reporter=place.reporter)
    selection = Selection.of(dataset, place.data.manifest)
    selected = select(planned, selection, place.store(planned), run, reporter=place.reporter)
    report = selected.report()
    val = selected.answer(Examined.of(selection.dataset, "val", place.data.manifest))
    # Nothing is chosen below this line: only now is the test part opened.
    exam = Examined.of(dataset, "test", place.data.manifest)
    test = selected.answer(exam)
    _draw(planned, selected, exam, place.folder, classes=dataset.classes)
    found = _Found(
        portable(selected.config), report, val, test, views_passed(run), round(before + time.monotonic() - started, 1)
    )
    cell = _cell(planned, dataset, found, asked=asked, digest=place.digest)
    write_cell(place.folder.cell(planned.key), cell)
    if not place.keep_runs:
        shutil.rmtree(run.root, ignore_errors=True)
    return cell


@dataclass(frozen=True, slots=True)
class _Found:
    """What selection left, what the selected then answered, and what it took."""

    config: dict[str, object]
    report: dict[str, object]
    val: Answers
    test: Answers
    views: int | None
    seconds: float


def _cell(planned: PlannedCell, dataset: Dataset, found: _Found, *, asked: dict[str, object], digest: str) -> Cell:
    """Returns the record, with the code and the machine of now."""
    return Cell(
        key=planned.key,
        method=planned.config.method,
        asked=asked,
        data_digest=digest,
        labels=dataset.labels,
        config=found.config,
        protocol=planned.protocol_json(),
        selected=found.report,
        counts=image_counts(dataset),
        views=found.views,
        seconds=found.seconds,
        code=code_version(),
        machine=describe_machine(),
        val=found.val,
        test=found.test,
        figures={part: summary(of, classes=dataset.classes) for part, of in (("val", found.val), ("test", found.test))},
    )


def is_example_cell(planned: PlannedCell) -> bool:
    """Returns whether a cell draws the figure's masks: those of the first split and seed with all labels do."""
    key = planned.key
    return key.fold == 0 and key.seed == 0 and key.label_fraction == 1


def code_version() -> CodeVersion:
    """Returns the git commit of this code and whether it was changed since; None for both outside a checkout."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here.parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an environment inside somebody's checkout is not ours
        return CodeVersion(git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.CalledProcessError):
        return CodeVersion(None, None)


def _draw(planned: PlannedCell, selected: Selected | Constant, exam: Examined, folder: Folder, *, classes: int) -> None:
    """Draws the figure's masks where this cell is to, in the place of those of a cell that it replaces."""
    shutil.rmtree(folder.maps(planned.key), ignore_errors=True)
    if isinstance(selected, Constant) or not is_example_cell(planned):
        return
    if not selected.model.network.config.decoder_channels:
        return
    rows = choose_examples(exam, classes=classes, seed=planned.key.split_seed)
    spec = selected.config.input.spec()
    draw_examples(exam, rows, folder.examples, spec)
    draw_maps(selected.model, exam, rows, folder.maps(planned.key), spec, compute=selected.compute)


def _seconds_before(run: RunFolder) -> float:
    """Returns the seconds of the epochs that an earlier, interrupted try has trained."""
    return sum(float(str(record["seconds"])) for record in read_records(run.metrics))
