"""What export reads of a run folder beside its model: the configuration, the split, and where the images are."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from semise_sdk.bundle import open_run
from semise_sdk.errors import BundleError, DataError
from semise_sdk.spec import SPLIT_NAMES, ModelInfo
from semise_sdk.workflows.calibrate import HeldOutImage

GATE_PARTS = ("val", "test")
CALIBRATION_PARTS = {
    "calibration": "which nothing was trained or chosen on",
    "val": "which the heads and any temperature were chosen on: a part named calibration would be stricter",
}
MAX_CALIBRATION = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """One image of the run's split.csv: where it is, its grade (empty for an unlabeled image), part and group."""

    image: Path
    label: str
    part: str
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A finished run.

    Args:
        root: Its folder.
        model: The trained model's description.
        config: The resolved training configuration, as config.yaml holds it.
        manifest: The data manifest that it was trained on.
        rows: Its split.
    """

    root: Path
    model: ModelInfo
    config: Mapping[str, object]
    manifest: Path
    rows: tuple[SplitRow, ...]

    @classmethod
    def open(cls, root: Path) -> "TrainedRun":
        """Returns the run in a folder.

        Raises:
            BundleError: the run is not finished, or its files are missing or damaged.
        """
        model = open_run(root).model
        config = _read_config(root / "config.yaml")
        data = config.get("data")
        if not isinstance(data, Mapping) or not isinstance(data.get("manifest"), str):
            raise BundleError(f"expected data.manifest in {root / 'config.yaml'}, found none: train again")
        manifest = Path(data["manifest"])
        # a manifest may be named by its folder
        folder = manifest if manifest.is_dir() else manifest.parent
        return cls(
            root=root, model=model, config=config, manifest=manifest, rows=_read_split(root / "split.csv", folder)
        )

    @property
    def checkpoint(self) -> Path:
        """Folder of the model's files."""
        return self.root / "checkpoint"

    def counts(self) -> dict[str, Counter[str]]:
        """Returns the number of images of each grade by part, training first; an unlabeled image's grade is empty."""
        counts: dict[str, Counter[str]] = {}
        for row in sorted(self.rows, key=lambda row: SPLIT_NAMES.index(row.part)):
            counts.setdefault(row.part, Counter())[row.label] += 1
        return counts

    def gate_images(self, limit: int) -> list[Path]:
        """Returns at most ``limit`` images that the encoder did not learn from, spread evenly over the split.

        Raises:
            DataError: there are fewer than two, or they are not where the manifest says.
        """
        images = spread(self.images(*GATE_PARTS), limit)
        _refuse_missing(images, self.manifest, "check")
        if len(images) < 2:
            raise DataError(f"expected validation or test images in {self.root / 'split.csv'}, found {len(images)}")
        return images

    def calibration_images(self) -> tuple[str, list[HeldOutImage]]:
        """Returns the part to calibrate on and at most 4,096 of its images: ``calibration``, else ``val``.

        Raises:
            DataError: they are not where the manifest says.
        """
        part = next((part for part in CALIBRATION_PARTS if self.images(part)), "val")
        levels = {label: level for level, label in enumerate(self.model.labels)}
        rows = [row for row in self.rows if row.part == part]
        if len(rows) > MAX_CALIBRATION:
            rows = [rows[index * len(rows) // MAX_CALIBRATION] for index in range(MAX_CALIBRATION)]
        _refuse_missing([row.image for row in rows], self.manifest, "calibrate")
        return part, [HeldOutImage(image=row.image, level=levels.get(row.label), group=row.group) for row in rows]

    def images(self, *parts: str) -> list[Path]:
        """Returns the images of some parts of the split, in its order."""
        return [row.image for row in self.rows if row.part in parts]

    def levels(self, images: Sequence[Path]) -> list[int | None]:
        """Returns each image's grade as its place among the model's labels, None where it has none."""
        places = {label: level for level, label in enumerate(self.model.labels)}
        grades = {row.image: places.get(row.label) for row in self.rows}
        return [grades.get(image) for image in images]

    def evaluation(self) -> Mapping[str, object] | None:
        """Returns the held-out metrics that training measured, None where it measured none."""
        path = self.root / "evaluation.json"
        try:
            report: object = json.loads(path.read_bytes()) if path.is_file() else None
        except (OSError, ValueError) as error:
            raise BundleError(
                f"expected {path} to hold metrics, found {error}: semise evaluate writes it anew"
            ) from error
        return report if isinstance(report, Mapping) else None

    def manifest_sha256(self) -> str | None:
        """Returns the sha256 of the data manifest, None where it is gone."""
        if not self.manifest.is_file():
            return None
        return hashlib.sha256(self.manifest.read_bytes()).hexdigest()


def _refuse_missing(images: Sequence[Path], manifest: Path, verb: str) -> None:
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise DataError(
            f"expected the run's images to {verb} the export on, found {len(missing)} of {len(images)} missing "
            f"(first: {missing[0]}): make the data available where {manifest} lies",
            problems=[f"{image} is missing" for image in missing],
        )


def spread(images: Sequence[Path], limit: int) -> list[Path]:
    """Returns at most ``limit`` images, evenly spaced, in their order: a split lists its grades one after another.

    Example:
        >>> [path.name for path in spread([Path("a"), Path("b"), Path("c"), Path("d")], 2)]
        ['a', 'c']
    """
    if len(images) <= limit:
        return list(images)
    return [images[index * len(images) // limit] for index in range(limit)]


def _read_config(path: Path) -> Mapping[str, object]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"could not read {path}: expected the resolved configuration of a run folder") from error
    if not isinstance(config, Mapping):
        raise BundleError(f"expected {path} to hold a configuration, found {type(config).__name__}")
    return config


def _read_split(path: Path, folder: Path) -> tuple[SplitRow, ...]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            rows = [
                SplitRow(
                    image=folder / row["image"],
                    label=row["label"],
                    part=row["split"],
                    group=row.get("group") or row["image"],
                )
                for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"could not read {path}: expected the split of a run folder") from error
    except (KeyError, TypeError) as error:
        found = ", ".join(table.fieldnames or ()) or "none"
        raise BundleError(f"expected columns image, label and split in every row of {path}, found {found}") from error
    unknown = sorted({row.part for row in rows} - set(SPLIT_NAMES))
    if unknown:
        raise BundleError(f"expected parts {', '.join(SPLIT_NAMES)} in {path}, found {unknown[0]!r}")
    return tuple(rows)
