"""The images of a run as arrays: canvases, masks, levels and who is in which part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import DataError
from semise_sdk.spec import SPLIT_NAMES
from semise_training.data.cache import ImageCache
from semise_training.data.manifest import Manifest

UNLABELED = -1


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything that a stage of training reads.

    Args:
        canvases: uint8 ``[N, H, W, 3]``.
        masks: uint8 ``[N, H, W]`` of 0 and 255.
        has_mask: bool ``[N]``.
        levels: severity ``[N]``, -1 where unlabeled.
        groups: group number ``[N]``.
        parts: indices of the labeled images of ``train, val, test, calibration``.
        unlabeled: indices of the unlabeled images of the training part.
        labels: grade names in severity order.
    """

    canvases: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    has_mask: NDArray[np.bool_]
    levels: NDArray[np.int64]
    groups: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.int64]]
    unlabeled: NDArray[np.int64]
    labels: tuple[str, ...]

    @property
    def classes(self) -> int:
        """K, the number of severity grades."""
        return len(self.labels)

    def healthy(self, part: str) -> NDArray[np.int64]:
        """Returns the indices of a part's images of level 0."""
        indices = self.parts[part]
        return np.asarray(indices[self.levels[indices] == 0])

    def masked(self, part: str) -> NDArray[np.int64]:
        """Returns the indices of a part's images that have a mask."""
        indices = self.parts[part]
        return np.asarray(indices[self.has_mask[indices]])


def build_dataset(manifest: Manifest, assignment: Sequence[str], cache: ImageCache) -> Dataset:
    """Returns the arrays of a manifest whose samples are assigned, one part each in order.

    Raises:
        DataError: no healthy image to train against.
    """
    levels = np.array([UNLABELED if s.severity is None else s.severity for s in manifest.samples], np.int64)
    _, groups = np.unique([sample.group for sample in manifest.samples], return_inverse=True)
    named = np.array(assignment)
    labeled = levels != UNLABELED
    parts = {part: np.flatnonzero(labeled & (named == part)) for part in SPLIT_NAMES}
    dataset = Dataset(
        canvases=cache.canvases,
        masks=cache.masks,
        has_mask=np.array([sample.mask is not None for sample in manifest.samples]),
        levels=levels,
        groups=groups.astype(np.int64),
        parts=parts,
        unlabeled=np.flatnonzero(~labeled & (named == "train")),
        labels=manifest.labels,
    )
    if not len(dataset.healthy("train")) or not len(dataset.healthy("val")):
        raise DataError("expected healthy images (severity 0) in the training and the validation part, found none")
    return dataset
