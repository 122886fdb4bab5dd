"""Of a TIFF of several pictures the whole one is read, and camera raw is named."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers import read_image, tiff

THUMBNAIL = np.full((2, 3, 3), 9, np.uint8)
WHOLE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
Picture = tuple[NDArray[np.generic], dict[int, int]]


RGB_AND_MORE = np.arange(4 * 6 * 4, dtype=np.uint8).reshape(4, 6, 4)


def tiff_of(*pages: Picture, children: tuple[Picture, ...] = (), order: str = "<", big: bool = False) -> bytes:
    """Returns a TIFF of these pages, the children those of the first; a picture's tags replace the usual ones."""
    offset, entry = (order + "Q", order + "HHQ") if big else (order + "I", order + "HHI")
    room = struct.calcsize(offset)
    data = bytearray(b"II" if order == "<" else b"MM")
    data += struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)

    def packed(kind: str, *values: int) -> bytes:
        raw = struct.pack(order + kind * len(values), *values)
        if len(raw) <= room:
            return raw.ljust(room, b"\0")
        data.extend(raw)
        return struct.pack(offset, len(data) - len(raw))

    def append(picture: Picture, link: int, inner: tuple[int, ...]) -> int:
        pixels, extra = picture
        strip = len(data)
        data.extend(pixels.tobytes())
        samples, bits = 1 if pixels.ndim == 2 else pixels.shape[2], pixels.dtype.itemsize * 8
        tags: dict[int, int] = {256: pixels.shape[1], 257: pixels.shape[0], 259: 1, 262: 2 if samples > 2 else 1}
        tags |= {273: strip, 277: samples, 278: pixels.shape[0], 279: pixels.nbytes, 284: 1} | extra
        entries = {tag: (4, 1, packed("I", value)) for tag, value in tags.items()}
        entries[258] = (3, samples, packed("H", *[bits] * samples))
        if inner:
            entries[330] = (4, len(inner), packed("I", *inner))
        data.extend(b"\0" * (len(data) % 2))
        place = len(data)
        data.extend(struct.pack(order + ("Q" if big else "H"), len(entries)))
        for tag, (kind, count, value) in sorted(entries.items()):
            data.extend(struct.pack(entry, tag, kind, count) + value)
        data.extend(bytes(room))
        struct.pack_into(offset, data, link, place)
        return place

    inner = tuple(append(child, 8 if big else 4, ()) for child in children)
    link = 8 if big else 4
    for number, page in enumerate(pages):
        append(page, link, () if number else inner)
        link = len(data) - room
    return bytes(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_child", [False, True])
@pytest.mark.parametrize("reduced", [{254: 1}, {254: 4}, {254: 65537}, {255: 2}])
def test_the_whole_picture_is_read_and_not_its_thumbnail(order: str, is_child: bool, reduced: dict[int, int]) -> None:
    first, second = (THUMBNAIL, reduced), (WHOLE, {254: 0})
    data = tiff_of(first, children=(second,), order=order) if is_child else tiff_of(first, second, order=order)
    record = read_image(data)
    np.testing.assert_array_equal(record.pixels, WHOLE)
    assert record.notes == ("the first picture, 3 x 2, is a reduced copy or a mask; 6 x 4 is read",)


def test_the_whole_picture_of_a_big_tiff_is_read() -> None:
    np.testing.assert_array_equal(read_image(tiff_of((THUMBNAIL, {254: 1}), (WHOLE, {}), big=True)).pixels, WHOLE)


def test_the_largest_of_several_whole_pictures_is_read() -> None:
    data = tiff_of((THUMBNAIL, {254: 1}), (THUMBNAIL[:1], {}), children=((WHOLE, {}),))
    np.testing.assert_array_equal(read_image(data).pixels, WHOLE)


def test_the_orientation_of_the_first_directory_turns_the_whole_picture_too() -> None:
    data = tiff_of((THUMBNAIL, {254: 1, 274: 6}), children=((WHOLE, {}),))
    record = read_image(data)
    np.testing.assert_array_equal(record.pixels, np.rot90(WHOLE, -1))
    assert "EXIF orientation 6 applied" in record.notes
    own = read_image(tiff_of((THUMBNAIL, {254: 1, 274: 6}), children=((WHOLE, {274: 3}),)))
    np.testing.assert_array_equal(own.pixels, np.rot90(WHOLE, 2))


def test_a_first_picture_that_is_whole_is_read_and_a_larger_one_is_told_of() -> None:
    small = read_image(tiff_of((THUMBNAIL, {}), (WHOLE, {})))
    np.testing.assert_array_equal(small.pixels, THUMBNAIL)
    assert small.notes == ("frame 1 of several", "a later picture of the file is larger, 6 x 4")
    pyramid = read_image(tiff_of((WHOLE, {}), (THUMBNAIL, {254: 1})))
    np.testing.assert_array_equal(pyramid.pixels, WHOLE)
    assert pyramid.notes == ("frame 1 of several",)


def test_a_reduced_copy_alone_is_read_and_said_to_be_one() -> None:
    record = read_image(tiff_of((THUMBNAIL, {254: 1})))
    np.testing.assert_array_equal(record.pixels, THUMBNAIL)
    assert record.notes == ("the file calls its picture a reduced copy or a mask of another",)


@pytest.mark.parametrize("kind", [32803, 34892])
@pytest.mark.parametrize("subfile", [{}, {254: 1}])
def test_camera_raw_is_not_read_by_its_preview(kind: int, subfile: dict[int, int]) -> None:
    raw = (np.zeros((4, 6), np.uint16), {262: kind})
    for data in (tiff_of((WHOLE, subfile), children=(raw,)), tiff_of((WHOLE, subfile), raw), tiff_of(raw)):
        with pytest.raises(ImageReadError, match="camera raw") as caught:
            read_image(data)
        assert caught.value.code == "unsupported_format"


def test_canon_raw_is_known_by_its_mark() -> None:
    data = tiff_of((WHOLE, {}))
    with pytest.raises(ImageReadError, match="camera raw"):
        read_image(b"II*\0\x10\0\0\0CR\x02\0" + data[12:])


def test_directories_in_a_circle_and_beyond_the_end_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(tiff_of((THUMBNAIL, {254: 1}), (WHOLE, {})))
    data[-4:] = data[4:8]
    np.testing.assert_array_equal(read_image(bytes(data)).pixels, WHOLE)
    data[-4:] = b"\xff\xff\xff\x7f"
    np.testing.assert_array_equal(read_image(bytes(data)).pixels, WHOLE)
    monkeypatch.setattr(tiff, "MAX_DIRECTORIES", 1)
    np.testing.assert_array_equal(read_image(bytes(data)).pixels, THUMBNAIL)


def test_a_fourth_channel_that_is_not_declared_as_alpha_is_left_out() -> None:
    for tags in ({}, {338: 0}):
        record = read_image(tiff_of((RGB_AND_MORE, tags)))
        np.testing.assert_array_equal(record.pixels, RGB_AND_MORE[:, :, :3])
        assert record.notes == ("channels that are neither colour nor declared as alpha left out: 1",)
    wide = read_image(tiff_of((RGB_AND_MORE.astype("<u2") * 257, {})))
    np.testing.assert_array_equal(wide.pixels, RGB_AND_MORE[:, :, :3])


def test_a_fourth_channel_that_is_declared_as_alpha_is_composited() -> None:
    expected = np.floor(RGB_AND_MORE[:, :, :3].astype(float) * RGB_AND_MORE[:, :, 3:] / 255 + 0.5)
    record = read_image(tiff_of((RGB_AND_MORE, {338: 2})))
    np.testing.assert_array_equal(record.pixels, expected)
    assert record.notes == ("alpha composited on black",)


GREY = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)
UNUSUAL = {
    "1 x 64 bits a pixel, floating point": (GREY.astype("<f8"), {339: 3}),
    "1 x 64 bits a pixel, signed integers": (GREY.astype("<i8"), {339: 2}),
    "3 x 16 bits a pixel, unsigned integers, compression 1, photometric 1": (WHOLE.astype("<u2"), {262: 1}),
    "2 x 16 bits a pixel": (np.dstack([GREY, GREY]).astype("<u2"), {338: 2}),
    "compression 34887": (GREY, {259: 34887}),
}


@pytest.mark.parametrize("found", UNUSUAL)
def test_a_sound_tiff_of_unusual_samples_is_not_called_damaged(found: str) -> None:
    with pytest.raises(ImageReadError, match=found) as caught:
        read_image(tiff_of(UNUSUAL[found]))
    assert caught.value.code == "unsupported_format"


def test_a_tiff_of_unusual_samples_that_lie_beyond_its_end_is_damaged() -> None:
    with pytest.raises(ImageReadError) as caught:
        read_image(tiff_of((GREY.astype("<f8"), {339: 3, 279: 10**6})))
    assert caught.value.code == "damaged"
