"""What a compressed frame says of itself: its size, which decides what its decoder allocates, and its colour."""

import struct
from collections.abc import Iterator

_J2K, _JP2 = b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0c\x6a\x50\x20\x20"
_JPEG = b"\xff\xd8"
_BOXES = 4096
_JPEG_LS = 0xF7
_FRAME_MARKERS = {*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_APP0, _APP14 = 0xE0, 0xEE
_TILE, _CODING_STYLE = 0x90, 0x52

YBR = ("YBR_FULL", "YBR_FULL_422")
_RGB, _TRANSFORMED = ("RGB",), ("YBR_ICT", "YBR_RCT")


def coded_size(frame: bytes) -> tuple[int, int] | None:
    """Returns height and width of a JPEG, JPEG-LS or JPEG 2000 frame; None where it has no such header.

    Raises:
        struct.error: the header is cut short.
    """
    if frame.startswith(_JPEG):
        for marker, place in _segments(frame, 2):
            if marker in _FRAME_MARKERS:
                height, width = struct.unpack_from(">HH", frame, place + 3)
                return height, width
        return None
    start = _codestream(frame)
    if start is None:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)  # SIZ (ISO/IEC 15444-1, A.5.1)
    return bottom - top, right - left


def coded_colour(frame: bytes) -> tuple[tuple[str, ...], bool]:
    """Returns which photometric interpretations fit a colour frame, and whether its decoder leaves RGB of all of them.

    None of them where the frame does not say. The first is the one to read the frame by where the header names another.
    """
    if frame.startswith(_JPEG):
        return _jpeg_colour(frame)
    start = _codestream(frame)
    if start is None:
        return (), False
    # A multiple component transform, which decoders undo (ISO/IEC 15444-1, A.6.1; PS3.5 8.2.4).
    is_transformed = any(marker == _CODING_STYLE and frame[place + 6] for marker, place in _segments(frame, start + 2))
    return (_TRANSFORMED, True) if is_transformed else ((*_RGB, *YBR), False)


def _jpeg_colour(frame: bytes) -> tuple[tuple[str, ...], bool]:
    """Returns what :func:`coded_colour` does of a JPEG or JPEG-LS frame, whose markers go before its component ids.

    JFIF is YCbCr (ISO/IEC 10918-5), Adobe's marker says it (10918-6, 6.5.3), and without either a JPEG is YCbCr unless
    its components are called R, G and B: so libjpeg takes them. Pillow converts where Adobe's marker is and only there.
    """
    is_jfif, adobe, components, is_dct = False, None, b"", True
    for marker, place in _segments(frame, 2):
        segment = frame[place + 2 : place + struct.unpack_from(">H", frame, place)[0]]
        is_jfif = is_jfif or (marker == _APP0 and segment.startswith(b"JFIF\0"))
        if marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = segment[11]
        if marker in _FRAME_MARKERS:
            components, is_dct = segment[6::3], marker != _JPEG_LS
            break
    is_rgb = not is_jfif and (adobe == 0 or (adobe is None and components in (b"RGB", b"rgb")))
    if is_dct:
        return (_RGB if is_rgb else YBR), adobe is not None
    return (_RGB if is_rgb else YBR if is_jfif or adobe else ()), False


def _codestream(frame: bytes) -> int | None:
    start = frame.find(_J2K, 0, _BOXES) if frame.startswith(_JP2) else 0
    return start if start >= 0 and frame.startswith(_J2K, start) else None


def _segments(frame: bytes, place: int) -> Iterator[tuple[int, int]]:
    """Yields the marker of each segment of a header and where its length is, up to the first tile."""
    while place + 4 <= len(frame) and frame[place] == 0xFF and frame[place + 1] != _TILE:
        marker = frame[place + 1]
        if marker == 0xFF:  # fill bytes before a marker
            place += 1
        elif marker in _STANDALONE:
            place += 2
        else:
            yield marker, place + 2
            place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
