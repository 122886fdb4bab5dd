"""Fingerprints: identical pixels, and near-duplicates against a brute-force search with imagehash's own distance."""

import subprocess
import sys
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.images.record import ImageRecord, Pixels
from semise_training.data.checks.fingerprints import Fingerprint, fingerprint, near_duplicate_sets, pixel_hash
from semise_training.data.splits.connected import connected

REPOSITORY = Path(__file__).resolve().parents[4]


def record(pixels: Pixels, bits: int = 8) -> ImageRecord:
    return ImageRecord(pixels=pixels, bits=bits, source="<array>", format="array")


def picture(seed: int, side: int = 96) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def flipped(one: Fingerprint, gradient_bits: int, frequency_bits: int) -> Fingerprint:
    """Returns a fingerprint that differs from ``one`` in so many bits."""

    def flip(bits: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
        mask = np.zeros(256, dtype=np.uint8)
        mask[:count] = 1
        return bits ^ np.packbits(mask).view(np.uint64)

    changed = flip(one.gradients, gradient_bits), flip(one.frequencies, frequency_bits)
    return Fingerprint("other", *changed, one.height, one.width)


def test_grey_and_the_same_grey_stored_as_rgb_are_the_same_pixels() -> None:
    grey = picture(1)
    assert pixel_hash(record(grey)) == pixel_hash(record(np.stack([grey] * 3, axis=2)))


def test_one_level_of_one_channel_changes_the_pixel_hash() -> None:
    colour = np.stack([picture(1)] * 3, axis=2)
    touched = colour.copy()
    touched[5, 7, 2] ^= 1
    assert pixel_hash(record(colour)) != pixel_hash(record(touched))


def test_shape_and_depth_are_part_of_the_pixel_hash() -> None:
    flat = np.zeros((4, 8), dtype=np.uint8)
    deep = np.zeros((4, 4), dtype=np.uint16)
    hashes = {pixel_hash(record(flat)), pixel_hash(record(flat.reshape(8, 4))), pixel_hash(record(deep, 16))}
    assert len(hashes) == 3


def test_hashes_are_those_of_imagehash() -> None:
    pixels = picture(3)
    found = fingerprint(record(pixels))
    image = Image.fromarray(pixels)
    for packed, expected in (
        (found.gradients, imagehash.dhash(image, 16)),
        (found.frequencies, imagehash.phash(image, 16)),
    ):
        assert np.array_equal(np.unpackbits(packed.view(np.uint8)), expected.hash.reshape(-1))
    assert (found.height, found.width) == (96, 96)


def test_depth_does_not_change_what_looks_alike() -> None:
    pixels = picture(4)
    deep = record(pixels.astype(np.uint16) * 257, 16)
    real = record((pixels / 1000 - 5).astype(np.float32), 0)
    assert near_duplicate_sets([fingerprint(record(pixels)), fingerprint(deep), fingerprint(real)]) == [(0, 1, 2)]


def test_non_finite_pixels_still_have_a_fingerprint() -> None:
    pixels = picture(4).astype(np.float32)
    pixels[:2] = [[np.nan], [np.inf]]
    assert fingerprint(record(pixels, 0)).gradients.shape == (4,)


def test_flat_images_look_alike_whatever_their_depth() -> None:
    flat = [record(np.zeros((9, 9), np.uint8)), record(np.full((9, 9), 700, np.uint16), 12)]
    assert near_duplicate_sets([fingerprint(one) for one in flat]) == [(0, 1)]


def test_the_bounds_of_both_hashes_are_inclusive() -> None:
    one = fingerprint(record(picture(5)))
    assert near_duplicate_sets([one, flipped(one, 40, 56)]) == [(0, 1)]
    assert near_duplicate_sets([one, flipped(one, 41, 0)]) == []
    assert near_duplicate_sets([one, flipped(one, 0, 57)]) == []


def test_sets_are_what_pairs_connect() -> None:
    one = fingerprint(record(picture(6)))
    chain = [one, fingerprint(record(picture(7))), flipped(one, 30, 0), flipped(one, 60, 0)]
    assert near_duplicate_sets(chain) == [(0, 2, 3)]


def test_sets_agree_with_a_brute_force_search() -> None:
    originals = [picture(seed) for seed in range(40)]
    noise = np.random.default_rng(0)
    edited = [np.clip(p + noise.normal(0, 4, p.shape), 0, 255).astype(np.uint8) for p in originals[:15]]
    records = [record(pixels) for pixels in [*originals, *edited, originals[3], originals[20]]]
    images = [Image.fromarray(one.pixels) for one in records]
    gradients = [imagehash.dhash(image, 16) for image in images]
    frequencies = [imagehash.phash(image, 16) for image in images]
    sets = {index: {index} for index in range(len(images))}
    for left in range(len(images)):
        for right in range(left):
            if gradients[left] - gradients[right] <= 40 and frequencies[left] - frequencies[right] <= 56:
                merged = sets[left] | sets[right]
                for member in merged:
                    sets[member] = merged
    expected = sorted({tuple(sorted(members)) for members in sets.values() if len(members) > 1})
    assert len(expected) >= 15
    assert near_duplicate_sets([fingerprint(one) for one in records]) == expected


def test_many_images_are_compared_across_blocks() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, (700, 8), dtype=np.uint64)
    words[650] = words[10]
    words[300] = words[11] ^ np.uint64(0b1011)
    prints = [Fingerprint(str(row), word[:4], word[4:], 1, 1) for row, word in enumerate(words)]
    assert near_duplicate_sets(prints) == [(10, 650), (11, 300)]


def test_no_image_and_one_image_make_no_set() -> None:
    assert near_duplicate_sets([]) == []
    assert near_duplicate_sets([fingerprint(record(picture(1)))]) == []


def test_connected_without_pairs_keeps_everything_apart() -> None:
    assert connected(3, [], []).tolist() == [0, 1, 2]


def test_the_data_side_starts_without_torch() -> None:
    modules = ", ".join(
        f"semise_training.data.{name}" for name in ("checks.check", "splits.leakage", "splits.split_file")
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    path = f"{REPOSITORY}:{REPOSITORY / 'training'}"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=False).returncode == 0
