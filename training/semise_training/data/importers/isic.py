"""ISIC 2018 task 3: seven diagnoses of skin lesions (HAM10000, arXiv 1902.03368), from challenge.isic-archive.com.

For each part a folder ``ISIC2018_Task3_<part>_Input`` of JPEGs and a table ``ISIC2018_Task3_<part>_GroundTruth.csv``
of one-hot rows; ``ISIC2018_Task3_Training_LesionGroupings.csv`` names the lesion of each training image. Where task 1
published a mask of an image, ``ISIC2018_Task1_<part>_GroundTruth/<image>_segmentation.png``, it goes with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.spec import SplitName
from semise_sdk.system.progress import Reporter
from semise_sdk.tables.read import SourceRow, Table
from semise_training.data.importers.imported import Imported, manifest_of, write_manifest
from semise_training.data.importers.official import official_table, refuse
from semise_training.data.manifest import Sample

LABELS = ("NV", "DF", "BKL", "VASC", "AKIEC", "BCC", "MEL")
"""The diagnoses in severity order, as the ground truth's columns are called."""

PARTS: Mapping[str, SplitName] = {"Training": "train", "Validation": "val", "Test": "test"}

_LESIONS = "ISIC2018_Task3_Training_LesionGroupings.csv"


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the challenge as it lies on disk.

    Args:
        name: ``Training``, ``Validation`` or ``Test``.
        folder: Where its images are.
        images: Names of the images in it, without suffix.
        truth: Its ground truth; None where it was not downloaded.
    """

    name: str
    folder: Path
    images: frozenset[str]
    truth: Table | None


def import_isic(source: Path, out: Path, *, reporter: Reporter) -> Imported:  # noqa: ARG001  # as all importers
    """Returns the images of ``source`` that have a ground truth, referenced where they lie, grouped by lesion.

    The published parts become the splits when all three have a ground truth; otherwise no split is named, since a
    manifest names all three or none. ``reporter`` hears nothing, since no image is opened.

    Raises:
        DataError: the folders or tables are not as published; ``problems`` lists every deviation.
        OutputError: the manifest cannot be written.
    """
    parts, lesion_of = _downloaded(source)
    masks = _masks(source)
    samples: list[Sample] = []
    problems: list[str] = []
    for part in parts:
        for row in part.truth.rows if part.truth else ():
            wrong = _row_problems(row, part, lesion_of)
            problems += wrong
            if not wrong:
                samples.append(_sample(row, part, lesion_of, masks))
        problems += _repeated(part)
    refuse(problems, source, what="ISIC 2018 task 3")
    is_complete = all(part.truth for part in parts)
    if not is_complete:
        samples = [replace(sample, split=None) for sample in samples]
    manifest = manifest_of(samples, LABELS, out=out)
    write_manifest(manifest)
    return Imported(manifest=manifest, notes=tuple(_notes(parts, is_complete=is_complete)))


def _downloaded(source: Path) -> tuple[list[_Part], Mapping[str, str]]:
    """Returns the three parts and the lesion of each training image."""
    problems: list[str] = []
    parts, lesion_of = [], {}
    for name in PARTS:
        try:
            parts.append(_part(source, name))
        except DataError as error:
            problems.append(str(error))
    try:
        lesions = official_table(source / _LESIONS, ("image", "lesion_id"))
        problems += [f"{_LESIONS}, {problem}" for problem in lesions.problems]
        lesion_of = {row.cells.get("image", ""): row.cells.get("lesion_id", "") for row in lesions.rows}
    except DataError as error:
        problems.append(str(error))
    refuse(problems, source, what="ISIC 2018 task 3")
    return parts, lesion_of


def _part(source: Path, name: str) -> _Part:
    folder = source / f"ISIC2018_Task3_{name}_Input"
    table = _truth_file(source, name)
    if name != "Training" and not table.is_file():
        return _Part(name, folder, _stems(folder, ".jpg"), None)
    truth = official_table(table, ("image", *LABELS))
    unknown = [column for column in truth.headers if column not in ("image", *LABELS)]
    if unknown:
        raise DataError(f"expected the classes {', '.join(LABELS)} in {table.name}, found {', '.join(unknown)} too")
    if not folder.is_dir():
        raise DataError(f"expected the folder {folder.name} of the images in {table.name}, found none")
    return _Part(name, folder, _stems(folder, ".jpg"), truth)


def _truth_file(source: Path, name: str) -> Path:
    """Returns where a part's ground truth lies: in its archive's folder, or beside the folders."""
    stem = f"ISIC2018_Task3_{name}_GroundTruth"
    beside = source / f"{stem}.csv"
    return beside if beside.is_file() else source / stem / f"{stem}.csv"


def _stems(folder: Path, suffix: str) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    return frozenset(path.stem for path in folder.iterdir() if path.suffix == suffix)


def _masks(source: Path) -> Mapping[str, Path]:
    """Returns the lesion mask of each image that task 1 published one for."""
    ending = "_segmentation"
    return {
        stem.removesuffix(ending): folder / f"{stem}.png"
        for folder in (source / f"ISIC2018_Task1_{name}_GroundTruth" for name in PARTS)
        for stem in _stems(folder, ".png")
        if stem.endswith(ending)
    }


def _row_problems(row: SourceRow, part: _Part, lesion_of: Mapping[str, str]) -> list[str]:
    image = row.cells.get("image", "")
    where = f"{part.name} {image or '(no name)'}"
    wrong = [] if image in part.images else [f"{where}: expected {image}.jpg in {part.folder.name}, found none"]
    cells = {label: row.cells.get(label, "") for label in LABELS}
    if sorted(map(_is_set, cells.values()), key=str) != [False] * (len(LABELS) - 1) + [True]:
        found = ", ".join(f"{label} {cell or 'empty'}" for label, cell in cells.items() if _is_set(cell) is not False)
        wrong.append(f"{where}: expected one class of 1 and the others of 0, found {found or 'none of 1'}")
    if part.name == "Training" and not lesion_of.get(image):
        wrong.append(f"{where}: expected its lesion in {_LESIONS}, found none")
    return wrong


def _is_set(cell: str) -> bool | None:
    """Returns what a one-hot cell says; None for anything but 0 and 1."""
    try:
        return {0.0: False, 1.0: True}.get(float(cell))
    except ValueError:
        return None


def _repeated(part: _Part) -> Iterator[str]:
    if part.truth is None:
        return
    yield from (f"ground truth of {part.name}, {problem}" for problem in part.truth.problems)
    seen: dict[str, int] = {}
    for row in part.truth.rows:
        first = seen.setdefault(row.cells.get("image", ""), row.line)
        if first != row.line:
            yield f"{part.name} {row.cells['image']}: expected one row, found rows {first} and {row.line}"


def _sample(row: SourceRow, part: _Part, lesion_of: Mapping[str, str], masks: Mapping[str, Path]) -> Sample:
    image = row.cells.get("image", "")
    severity = next(level for level, label in enumerate(LABELS) if _is_set(row.cells[label]))
    return Sample(
        row=row.line,
        image=part.folder / f"{image}.jpg",
        severity=severity,
        label=LABELS[severity],
        mask=masks.get(image),
        # Only the training images' lesions were published.
        group=lesion_of.get(image, image),
        split=PARTS[part.name],
    )


def _notes(parts: Sequence[_Part], *, is_complete: bool) -> Iterator[str]:
    for part in parts:
        if part.truth is None:
            yield f"{part.name}: no ground truth was found, {len(part.images)} images are left out"
        elif left := len(part.images) - len(part.truth.rows):
            yield f"{part.name}: {left} images without a row in the ground truth are left out"
    if is_complete:
        yield "the splits are the published ones"
    else:
        yield "the splits are left to the training, by lesion: the published ones need all three ground truths"
