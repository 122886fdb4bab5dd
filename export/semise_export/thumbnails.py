"""Thumbnails of the healthy references, put into a bundle only where its exporter asks: they are patient pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_export.run import TrainedRun
from semise_sdk.bundle import reference_picture
from semise_sdk.errors import DataError
from semise_sdk.predictor import Predictor
from semise_sdk.reports.overlay import encode_png
from semise_sdk.system.atomic import write_bytes

SIDE = 96
SAME = 1e-3
"""Largest cosine distance at which an image counts as the one that a reference was made of: room for the rounding of
another device, and for near-duplicates, which look the same."""


def write_reference_thumbnails(run: TrainedRun, folder: Path) -> int:
    """Writes a PNG of at most 96 pixels a side for each reference of the run's bank; returns how many.

    Which image a reference was made of, the bank does not say: the run's healthy training images are passed through
    the network again, and each reference takes the one that gives its vector.

    Raises:
        DataError: an image is missing, or a reference is of none of them.
        OutputError: a file could not be written.
    """
    images = _healthy_images(run)
    with Predictor.open(run.root, backend="pytorch", device="cpu", isolate=False) as predictor:
        places = _sources(predictor.reference_bank().vectors, predictor.reference_bank(images).vectors)
        for index, place in enumerate(places):
            picture = encode_png(_thumbnail(predictor.display(images[place])), "Healthy reference.")
            write_bytes(folder / reference_picture(index), picture)
    return len(places)


def _healthy_images(run: TrainedRun) -> list[Path]:
    images = [row.image for row in run.rows if row.part == "train" and row.label == run.model.labels[0]]
    missing = [image for image in images if not image.is_file()]
    if missing or not images:
        raise DataError(
            f"expected the run's healthy training images for thumbnails, found {len(missing)} of {len(images)} "
            f"missing: make the data available where {run.manifest} lies, or export without --reference-thumbnails",
            problems=[f"{image} is missing" for image in missing],
        )
    return images


def _sources(bank: NDArray[np.float32], found: NDArray[np.float32]) -> Sequence[int]:
    """Returns which row of ``found [M, D]`` each row of ``bank [N, D]`` was made of."""
    units = [rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True) for rows in (bank, found)]
    similarity = units[0] @ units[1].T
    unknown = np.flatnonzero(similarity.max(axis=1) < 1 - SAME)
    if unknown.size:
        raise DataError(
            f"expected every reference to be one of the run's healthy training images, found {unknown.size} of "
            f"{len(bank)} that are none: were the images changed since? Export without --reference-thumbnails"
        )
    return [int(place) for place in similarity.argmax(axis=1)]


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)
