"""Which images a model learned from, as hashes: nobody is to calibrate on images that the model has seen."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from semise_sdk.errors import BundleError

TRAINING_IMAGES = "training_images.safetensors"

_HASHES = "hashes"


def canvas_hash(pixels: NDArray[np.uint8]) -> int:
    """Returns 64 bits of the sha256 of what the network sees of an image, ``uint8 [H, W, 3]``."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(pixels).data).digest()[:8], "little")


def save_training_hashes(canvases: Iterable[NDArray[np.uint8]]) -> bytes:
    """Returns the content of ``training_images.safetensors``: no pixel, and no image that looks alike, is in it."""
    hashes = sorted({canvas_hash(pixels) for pixels in canvases})
    return save({_HASHES: np.array(hashes, np.uint64)})


def load_training_hashes(content: bytes) -> frozenset[int]:
    """Returns the hashes in such a file; raises BundleError where it is damaged."""
    try:
        hashes = load(content)[_HASHES]
    except (SafetensorError, KeyError) as error:
        raise BundleError(f"expected hashes in {TRAINING_IMAGES}, found {error!r}: get the bundle again") from error
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise BundleError(
            f"expected uint64 hashes in {TRAINING_IMAGES}, found {hashes.dtype} {hashes.shape}: get the bundle again"
        )
    return frozenset(hashes.tolist())
