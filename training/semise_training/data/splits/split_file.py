"""The file of a split: which image is in which part, for the record, for a resumed run and for other commands."""

import csv
import io
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.system.atomic import write_text
from semise_training.data.manifest import Manifest, load_manifest
from semise_training.data.splits.split import Assignment

_COLUMNS = ("image", "severity", "label", "group", "split")


def write_split(path: Path, manifest: Manifest, assignment: Assignment) -> None:
    """Writes ``image,severity,label,group,split``, one row per sample, whole or not at all; raises OutputError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for sample, part in zip(manifest.samples, assignment, strict=True):
        severity = "" if sample.severity is None else sample.severity
        label = "" if sample.severity is None else manifest.labels[sample.severity]
        writer.writerow((manifest.name_of(sample), severity, label, sample.group, part))
    write_text(path, text.getvalue())


def read_split(path: Path, manifest: Manifest) -> Assignment:
    """Returns the assignment that :func:`write_split` wrote.

    Raises:
        DataError: the file is damaged, or it is not about exactly the images of ``manifest``.
    """
    written = load_manifest(path, root=manifest.root)
    part_of = {sample.image: sample.split for sample in written.samples if sample.split is not None}
    images = {sample.image for sample in manifest.samples}
    unwritten = [sample for sample in manifest.samples if sample.image not in part_of]
    problems = [f"row {one.row}: {manifest.name_of(one)} has no split in {path.name}" for one in unwritten]
    gone = [sample for sample in written.samples if sample.image not in images]
    problems += [f"{written.name_of(one)} is no longer in {manifest.path.name}" for one in gone]
    if problems:
        raise DataError(
            f"expected {path} and {manifest.path} to name the same images, found {len(problems)} differences "
            f"(first: {problems[0]}); the data changed after the split was written",
            problems=problems,
        )
    return tuple(part_of[sample.image] for sample in manifest.samples)
