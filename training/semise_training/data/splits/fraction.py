"""Fewer labels: which training images keep theirs, so that learning from the rest unlabeled can be measured."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from semise_training.data.dataset import UNLABELED, Dataset
from semise_training.seeds import derived_seed

LEAST_PER_CLASS = 2


def hide_labels(dataset: Dataset, *, fraction: float, seed: int) -> Dataset:
    """Returns the data with the labels and masks of a share of the training images hidden; they become unlabeled.

    Each grade keeps ``fraction`` of its labels, rounded, and 2 at least. With one seed the labels of a smaller fraction
    are among those of a larger one. Validation, test and calibration keep theirs.

    Args:
        dataset: The data, as split.
        fraction: Share of the training labels that stay, above 0 to 1.
        seed: The draw.
    """
    if fraction >= 1:
        return dataset
    train = dataset.parts["train"]
    kept = np.sort(np.concatenate([_kept(members, fraction, seed) for members in _by_level(dataset, train)]))
    hidden = np.setdiff1d(train, kept)
    levels, has_mask = dataset.levels.copy(), dataset.has_mask.copy()
    levels[hidden], has_mask[hidden] = UNLABELED, False
    return dataclasses.replace(
        dataset,
        levels=levels,
        has_mask=has_mask,
        parts={**dataset.parts, "train": kept},
        unlabeled=np.union1d(dataset.unlabeled, hidden),
    )


def _by_level(dataset: Dataset, indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    levels = dataset.levels[indices]
    return [indices[levels == level] for level in np.unique(levels)]


def _kept(members: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng(derived_seed(seed, "labels kept")).permutation(members)
    return order[: max(LEAST_PER_CLASS, round(fraction * len(members)))]
