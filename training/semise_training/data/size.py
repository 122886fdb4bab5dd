"""How many images a run learns from: what the length of its epochs follows from."""

from dataclasses import dataclass

import numpy as np

from semise_training.data.dataset import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSize:
    """The size of a training part.

    Args:
        train_images: Number of labeled images.
        unlabeled_images: Number of images without a label.
        images_per_level: Number of labeled images of each severity level, healthy first; empty where unknown.
    """

    train_images: int
    unlabeled_images: int = 0
    images_per_level: tuple[int, ...] = ()


def size_of(dataset: Dataset) -> DataSize:
    """Returns the size of the training part of ``dataset``."""
    train = dataset.parts["train"]
    per_level = np.bincount(dataset.levels[train], minlength=dataset.classes)
    return DataSize(
        train_images=len(train), unlabeled_images=len(dataset.unlabeled), images_per_level=tuple(per_level.tolist())
    )
