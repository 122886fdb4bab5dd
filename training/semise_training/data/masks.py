"""Lesion masks: what of a mask file counts as lesion."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.images.readers import read_image
from semise_sdk.images.readers.raster import EMPTY_ALPHA_NOTE
from semise_sdk.images.record import ImageRecord, Pixels


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Returns the lesion of a mask file, ``[H, W]`` upright; raises ImageReadError."""
    return lesion(read_image(path))


def lesion(record: ImageRecord) -> NDArray[np.bool_]:
    """Returns where a mask image is lesion, ``[H, W]``: above half of its own maximum, in any channel.

    Masks of 0 and 1, of 0 and 255 and soft ones all read alike; an all-zero mask has no lesion.
    """
    plane = _plane(record)
    return plane > max(0.0, float(plane.max()) / 2)


def is_binary(record: ImageRecord) -> bool:
    """Returns True when a mask image holds at most two values."""
    plane = _plane(record)
    return bool(((plane == plane.min()) | (plane == plane.max())).all())


def _plane(record: ImageRecord) -> Pixels:
    if EMPTY_ALPHA_NOTE in record.notes:  # an image is opaque then, but a mask whose alpha draws nothing is empty
        return np.zeros(record.pixels.shape[:2], np.uint8)
    return record.pixels.max(axis=2) if record.pixels.ndim == 3 else record.brightness
