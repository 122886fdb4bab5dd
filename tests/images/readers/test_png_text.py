"""A text or profile of any size does not cost a PNG its image."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from semise_sdk.images.readers import read_image
from semise_sdk.images.readers.png_text import without_large_texts

PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6)
LARGE = b"\0" * (PngImagePlugin.MAX_TEXT_CHUNK + 1)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*extra: bytes, at_the_end: bool = False) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    data = stream.getvalue()
    place = -12 if at_the_end else 33
    return data[:place] + b"".join(extra) + data[place:]


TEXTS = {
    "zTXt": chunk(b"zTXt", b"a\0\0" + zlib.compress(LARGE)),
    "iTXt": chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(LARGE)),
    "iTXt in words": chunk(b"iTXt", b"a\0\1\0en\0b\0" + zlib.compress(LARGE)),
}


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_large_text_is_left_out(kind: str, at_the_end: bool) -> None:
    record = read_image(png(TEXTS[kind], at_the_end=at_the_end))
    np.testing.assert_array_equal(record.pixels, PIXELS)
    assert record.notes == ("texts too large to be held left out: 1",)


def test_a_large_profile_is_left_out_and_said_not_to_be_applied() -> None:
    record = read_image(png(chunk(b"iCCP", b"a\0\0" + zlib.compress(LARGE))))
    np.testing.assert_array_equal(record.pixels, PIXELS)
    assert record.notes == ("a colour profile too large to be held was not applied",)


def test_many_texts_that_are_large_together_are_left_out_from_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1000)
    data = png(*[chunk(b"tEXt", b"a\0" + b"x" * 300)] * 5)
    record = read_image(data)
    np.testing.assert_array_equal(record.pixels, PIXELS)
    assert record.notes == ("texts too large to be held left out: 2",)


def test_unpacking_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[int] = []
    real = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda: (unpacked.append(1), real())[1])
    without_large_texts(png(*[TEXTS["zTXt"]] * 1000))
    assert len(unpacked) <= 65


def test_other_texts_stay_and_turn_the_image_where_they_say_so() -> None:
    xmp = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b'<x tiff:Orientation="3"/>')
    data = png(chunk(b"iTXt", xmp), chunk(b"zTXt", b"a\0\0damaged"), TEXTS["zTXt"])
    np.testing.assert_array_equal(read_image(data).pixels, np.rot90(PIXELS, 2))
    small = png(chunk(b"iTXt", xmp))
    assert without_large_texts(small) == (small, ())
