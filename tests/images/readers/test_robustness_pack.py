"""979 damaged, odd and hostile files: each is read or refused with a code, and the outcome is what Pillow can do."""

import csv
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import find_images, read_image
from semise_sdk.spec import InputSpec

PACK = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "robustness"
READ = {"pillow_tests": 149, "pngsuite": 156, "jpeg_bugs": 32, "fuzz": 50}
DAMAGED_SCANS = {
    "fuzz/jpeg_full__id_001014_src_000266_op_arith8_pos_310_val_-19.jpg": "34 extraneous bytes",
    "fuzz/jpeg_full__id_001846_src_000746_op_arith16_pos_224_val_-17.jpg": "bad Huffman code",
    "fuzz/jpeg_full__id_005023_sync_jpeg_turbo_src_003768.jpg": "1 extraneous bytes",
    "fuzz/jpeg_full__id_005070_sync_jpeg_turbo_src_003847.jpg": "bad arithmetic code",
    "fuzz/jpeg_turbo_full__id_000281_src_000000_op_arith8_pos_166_val_-28_+cov.jpg": "35 extraneous bytes",
    "fuzz/jpeg_turbo_full__id_000353_src_000000_op_int8_pos_382_val_-1.jpg": "premature end of data segment",
    "fuzz/jpeg_turbo_full__id_001317_sync_jpeg9_src_001859.jpg": "bad Huffman code",
    "jpeg_bugs/mozilla_891693_CVE-2013-6629_CVE-2013-6630__turbo-dht.jpg": "bad Huffman code",
}
"""Decoded by Pillow without a word, though libjpeg warns of their scans."""
NOT_EIGHT_BITS = {"jpeg_bugs": 215}
"""Lossless and 12-bit JPEG, sound and not read."""
EXCLUDED_FORMATS = {"pillow_tests": {"GIF": 19, "PPM": 4, "JPEG2000": 3}, "fuzz": {"GIF": 13}}
SIGNED = {"pillow_tests/16_bit_binary_pgm.tiff", "pillow_tests/16bit.s.tif"}
"""Read as int32, for which the policy full_range is refused: see the last test."""
SPEC = InputSpec(height=64, width=64)

pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(not PACK.is_dir(), reason="needs the image packs at ../shared"),
]


@cache
def manifest(subpack: str) -> tuple[dict[str, str], ...]:
    with (PACK / "manifest.csv").open(newline="") as stream:
        return tuple(row for row in csv.DictReader(stream) if row["kind"] == subpack)


def outcome(path: Path) -> str:
    try:
        canvas = to_canvas(read_image(path), SPEC)
    except ImageReadError as error:
        return error.code
    assert canvas.pixels.shape == (64, 64, 3)
    return "ok"


def difference(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


@pytest.mark.parametrize("subpack", READ)
def test_outcomes_are_pillows_but_for_excluded_formats(subpack: str) -> None:
    outcomes = {row["file"]: outcome(PACK / row["file"]) for row in manifest(subpack)}
    if int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("the manifest's outcomes are those of Pillow 13; no other error escaped")
    excluded: Counter[str] = Counter()
    unsupported: Counter[str] = Counter()
    for row in manifest(subpack):
        found = outcomes[row["file"]]
        if row["decodes"] != "ok" and found == "unsupported_format":
            unsupported[row["kind"]] += 1
        elif row["decodes"] != "ok" or row["file"] in DAMAGED_SCANS:
            assert found in ("damaged", "truncated", "not_an_image"), row["file"]
        elif row["file"] in SIGNED:
            assert found == "no_full_range", row["file"]
        elif found != "ok":
            assert found == "not_an_image", row["file"]
            excluded[row["format"]] += 1
    assert list(outcomes.values()).count("ok") == READ[subpack]
    assert excluded == EXCLUDED_FORMATS.get(subpack, {})
    assert unsupported[subpack] == NOT_EIGHT_BITS.get(subpack, 0)


@pytest.mark.parametrize("file", DAMAGED_SCANS)
def test_a_damaged_scan_is_refused_with_the_warning_of_libjpeg(file: str) -> None:
    with pytest.raises(ImageReadError, match=DAMAGED_SCANS[file]) as caught:
        read_image(PACK / file)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize("subpack", READ)
def test_every_file_is_found(subpack: str) -> None:
    found = {f"{subpack}/{image.file}" for image in find_images(PACK / subpack)}
    assert found == {row["file"] for row in manifest(subpack)}


def test_signed_images_go_through_another_policy() -> None:
    spec = InputSpec(height=64, width=64, intensity="percentile(0,100)")
    for file in SIGNED:
        record = read_image(PACK / file)
        assert (record.pixels.dtype.name, record.bits) == ("int32", 32)
        assert to_canvas(record, spec).pixels.max() >= 250


def test_orientations_and_their_reference() -> None:
    """The pack holds one picture in orientations 2 to 8; upright, all show the same."""
    folder = PACK / "pillow_tests"
    for kind in ("jpg", "webp"):
        upright = [read_image(folder / f"hopper_orientation_{n}.{kind}").pixels for n in range(2, 9)]
        assert max(difference(other, upright[0]) for other in upright) < 6
    bilevel = [read_image(folder / f"g4_orientation_{n}.tif").pixels for n in range(1, 9)]
    assert max(difference(other, bilevel[0]) for other in bilevel) < 0.7  # Pillow's own tolerance for these files


def test_cmyk_jpeg_of_photoshop_is_not_inverted() -> None:
    plain = read_image(PACK / "pillow_tests" / "pil_sample_cmyk.jpg").pixels
    tiled = read_image(PACK / "pillow_tests" / "tiff_tiled_cmyk_jpeg.tif").pixels
    assert difference(plain, tiled) < 1
