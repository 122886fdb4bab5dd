"""The Papilledema data set: Kaggle, shashwatwork/identification-of-pseudopapilledema; first published at osf.io/2w5ce.

A folder for each class, ``Normal``, ``Pseudopapilledema`` and ``Papilledema``, with the images in it; no patients and
no splits. Images that look alike get one group, so that no split parts them; the split is left to the training.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.images.readers import find_images
from semise_sdk.system.progress import Reporter
from semise_training.data.checks.inspection import Inspection, alike_sets, inspect_manifest
from semise_training.data.importers.imported import Failure, Imported, manifest_of, write_manifest
from semise_training.data.importers.official import refuse
from semise_training.data.manifest import Manifest, Sample

LABELS = ("normal", "pseudopapilledema", "papilledema")
"""The classes in severity order; folder names are compared with them in lower case."""


def import_papilledema(source: Path, out: Path, *, reporter: Reporter) -> Imported:
    """Returns the images of the three class folders of ``source``, referenced where they lie.

    Raises:
        DataError: a class folder is missing, empty, unknown or there twice, or no image can be read.
        OutputError: the manifest cannot be written.
    """
    found = manifest_of(_samples(source, out), LABELS, out=out)
    inspections = inspect_manifest(found, reporter=reporter)
    failed = _failures(found, inspections, source)
    if len(failed) == len(found.samples):
        raise DataError(f"expected images in {source}, found none that can be read (first: {failed[0].reason})")
    manifest = manifest_of(_grouped(found, inspections), LABELS, out=out)
    write_manifest(manifest)
    sizes = Counter(sample.group for sample in manifest.samples)
    note = f"{len(manifest.samples)} images are in {len(sizes)} groups of near-duplicates, the largest of "
    return Imported(manifest=manifest, failed=failed, notes=(f"{note}{max(sizes.values())}",))


def _samples(source: Path, out: Path) -> Iterator[Sample]:
    for severity, (label, folder) in enumerate(_class_folders(source, out).items()):
        for found in find_images(folder):
            yield Sample(
                row=0,
                image=found.source,
                severity=severity,
                label=label,
                mask=None,
                group=f"{folder.name}/{found.file}",
                split=None,
            )


def _class_folders(source: Path, out: Path) -> Mapping[str, Path]:
    """Returns the folder of each class in severity order; raises DataError unless there is exactly one with images."""
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    # An earlier import may have made its folder within the download.
    folders = [
        path for path in folders if path.name.lower() in LABELS or not out.resolve().is_relative_to(path.resolve())
    ]
    names = Counter(folder.name.lower() for folder in folders)
    problems = [f"expected a folder {label.capitalize()}, found none" for label in LABELS if not names[label]]
    problems += [f"expected one folder {name.capitalize()}, found {names[name]}" for name in names if names[name] > 1]
    problems += [f"expected only the three classes, found the folder {name}" for name in names if name not in LABELS]
    problems += [f"expected images in the folder {folder.name}, found none" for folder in folders if _is_empty(folder)]
    refuse(problems, source, what="the folders Normal, Pseudopapilledema and Papilledema")
    of_class = {folder.name.lower(): folder for folder in folders}
    return {label: of_class[label] for label in LABELS}


def _is_empty(folder: Path) -> bool:
    return next(find_images(folder), None) is None


def _failures(found: Manifest, inspections: Sequence[Inspection], source: Path) -> tuple[Failure, ...]:
    return tuple(
        Failure(sample.image.relative_to(source).as_posix(), seen.image_error.reason)
        for sample, seen in zip(found.samples, inspections, strict=True)
        if seen.image_error is not None
    )


def _grouped(found: Manifest, inspections: Sequence[Inspection]) -> Iterator[Sample]:
    """Yields the readable samples, near-duplicates in the group of the first of them."""
    first_of = {member: members[0] for members in alike_sets(inspections) for member in members}
    for index, (sample, seen) in enumerate(zip(found.samples, inspections, strict=True)):
        if seen.fingerprint is not None:
            yield replace(sample, group=found.samples[first_of.get(index, index)].group)
