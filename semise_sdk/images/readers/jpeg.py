"""Decodes JPEG and hears what libjpeg warns of: of a damaged scan Pillow decodes something, and says nothing."""

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.pieces import JPEG, SCAN, segments

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_DAMAGE = "Corrupt JPEG data: "
_END = b"\xff\xd9"
# ITU-T T.81, table B.1.
_LOSSLESS, _FRAMES = (0xC3, 0xC7, 0xCB, 0xCF), {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_METADATA = {*range(0xE0, 0xF0), 0xFE}


def decode_jpeg(data: bytes, mode: str, size: tuple[int, int], notes: list[str]) -> NDArray[np.uint8] | None:
    """Returns the pixels of a sound JPEG, ``[H, W]`` or ``[H, W, 3]``, equal to Pillow's; None where Pillow is needed.

    Args:
        data: The file.
        mode: Pillow's mode of the image. CMYK is checked for damage, and left to Pillow.
        size: Its width and height by Pillow.
        notes: Gets a note where the image cannot be checked: libjpeg's interface takes only the usual subsamplings.

    Raises:
        ImageReadError: ``damaged`` for a scan that ends early, goes on too long or holds what is no Huffman code.
            Damage that decodes to just as many blocks cannot be seen. ``truncated`` for a progressive one that lacks
            scans.
    """
    try:
        pixels = _decoded(data, mode, size)
    except ValueError:
        # The first warning ends the decoding, and one of a profile, a comment or bytes between segments does no harm.
        try:
            _decoded(_tables_and_scans(data), mode, size)
        except ValueError as error:
            _refuse_damage(error)
            notes.append("the image could not be checked for damage")
        return None
    _refuse_missing_scans(data)
    if mode == "CMYK":
        return None
    return pixels[:, :, 0] if mode == "L" else pixels


def stored_process(data: bytes) -> str | None:
    """Returns in words how a sound JPEG of other than 8 bits is coded; None of all other data."""
    if not data.startswith(JPEG):
        return None
    frames = (data[start:end] for marker, start, end in segments(data) if marker in _FRAMES)
    frame = next(frames, b"")
    if len(frame) < 10 or len(frame) != 10 + 3 * frame[9] or frame[4] == 8 or not 2 <= frame[4] <= 16:
        return None
    return f"{'lossless JPEG' if frame[1] in _LOSSLESS else 'JPEG'} of {frame[4]} bits"


def _decoded(data: bytes, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size  # by Pillow, which found it small enough: a larger one does not fit into the buffer
    shape = (height, width, 1 if mode == "L" else len(mode))
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, _SPACES[mode], buffer=np.empty(shape, np.uint8))
    if pixels.shape != shape:
        raise ValueError(f"expected pixels {shape}, found {pixels.shape}")
    return pixels


def _tables_and_scans(data: bytes) -> bytes:
    """Returns a JPEG without its metadata, and with an end: whether the file has one, Pillow judges."""
    parts = [JPEG]
    for marker, start, end in segments(data):
        if marker == SCAN:
            return b"".join([*parts, data[start:], _END])
        if marker not in _METADATA:
            parts.append(data[start:end])
    return b"".join(parts)


def _refuse_damage(error: ValueError) -> None:
    warning = str(error)
    if warning.startswith(_DAMAGE):
        found = warning.removeprefix(_DAMAGE)
        raise ImageReadError("damaged", f"expected a readable image, found damaged data ({found})") from error


def _refuse_missing_scans(data: bytes) -> None:
    """Raises ImageReadError ``truncated`` for a progressive JPEG that lacks bits of a coefficient (T.81, G.1)."""
    components: set[int] = set()
    last: dict[tuple[int, int], int] = {}
    for marker, start, end in segments(data):
        body = data[start + 4 : end]
        if marker in _FRAMES:
            if marker not in _PROGRESSIVE:
                return
            components = set(body[6::3])
        elif marker == SCAN:
            first, final, bits = body[-3:]
            last |= {(part, place): bits & 15 for part in body[1:-3:2] for place in range(first, final + 1)}
    missing = sum(last.get((part, place), 1) > 0 for part in components for place in range(64))
    if missing:
        raise ImageReadError(
            "truncated",
            f"expected all scans of a progressive JPEG, found {missing} of its {64 * len(components)} coefficients "
            "incomplete; save it anew from the original",
        )
