"""The images of the figure of masks: drawn by lot before any answer is known, and what each system makes of them."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.images.postprocess import sigmoid
from semise_sdk.images.preprocess import geometry_for, mask_to_source
from semise_sdk.reports.overlay import encode_png
from semise_sdk.spec import InputSpec
from semise_sdk.system.atomic import write_bytes, write_text
from semise_training.compare.compute.downstream import mask_logits
from semise_training.compare.compute.shared import Examined
from semise_training.network.device import Compute
from semise_training.network.model import TrainingModel
from semise_training.seeds import derived_seed

MOST = 6
LONGEST_SIDE = 128


def choose_examples(part: Examined, *, classes: int, seed: int) -> NDArray[np.int64]:
    """Returns at most 6 rows of a part, drawn among its images with a mask: two of each grade, or one of many grades.

    Only the split and the seed decide, never what a system answered.
    """
    per_grade = 2 if 2 * classes <= MOST else 1
    random = np.random.default_rng(derived_seed(seed, "examples"))
    chosen: list[int] = []
    for level in range(classes):
        candidates = part.segmented[part.levels[part.segmented] == level]
        chosen += random.permutation(candidates)[:per_grade].tolist()
    return np.array(chosen[:MOST], np.int64)


def draw_examples(part: Examined, rows: NDArray[np.int64], folder: Path, spec: InputSpec) -> None:
    """Writes ``image_<i>.png``, ``mask_<i>.png`` and ``levels.json`` of the images in ``rows``."""
    for place, row in enumerate(rows):
        truth = part.true_mask(int(row))
        geometry = geometry_for(truth.shape[0], truth.shape[1], spec)
        canvas = part.dataset.canvases[part.indices[row]]
        window = canvas[geometry.top : geometry.top + geometry.height, geometry.left : geometry.left + geometry.width]
        _write(folder / f"image_{place}.png", np.ascontiguousarray(window))
        _write(folder / f"mask_{place}.png", np.where(truth, np.uint8(255), np.uint8(0)))
    write_text(folder / "levels.json", json.dumps(part.levels[rows].tolist()))


def draw_maps(
    model: TrainingModel,
    part: Examined,
    rows: NDArray[np.int64],
    folder: Path,
    spec: InputSpec,
    *,
    compute: Compute,
) -> None:
    """Writes ``map_<i>.png``: the U-Net's probability of lesion on each image in ``rows``, 0 to 255."""
    if not len(rows):
        return
    logits = mask_logits(model, part, rows, compute.full_precision())
    for place, (row, own) in enumerate(zip(rows, logits, strict=True)):
        height, width = part.true_mask(int(row)).shape
        geometry = geometry_for(height, width, spec)
        _write(folder / f"map_{place}.png", np.rint(255 * mask_to_source(sigmoid(own), geometry)).astype(np.uint8))


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    write_bytes(path, encode_png(np.asarray(image)))
