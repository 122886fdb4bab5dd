"""Refuses rasters of so many pieces that Pillow would take minutes over a file of a few megabytes.

Pillow makes Python objects of each chunk of a PNG and each segment of a JPEG, and libjpeg goes over all pixels once
for each scan of a progressive JPEG, however little the scan holds.
"""

import itertools
import re
import struct
from collections.abc import Iterator

from semise_sdk.errors import ImageReadError

MAX_PIECES = 100_000
"""Most chunks or segments of a file: a second's work. PNGs of a gigabyte in chunks of 16 KiB have as many."""

MAX_SCANNED_PIXELS = 2_000_000_000
"""Most pixels of all scans of a JPEG together: two seconds' work. Encoders make about ten scans."""

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
SCAN, _END = 0xDA, 0xD9
_START_OF_SCAN = b"\xff\xda"
# Within a scan, FF is followed by 00, a restart marker or more FF (ITU-T T.81, B.1.1.5).
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")


def check_pieces(data: bytes) -> None:
    """Raises ImageReadError ``unsupported_format`` for a PNG or JPEG in more than ``MAX_PIECES`` pieces."""
    if data.startswith(PNG):
        _refuse_more("chunks", _count(chunks(data), MAX_PIECES), MAX_PIECES)
    elif data.startswith(JPEG):
        before_the_pixels = itertools.takewhile(lambda segment: segment[0] != SCAN, segments(data))
        _refuse_more("segments", _count(before_the_pixels, MAX_PIECES), MAX_PIECES)


def check_scans(data: bytes, pixels: int) -> None:
    """Raises ImageReadError ``unsupported_format`` for a JPEG of more scans than an image of ``pixels`` may have."""
    most = MAX_SCANNED_PIXELS // pixels
    if not data.startswith(JPEG) or data.count(_START_OF_SCAN) <= most:  # other data may hold these bytes too
        return
    scans = (segment for segment in segments(data) if segment[0] == SCAN)
    _refuse_more("scans", _count(scans, most), most)


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields of each chunk of a PNG its kind, where it begins, and how many bytes it holds."""
    place = len(PNG)
    while place + 4 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 8], place, length
        place += 12 + length


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields of each segment of a JPEG, up to the end of the image, its marker, where it begins and where it ends."""
    place = len(JPEG)
    while found := _MARKER.search(data, place):
        marker = found[1][0]
        if marker == _END:
            return
        place = found.end()
        if place + 2 <= len(data):
            place += struct.unpack_from(">H", data, place)[0]
        yield marker, found.end() - 2, place


def _count(pieces: Iterator[object], most: int) -> int:
    return sum(1 for _ in itertools.islice(pieces, most + 1))


def _refuse_more(pieces: str, found: int, most: int) -> None:
    if found > most:
        raise ImageReadError(
            "unsupported_format",
            f"expected an image of at most {most:,} {pieces}, found at least {found:,}; save it anew",
        )
