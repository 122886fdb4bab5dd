"""A JPEG whose scan is damaged is refused, whatever Pillow makes of it; a sound one gives Pillow's pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers import read_image
from semise_sdk.images.readers.pieces import SCAN, segments

PICTURE = np.random.default_rng(5).integers(0, 256, (96, 120, 4), dtype=np.uint8)
KINDS = {
    "grey": ("L", {}),
    "colour": ("RGB", {"quality": 90}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "4:2:2": ("RGB", {"subsampling": 1}),
    "RGB": ("RGB", {"keep_rgb": True}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive grey": ("L", {"progressive": True}),
    "progressive CMYK": ("CMYK", {"progressive": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 3}),
    "optimised": ("L", {"optimize": True}),
    "CMYK": ("CMYK", {}),
}


def jpeg(kind: str) -> bytes:
    mode, options = KINDS[kind]
    samples = PICTURE[:, :, : len(mode)]
    stream = io.BytesIO()
    Image.frombytes(mode, (120, 96), samples.tobytes()).save(stream, "JPEG", **options)
    return stream.getvalue()


def scans_of(data: bytes) -> int:
    """Returns where the data of the first scan begin."""
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_jpeg_gives_pillows_pixels(kind: str) -> None:
    data = jpeg(kind)
    image = Image.open(io.BytesIO(data))
    expected = np.asarray(image if image.mode != "CMYK" else image.convert("RGB"))
    record = read_image(data)
    np.testing.assert_array_equal(record.pixels, expected)
    assert "the image could not be checked for damage" not in record.notes


@pytest.mark.parametrize("kind", KINDS)
def test_scans_that_are_cut_and_closed_are_damaged(kind: str) -> None:
    data = jpeg(kind)
    scans = scans_of(data)
    cut = data[: scans + (len(data) - scans) // 5].rstrip(b"\xff")
    with pytest.raises(ImageReadError) as caught:
        read_image(cut + b"\xff\xd9")
    assert caught.value.code == "damaged"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_zeroed", [True, False])
def test_scans_of_which_a_third_is_zeroed_or_garbled_are_damaged(kind: str, is_zeroed: bool) -> None:
    data = jpeg(kind)
    third = (len(data) - scans_of(data)) // 3
    start = scans_of(data) + third
    garbled = np.random.default_rng(3).integers(0, 255, third, dtype=np.uint8).tobytes()
    with pytest.raises(ImageReadError) as caught:
        read_image(data[:start] + (bytes(third) if is_zeroed else garbled) + data[start + third :])
    assert caught.value.code == "damaged"


@pytest.mark.parametrize("kind", ["progressive", "progressive grey", "progressive CMYK"])
def test_a_progressive_jpeg_without_its_last_scans_is_truncated(kind: str) -> None:
    data = jpeg(kind)
    starts = [start for marker, start, _ in segments(data) if marker == SCAN]
    assert len(starts) > 2
    for start in starts[1:]:
        with pytest.raises(ImageReadError) as caught:
            read_image(data[:start] + b"\xff\xd9")
        assert caught.value.code == "truncated"


def test_a_file_that_is_cut_short_is_still_said_to_be_truncated() -> None:
    data = jpeg("colour")
    with pytest.raises(ImageReadError) as caught:
        read_image(data[: len(data) // 2])
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("where", ["before the tables", "after the end"])
def test_stray_bytes_outside_the_scans_are_no_damage(where: str) -> None:
    data = jpeg("colour")
    whole = read_image(data)
    start = data.index(b"\xff\xdb")
    stray = data[:start] + b"stray" + data[start:] if where == "before the tables" else data + b"stray"
    np.testing.assert_array_equal(read_image(stray).pixels, whole.pixels)
    assert read_image(stray).notes == ()


def test_a_damaged_profile_is_no_damage_of_the_image() -> None:
    data = jpeg("colour")
    profile = b"\xff\xe2\x00\x12ICC_PROFILE\0\x05\x01ab"
    np.testing.assert_array_equal(read_image(data[:2] + profile + data[2:]).pixels, read_image(data).pixels)


def test_a_jpeg_that_cannot_be_checked_is_read_with_a_note() -> None:
    data = bytearray(jpeg("RGB"))
    frame = data.index(b"\xff\xc0")
    for component, sampling in enumerate((0x14, 0x12, 0x11)):
        data[frame + 11 + 3 * component] = sampling  # a subsampling without a name; the blocks of a unit stay few
    record = read_image(bytes(data))
    assert record.notes == ("the image could not be checked for damage",)
    np.testing.assert_array_equal(record.pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(
    ("marker", "precision", "found"),
    [(0xC3, 12, "lossless JPEG of 12 bits"), (0xC3, 16, "lossless JPEG of 16 bits"), (0xC1, 12, "JPEG of 12 bits")],
)
def test_a_process_that_is_not_read_is_not_called_damage(marker: int, precision: int, found: str) -> None:
    data = bytearray(jpeg("grey"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, precision
    with pytest.raises(ImageReadError, match=found) as caught:
        read_image(bytes(data))
    assert caught.value.code == "unsupported_format"
