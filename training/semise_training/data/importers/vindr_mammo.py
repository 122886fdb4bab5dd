"""VinDr-Mammo: 5,000 mammography exams of four views, graded by BI-RADS (PhysioNet 1.0.0, doi 10.13026/br2v-7517).

``breast-level_annotations.csv`` has one row per image, which is ``images/<study_id>/<image_id>.dicom``. The images are
converted to PNG; a second run goes on where the first was stopped.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from semise_sdk.errors import DataError, ImageReadError
from semise_sdk.spec import SplitName
from semise_sdk.system.atomic import atomic_file
from semise_sdk.system.machine import usable_cores
from semise_sdk.system.progress import Reporter
from semise_training.data.importers.imported import Failure, Imported, manifest_of, write_manifest
from semise_training.data.importers.mammogram import read_mammogram, require_pydicom
from semise_training.data.importers.official import official_table, refuse
from semise_training.data.manifest import Manifest, Sample
from semise_training.data.splits.split import split

TABLE = "breast-level_annotations.csv"
COLUMNS = ("study_id", "image_id", "laterality", "breast_birads", "split")
LABELS = ("BI-RADS 1", "BI-RADS 2", "BI-RADS 3", "BI-RADS 4", "BI-RADS 5")
"""The grades in severity order, as the table calls them."""

FRACTIONS: Mapping[SplitName, float] = {"train": 0.9, "val": 0.1}
"""What the published training part is divided into: with the test part 72, 8 and 20 %, as in arXiv 2501.03848."""

SEED = 0

_SEVERITY = {label: level for level, label in enumerate(LABELS)}
_IS_RIGHT = {"L": False, "R": True}
_SPLIT: Mapping[str, SplitName | None] = {"training": None, "test": "test"}
_KNOWN: Mapping[str, Collection[str]] = {"laterality": _IS_RIGHT, "breast_birads": _SEVERITY, "split": _SPLIT}
# Names of files that are written: a path in their place could lead out of the folder.
_IDENTIFIER = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]*")

# Each holds a decoded mammogram as float64: about half a GB.
_MAX_THREADS = 4


@dataclass(frozen=True, slots=True)
class Mammogram:
    """One row of the table.

    Args:
        line: 1-based line number.
        study: The exam, whose four images no split may part.
        image: The image's identifier.
        is_right: True for a right breast.
        severity: BI-RADS 1 to 5 as 0 to 4.
        split: ``test``, or None for the published training part.
    """

    line: int
    study: str
    image: str
    is_right: bool
    severity: int
    split: SplitName | None

    @property
    def file(self) -> str:
        """Its name in the download."""
        return f"images/{self.study}/{self.image}.dicom"


def import_vindr_mammo(source: Path, out: Path, *, reporter: Reporter) -> Imported:
    """Returns the mammograms of ``source``, each converted to ``out/images/<study>/<image>.png``, grouped by study.

    The published test part is kept, and a validation part is drawn from the published training part, by study. PNGs
    that are already there are kept; a DICOM file that cannot be read is left out and listed.

    Raises:
        ConfigError: pydicom is not installed.
        DataError: the table or files are not as published (``problems`` lists every deviation), or no image can be
            read.
        OutputError: a file cannot be written.
    """
    require_pydicom()
    mammograms = read_annotations(source)
    # Drawn before anything is converted: it must not depend on which files are damaged.
    planned = with_validation_part(manifest_of((_sample(one, out) for one in mammograms), LABELS, out=out))
    kept = sum(sample.image.is_file() for sample in planned)
    failed = _convert(mammograms, planned, source, reporter)
    if len(failed) == len(planned):
        raise DataError(f"expected mammograms in {source}, found none that can be read (first: {failed[0].reason})")
    manifest = manifest_of((sample for sample in planned if sample.image.is_file()), LABELS, out=out)
    write_manifest(manifest)
    return Imported(manifest=manifest, failed=failed, notes=tuple(_notes(kept)))


def read_annotations(source: Path) -> list[Mammogram]:
    """Returns the rows of the table, whose files are all there.

    Raises:
        DataError: a column, cell or file is not as published; ``problems`` lists every deviation.
    """
    table = official_table(source / TABLE, COLUMNS)
    problems = [str(problem) for problem in table.problems]
    mammograms: dict[str, Mammogram] = {}
    for row in table.rows:
        cells = {column: row.cells.get(column, "") for column in COLUMNS}
        wrong = list(_wrong_cells(cells))
        if not wrong:
            found = _mammogram(row.line, cells)
            first = mammograms.setdefault(found.image, found)
            wrong = list(_wrong_file(found, first, source))
        problems += [f"row {row.line}: {sentence}" for sentence in wrong]
    refuse(problems, source, what="VinDr-Mammo 1.0.0")
    return list(mammograms.values())


def with_validation_part(manifest: Manifest) -> list[Sample]:
    """Returns the samples with ``train`` or ``val`` drawn, by study and seeded, for those that name no split.

    Raises:
        DataError: a grade is in too few studies.
    """
    published = manifest_of((one for one in manifest.samples if one.split is None), LABELS, out=manifest.root)
    parts = split(published, seed=SEED, fractions=FRACTIONS)
    part_of = {sample.image: part for sample, part in zip(published.samples, parts, strict=True)}
    return [replace(sample, split=sample.split or part_of[sample.image]) for sample in manifest.samples]


def _wrong_cells(cells: Mapping[str, str]) -> Iterator[str]:
    for column, known in _KNOWN.items():
        if cells[column] not in known:
            yield f"expected {column} of {', '.join(known)}, found {cells[column][:40]!r}"
    for column in ("study_id", "image_id"):
        if not _IDENTIFIER.fullmatch(cells[column]):
            yield f"expected {column} of letters and digits, found {cells[column][:40]!r}"


def _wrong_file(found: Mammogram, first: Mammogram, source: Path) -> Iterator[str]:
    if found is not first:
        yield f"the image {found.image} is already in row {first.line}"
    if not (source / found.file).is_file():
        yield f"expected the file {found.file}, found none"


def _mammogram(line: int, cells: Mapping[str, str]) -> Mammogram:
    return Mammogram(
        line=line,
        study=cells["study_id"],
        image=cells["image_id"],
        is_right=_IS_RIGHT[cells["laterality"]],
        severity=_SEVERITY[cells["breast_birads"]],
        split=_SPLIT[cells["split"]],
    )


def _sample(mammogram: Mammogram, out: Path) -> Sample:
    return Sample(
        row=mammogram.line,
        image=out / "images" / mammogram.study / f"{mammogram.image}.png",
        severity=mammogram.severity,
        label=LABELS[mammogram.severity],
        mask=None,
        group=mammogram.study,
        split=mammogram.split,
    )


def _convert(
    mammograms: Sequence[Mammogram], samples: Sequence[Sample], source: Path, reporter: Reporter
) -> tuple[Failure, ...]:
    """Writes the PNG of each mammogram that has none yet, in threads; returns those that could not be read."""
    reporter.start("converting mammograms", len(mammograms))
    failed: list[Failure] = []
    executor = ThreadPoolExecutor(max_workers=min(_MAX_THREADS, usable_cores()))
    try:
        for failure in executor.map(lambda one, sample: _convert_one(one, source, sample.image), mammograms, samples):
            if failure is not None:
                failed.append(failure)
                reporter.say(f"left out: {failure.file}: {failure.reason}")
            reporter.step(f"{len(failed)} left out" if failed else "")
    finally:
        executor.shutdown(cancel_futures=True)
    return tuple(failed)


def _convert_one(mammogram: Mammogram, source: Path, target: Path) -> Failure | None:
    if target.is_file():  # whole, since files are written whole or not at all
        return None
    try:
        breast = read_mammogram(source / mammogram.file, is_right=mammogram.is_right)
    except ImageReadError as error:
        return Failure(mammogram.file, error.reason)
    with atomic_file(target) as stream:
        Image.fromarray(breast).save(stream, format="PNG")
    return None


def _notes(kept: int) -> Iterator[str]:
    if kept:
        yield f"{kept} images had been converted before and were kept"
    share = f"{FRACTIONS['val']:.0%} of the published training part"
    yield f"test is the published part; val is {share}, drawn by study with seed {SEED}"
