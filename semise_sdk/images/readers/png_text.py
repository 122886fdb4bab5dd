"""Leaves out of a PNG what Pillow would refuse the whole image for: texts and profiles beyond its limits.

Pillow holds at most ``MAX_TEXT_CHUNK`` bytes of a packed text or profile and ``MAX_TEXT_MEMORY`` of all texts. These
limits are those of its module, shared by the whole process, so they stay as they are.
"""

import zlib

from PIL import PngImagePlugin

from semise_sdk.images.readers.pieces import chunks

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def without_large_texts(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Returns a PNG without the texts and profiles that Pillow does not hold, and a note on what was left out."""
    left = PngImagePlugin.MAX_TEXT_MEMORY
    kept: list[bytes] = []
    dropped: list[bytes] = []
    end = 0
    for kind, place, length in chunks(data):
        if kind not in _TEXTS:
            continue
        size = _unpacked_size(kind, data[place + 8 : place + 8 + length]) if left > 0 else None
        if size is None or size > left:
            kept.append(data[end:place])
            end = place + 12 + length
            dropped.append(kind)
        # What is too large counts as well, so that the time for unpacking has a limit.
        left -= PngImagePlugin.MAX_TEXT_CHUNK if size is None else size
    if not dropped:
        return data, ()
    notes = {
        "a colour profile too large to be held was not applied": b"iCCP" in dropped,
        f"texts too large to be held left out: {len(dropped) - dropped.count(b'iCCP')}": set(dropped) != {b"iCCP"},
    }
    return b"".join([*kept, data[end:]]), tuple(note for note, is_so in notes.items() if is_so)


def _unpacked_size(kind: bytes, content: bytes) -> int | None:
    """Returns the bytes of a text, None of one that is packed and larger than Pillow unpacks."""
    _, _, rest = content.partition(b"\0")
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] != b"\1"):
        return len(content)
    packed = rest[1:] if kind != b"iTXt" else rest[2:].split(b"\0", 2)[-1]
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, PngImagePlugin.MAX_TEXT_CHUNK)
    except zlib.error:  # Pillow takes it for empty
        return 0
    return None if unpacker.unconsumed_tail else len(text)
