"""The size that a compressed frame claims in its own header, which decides what its decoder allocates."""

import struct

_J2K, _JP2 = b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0c\x6a\x50\x20\x20"
_JPEG = b"\xff\xd8"
_BOXES = 4096
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}


def coded_size(frame: bytes) -> tuple[int, int] | None:
    """Returns height and width of a JPEG, JPEG-LS or JPEG 2000 frame; None where it has no such header.

    Raises:
        struct.error: the header is cut short.
    """
    if frame.startswith(_JPEG):
        return _jpeg_size(frame)
    start = frame.find(_J2K, 0, _BOXES) if frame.startswith(_JP2) else 0
    if start < 0 or frame[start : start + 4] != _J2K:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)  # SIZ (ISO/IEC 15444-1, A.5.1)
    return bottom - top, right - left


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 4 <= len(frame):
        if frame[place] != 0xFF:
            return None
        marker = frame[place + 1]
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", frame, place + 5)
            return height, width
        if marker == 0xFF:  # fill bytes before a marker
            place += 1
        elif marker in _STANDALONE:
            place += 2
        else:
            place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None
