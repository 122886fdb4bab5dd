"""Runs a model over labelled images, through the same pipeline as any other image, and gathers what it said."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import DataError
from semise_sdk.metrics.evaluation import Observations, mask_counts
from semise_sdk.results import Analysis

ReadMask = Callable[[Path], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledImage:
    """An image with its truth: the severity level, the group that resampling keeps whole, and perhaps a mask."""

    image: Path
    level: int
    group: str
    mask: Path | None = None


def gather(
    images: Sequence[LabeledImage], answers: Iterable[Analysis], *, num_classes: int, read_mask: ReadMask
) -> Observations:
    """Returns the observations of ``answers``, which are the model's for ``images`` in order.

    Masks are compared one image at a time at the source's size, so memory does not grow with them.

    Raises:
        DataError: an image could not be read, or a mask is not of its image's size; a figure over the rest would not
            be of the data asked for.
    """
    severities, probabilities, counts, mask_groups = [], [], [], []
    for image, answer in zip(images, answers, strict=True):
        if answer.severity is None:
            raise DataError(f"could not evaluate {image.image}: {answer.reason}; correct the file or leave it out")
        severities.append(answer.severity)
        probabilities.append(answer.probabilities)
        if image.mask is not None and answer.mask is not None:
            counts.append(_compare(answer.mask > 0, read_mask(image.mask), image))
            mask_groups.append(image.group)
    has_classifier = any(probabilities)
    return Observations(
        levels=np.array([image.level for image in images], np.int64),
        groups=[image.group for image in images],
        num_classes=num_classes,
        severity=np.array(severities),
        probabilities=np.array(probabilities) if has_classifier else None,
        mask_counts=np.array(counts, np.int64) if counts else None,
        mask_groups=mask_groups,
    )


def _compare(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], image: LabeledImage) -> tuple[int, int, int]:
    if predicted.shape != truth.shape:
        raise DataError(
            f"expected the mask {image.mask} at its image's {predicted.shape[1]}x{predicted.shape[0]} pixels, "
            f"found {truth.shape[1]}x{truth.shape[0]}: correct the mask"
        )
    return mask_counts(predicted, truth)
