"""What tells that two images are the same: a hash of the pixels, and perceptual hashes for near-duplicates."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.images.record import ImageRecord
from semise_training.data.splits.connected import connected

HASH_SIDE = 16
MAX_GRADIENT_DISTANCE = 40
# Gradients alone call 98 of 169 different eyes near-duplicates (hei_med: the same bright disc on black); with this
# second bound 22 remain, and all 315 near-duplicates of busi are still found.
MAX_FREQUENCY_DISTANCE = 56

_BLOCK_ROWS = 128

Bits = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What is kept of a decoded image.

    Args:
        pixels: sha256 of the decoded pixels, their shape and type; equal for a grey image and the same stored as RGB.
        gradients: dHash of 256 bits, ``uint64 [4]``.
        frequencies: pHash of 256 bits, ``uint64 [4]``.
        height: Upright height in pixels.
        width: Upright width in pixels.
    """

    pixels: str
    gradients: Bits
    frequencies: Bits
    height: int
    width: int


def fingerprint(record: ImageRecord) -> Fingerprint:
    """Returns the fingerprint of one decoded image."""
    grey = _grey(record)
    return Fingerprint(
        pixels=pixel_hash(record),
        gradients=_packed(imagehash.dhash(grey, HASH_SIDE).hash),
        frequencies=_packed(imagehash.phash(grey, HASH_SIDE).hash),
        height=record.height,
        width=record.width,
    )


def pixel_hash(record: ImageRecord) -> str:
    """Returns the sha256 of the decoded pixels with their shape and type.

    An RGB image whose channels are equal counts as the grey image that it shows.
    """
    pixels = record.pixels
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def near_duplicate_sets(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, ...]]:
    """Returns the sets of images that look alike, as ascending indices; each image is in at most one set.

    Two images look alike when their 256-bit dHashes differ in at most 40 bits and their 256-bit pHashes in at most
    56; a set is what such pairs connect.
    """
    if not fingerprints:
        return []
    hashes = np.array([np.concatenate([one.gradients, one.frequencies]) for one in fingerprints])
    distinct, which = np.unique(hashes, axis=0, return_inverse=True)
    left, right = _close_pairs(distinct)
    return _members(connected(len(distinct), left, right)[which.reshape(-1)])


def _members(set_of: NDArray[np.int32]) -> list[tuple[int, ...]]:
    order = np.argsort(set_of, kind="stable")
    cuts = np.flatnonzero(np.diff(set_of[order])) + 1
    sets = [tuple(int(index) for index in members) for members in np.split(order, cuts) if len(members) > 1]
    return sorted(sets)


def _close_pairs(hashes: Bits) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the index pairs i < j of ``hashes [n, 8]`` that look alike."""
    lefts: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    rights: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    for start in range(0, len(hashes), _BLOCK_ROWS):
        block = hashes[start : start + _BLOCK_ROWS]
        left, right = np.nonzero(_distances(block[:, :4], hashes[start:, :4]) <= MAX_GRADIENT_DISTANCE)
        left, right = (side[left < right] + start for side in (left, right))
        frequency = np.bitwise_count(hashes[left, 4:] ^ hashes[right, 4:]).sum(axis=1)
        close = frequency <= MAX_FREQUENCY_DISTANCE
        lefts.append(left[close])
        rights.append(right[close])
    return np.concatenate(lefts), np.concatenate(rights)


def _distances(rows: Bits, columns: Bits) -> NDArray[np.uint16]:
    """Returns Hamming distances ``[len(rows), len(columns)]``, a word at a time to keep the temporaries small."""
    distances = np.zeros((len(rows), len(columns)), dtype=np.uint16)
    for word in range(rows.shape[1]):
        distances += np.bitwise_count(rows[:, word, None] ^ columns[None, :, word])
    return distances


def _packed(bits: NDArray[np.bool_]) -> Bits:
    return np.packbits(bits).view(np.uint64)


def _grey(record: ImageRecord) -> Image.Image:
    """Returns an 8-bit grey picture to hash; deeper pixels are stretched, since only gradients and order count."""
    pixels = record.brightness
    if pixels.dtype != np.uint8:
        values = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
        values -= values.min()
        # A flat image has no range to stretch, and below float32's smallest a range is rounding.
        stretch = 255.0 / max(values.max(), float(np.finfo(np.float32).tiny))
        pixels = np.round(values * stretch).astype(np.uint8)
    return Image.fromarray(pixels).convert("L")
