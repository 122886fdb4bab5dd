"""What an importer hands back, and the manifest file that it writes."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from semise_sdk.system.atomic import write_text
from semise_training.data.checks.check import images_per_grade, images_per_split
from semise_training.data.manifest import COLUMNS, REQUIRED_COLUMNS, Manifest, Sample

MANIFEST_NAME = "data.csv"


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that was left out: its name in the download, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import made.

    Args:
        manifest: The manifest that was written.
        failed: Images that could not be read, and are not in the manifest.
        notes: What the importer had to decide, one sentence each.
    """

    manifest: Manifest
    failed: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data."""
        samples = self.manifest.samples
        return {
            "manifest": self.manifest.path.as_posix(),
            "counts": {
                "images": len(samples),
                "classes": images_per_grade(self.manifest, samples),
                "splits": images_per_split(self.manifest),
                "masks": sum(sample.mask is not None for sample in samples),
                "groups": len({sample.group for sample in samples}),
            },
            "failed": [{"file": failure.file, "reason": failure.reason} for failure in self.failed],
            "notes": list(self.notes),
        }


def manifest_of(samples: Iterable[Sample], labels: tuple[str, ...], *, out: Path) -> Manifest:
    """Returns the manifest of ``samples`` in the folder ``out``, rows numbered as they will be written."""
    numbered = tuple(replace(sample, row=row) for row, sample in enumerate(samples, start=2))
    return Manifest(out / MANIFEST_NAME, out, numbered, labels)


def write_manifest(manifest: Manifest) -> None:
    """Writes a manifest's file, whole or not at all; a column that no row fills is left out. Raises OutputError."""
    rows = [_cells(sample, manifest.root) for sample in manifest.samples]
    columns = [name for name in COLUMNS if name in REQUIRED_COLUMNS or any(row[name] for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(manifest.path, text.getvalue())


def _cells(sample: Sample, root: Path) -> dict[str, str]:
    return {
        "image": _relative(sample.image, root),
        "severity": "" if sample.severity is None else str(sample.severity),
        "label": sample.label or "",
        "mask": "" if sample.mask is None else _relative(sample.mask, root),
        "group": sample.group,
        "split": sample.split or "",
    }


def _relative(path: Path, folder: Path) -> str:
    # Resolved, since `..` means another folder to a link than to what it leads to; the file's own name is kept.
    absolute = path.parent.resolve() / path.name
    try:
        return Path(os.path.relpath(absolute, folder.resolve())).as_posix()
    except ValueError:  # Windows has no relative path from one drive to another
        return absolute.as_posix()
