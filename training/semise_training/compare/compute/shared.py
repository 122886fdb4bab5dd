"""The data that all cells share: checked once, decoded once, and opened for selection without its test part."""

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import DataError
from semise_sdk.spec import SPLIT_NAMES
from semise_sdk.system.atomic import write_text
from semise_sdk.system.progress import Reporter
from semise_training.compare.cells.answers import MOST_GRADES
from semise_training.config import TrainConfig
from semise_training.data.cache import cache_key, shared_cache
from semise_training.data.dataset import UNLABELED, Dataset, build_dataset
from semise_training.data.manifest import Manifest
from semise_training.data.masks import read_mask
from semise_training.data.splits.blocks import Block, blocks_of
from semise_training.data.splits.fraction import hide_labels
from semise_training.run.prepare import assign, checked_report


@dataclass(frozen=True, slots=True)
class Selection:
    """The data that a model is trained and selected on: without the labels and masks of the test part.

    Make it with :meth:`of`. In its ``dataset`` the test part is empty, and its images have level -1 and no mask, as
    those that no label is known of. ``labeled`` counts the training images that have a label, hidden or not.
    """

    dataset: Dataset
    labeled: int

    @classmethod
    def of(cls, dataset: Dataset, manifest: Manifest) -> "Selection":
        """Returns the data without the test part's labels and masks."""
        graded = sum(manifest.samples[index].severity is not None for index in dataset.unlabeled)
        hidden = dataset.parts["test"]
        levels, has_mask = dataset.levels.copy(), dataset.has_mask.copy()
        levels[hidden], has_mask[hidden] = UNLABELED, False
        masks = dataset.masks
        if len(dataset.masked("test")):
            masks = np.array(masks)
            masks[hidden] = 0
        parts = {**dataset.parts, "test": hidden[:0]}
        blind = dataclasses.replace(dataset, levels=levels, has_mask=has_mask, masks=masks, parts=parts)
        return cls(blind, labeled=len(dataset.parts["train"]) + graded)


@dataclass(frozen=True, slots=True)
class Examined:
    """One part with its truth, to measure a model on that nothing changes any more.

    Args:
        dataset: Where the canvases are.
        indices: The part's images ``[N]``.
        levels: Their severity ``[N]``.
        groups: Their groups ``[N]``.
        masks: The file of each one's true mask, None for none.
    """

    dataset: Dataset
    indices: NDArray[np.int64]
    levels: NDArray[np.int64]
    groups: NDArray[np.int64]
    masks: tuple[Path | None, ...]

    @classmethod
    def of(cls, dataset: Dataset, part: str, manifest: Manifest) -> "Examined":
        """Returns a part of ``dataset``, which must hold its labels."""
        indices = dataset.parts[part]
        masks = tuple(manifest.samples[index].mask if dataset.has_mask[index] else None for index in indices)
        return cls(dataset, indices, dataset.levels[indices], dataset.groups[indices], masks)

    @property
    def segmented(self) -> NDArray[np.int64]:
        """The rows ``[M]`` of this part that have a true mask."""
        return np.array([row for row, mask in enumerate(self.masks) if mask is not None], np.int64)

    def true_mask(self, row: int) -> NDArray[np.bool_]:
        """Returns the true mask ``[H, W]`` of a row at its source's size.

        Raises:
            ValueError: it has none.
        """
        path = self.masks[row]
        if path is None:
            raise ValueError(f"expected an image with a mask, found row {row} without")
        return read_mask(path)


@dataclass(frozen=True, slots=True)
class SharedData:
    """A manifest that was checked, and where its decoded images and features are kept."""

    manifest: Manifest
    hashes: tuple[str | None, ...]
    blocks: tuple[Block, ...]
    cache: Path

    @classmethod
    def open(cls, manifest: Manifest, config: TrainConfig, cache: Path, *, reporter: Reporter) -> "SharedData":
        """Returns the data, checked at its first use.

        Raises:
            DataError: anything that ``semise data check`` calls an error, all of it at once; or more grades than a
                cell can hold.
        """
        if manifest.classes > MOST_GRADES:
            raise DataError(
                f"expected at most {MOST_GRADES} grades to compare on, found {manifest.classes}: merge some"
            )
        path = cache / f"{cache_key(manifest.samples, config.input.spec())}-{data_digest(manifest)[:16]}.json"
        try:
            known = tuple(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            known = checked_report(manifest, reporter=reporter).pixel_hashes
            write_text(path, json.dumps(known))
        return cls(manifest, known, tuple(blocks_of(manifest, known)), cache)

    def dataset(self, config: TrainConfig, *, reporter: Reporter) -> Dataset:
        """Returns the arrays of a cell's split, its test part included."""
        images = shared_cache(self.cache, self.manifest.samples, config.input.spec(), reporter=reporter)
        assignment = assign(self.manifest, config, blocks=self.blocks, pixel_hashes=self.hashes)
        dataset = build_dataset(self.manifest, assignment, images)
        return hide_labels(dataset, fraction=config.data.label_fraction, seed=config.split_seed)


def data_digest(manifest: Manifest) -> str:
    """Returns a sha256 of the images' names, sizes in bytes, levels, groups, masks and named splits.

    It does not depend on where the folder lies.
    """
    digest = hashlib.sha256()
    for sample in manifest.samples:
        mask = "" if sample.mask is None else sample.mask.name
        known = [manifest.name_of(sample), _bytes(sample.image), sample.severity, sample.group, mask, sample.split]
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def _bytes(path: Path) -> int:
    """Returns a file's size; -1 for one that is not there, which the check of the data will say."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def image_counts(dataset: Dataset) -> dict[str, object]:
    """Returns the images of each part by grade, and the unlabeled ones of the training part."""
    counts: dict[str, object] = {}
    for part in SPLIT_NAMES:
        per_level = Counter(dataset.levels[dataset.parts[part]].tolist())
        counts[part] = {label: per_level[level] for level, label in enumerate(dataset.labels)}
    return counts | {"unlabeled": len(dataset.unlabeled)}
