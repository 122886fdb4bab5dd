"""Files of too many pieces are refused before Pillow sees them, and those of a photographer or scanner are not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers import pieces, read_image
from semise_sdk.images.readers.pieces import check_pieces, check_scans


def saved(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def with_chunks(count: int) -> bytes:
    data = saved("PNG")
    chunk = struct.pack(">I", 2) + b"tEXta\0" + struct.pack(">I", zlib.crc32(b"tEXta\0"))
    return data[:33] + chunk * count + data[33:]


def with_comments(count: int) -> bytes:
    data = saved("JPEG")
    return data[:2] + b"\xff\xfe\x00\x02" * count + data[2:]


def with_scans(count: int) -> bytes:
    data = saved("JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


@pytest.mark.parametrize(
    ("make", "limit", "message"),
    [
        (with_chunks, "MAX_PIECES", "at most 40 chunks, found at least 41"),
        (with_comments, "MAX_PIECES", "at most 40 segments"),
        (with_scans, "MAX_SCANNED_PIXELS", "at most 40 scans"),
    ],
)
def test_too_many_pieces_are_refused(make, limit, message, monkeypatch):
    monkeypatch.setattr(pieces, limit, 40 * (64 * 64 if limit == "MAX_SCANNED_PIXELS" else 1))
    assert read_image(make(20)).height == 64
    with pytest.raises(ImageReadError, match=message) as found:
        read_image(make(60))
    assert found.value.code == "unsupported_format"


def test_what_follows_the_image_and_what_a_scan_holds_is_not_counted(monkeypatch):
    monkeypatch.setattr(pieces, "MAX_SCANNED_PIXELS", 12)
    check_scans(saved("JPEG", progressive=True) + b"\xff\xda" * 500, 1)  # a phone appends a film
    thumbnail = b"\xff\xe1" + struct.pack(">H", 1002) + b"\xff\xda" * 500
    data = saved("JPEG", restart_marker_blocks=1)
    check_scans(data[:2] + thumbnail + data[2:], 1)
    check_scans(b"BM" + b"\xff\xda" * 500, 1)


@pytest.mark.parametrize(
    "data", [b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00", b"\x89PNG\r\n\x1a\n\0\0", b"BM"]
)
def test_a_file_cut_short_has_few_pieces(data):
    check_pieces(data)


def test_an_empty_chunk_does_not_stop_the_count(monkeypatch):
    monkeypatch.setattr(pieces, "MAX_PIECES", 10)
    with pytest.raises(ImageReadError, match="at most 10 chunks"):
        check_pieces(b"\x89PNG\r\n\x1a\n" + bytes(12) * 11)
