"""Finds the full-resolution picture of a TIFF, whose first may be a thumbnail, and names camera raw."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from semise_sdk.errors import ImageReadError

MAX_DIRECTORIES = 100
"""Most directories that are looked at: the rest of a stack of thousands of pages is left alone."""

_MAX_ENTRIES = 1000
_MAX_VALUES = 64
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_NEW_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 274, 277, 279, 324, 325
_CHILDREN, _SAMPLE_KIND = 330, 339
_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating point", 4: "untyped", 5: "complex", 6: "complex"}
_DEPTHS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64)
_MOST_SAMPLES = 1000
_REDUCED_OR_MASK = 0b101  # TIFF 6.0, NewSubfileType: bit 0 and bit 2
_RAW = (32803, 34892)  # DNG 1.7, PhotometricInterpretation: CFA and LinearRaw
_CANON_RAW = b"II*\0\x10\0\0\0CR\x02"


@dataclass(frozen=True, slots=True)
class Directory:
    """One picture of a TIFF: where its directory lies, and those of its tags that hold integers."""

    offset: int
    tags: dict[int, tuple[int, ...]]
    following: int

    def first(self, tag: int, otherwise: int) -> int:
        """Returns the first value of a tag, ``otherwise`` where the directory does not have it."""
        return self.tags.get(tag, (otherwise,))[0]

    @property
    def is_whole(self) -> bool:
        """False of a reduced copy or a mask of another picture."""
        return not self.first(_NEW_SUBFILE, 0) & _REDUCED_OR_MASK and self.first(_OLD_SUBFILE, 1) != 2

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.first(_WIDTH, 0) * self.first(_HEIGHT, 0)

    def __str__(self) -> str:
        return f"{self.first(_WIDTH, 0)} x {self.first(_HEIGHT, 0)}"


@dataclass(frozen=True, slots=True)
class WholePicture:
    """The full-resolution picture of a TIFF.

    Args:
        data: A TIFF that begins with it.
        notes: What was chosen, where there was a choice.
        is_first: False where a later picture than the file's first was chosen.
        orientation: Its EXIF orientation where only the first directory of the file says it, else 1.
    """

    data: bytes
    notes: tuple[str, ...] = ()
    is_first: bool = True
    orientation: int = 1


def is_tiff(data: bytes) -> bool:
    """Returns True when the data begin as a TIFF or BigTIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def whole_picture(data: bytes) -> WholePicture:
    """Returns the largest whole picture of a TIFF whose first is a reduced copy or a mask, else the first.

    Raises:
        ImageReadError: ``unsupported_format`` for camera raw, whose other pictures are previews.
    """
    found = list(_directories(data))
    kinds = {picture.first(_PHOTOMETRIC, 1) for picture in found}
    if data.startswith(_CANON_RAW) or not kinds.isdisjoint(_RAW):
        raise ImageReadError(
            "unsupported_format", "expected a picture, found camera raw with previews; develop it and save it as TIFF"
        )
    whole = [picture for picture in found if picture.is_whole]
    if not whole:
        return WholePicture(data, ("the file calls its picture a reduced copy or a mask of another",) if found else ())
    first, best = found[0], max(whole, key=lambda picture: picture.pixels)
    if first.is_whole:
        is_largest = first.pixels >= best.pixels
        return WholePicture(data, () if is_largest else (f"a later picture of the file is larger, {best}",))
    # DNG 1.7, Orientation: the tag lies in the first directory alone.
    orientation = 1 if _ORIENTATION in best.tags else first.first(_ORIENTATION, 1)
    note = f"the first picture, {first}, is a reduced copy or a mask; {best} is read"
    return WholePicture(_beginning_with(best, data), (note,), is_first=False, orientation=orientation)


def stored_samples(data: bytes) -> str | None:
    """Returns how the first picture of a sound TIFF is stored, in words; None where its directory is damaged."""
    picture = next(_directories(data), None)
    if picture is None or not picture.pixels:
        return None
    samples, bits = picture.first(_SAMPLES, 1), picture.tags.get(_BITS, (1,))
    kinds = set(picture.tags.get(_SAMPLE_KIND, (1,)))
    places = picture.tags.get(_STRIPS, ()) or picture.tags.get(_TILES, ())
    lengths = picture.tags.get(_STRIP_BYTES, ()) or picture.tags.get(_TILE_BYTES, ())
    are_in_the_file = all(0 < place <= len(data) - length for place, length in zip(places, lengths, strict=False))
    are_named = set(bits) <= set(_DEPTHS) and kinds <= set(_KINDS) and 0 < samples <= _MOST_SAMPLES
    if not (places and lengths and are_in_the_file and are_named):
        return None
    depths, names = "/".join(map(str, sorted(set(bits)))), "/".join(_KINDS[kind] for kind in sorted(kinds))
    ways = f"compression {picture.first(_COMPRESSION, 1)}, photometric {picture.first(_PHOTOMETRIC, 1)}"
    return f"{samples} x {depths} bits a pixel, {names}, {ways}"


def _beginning_with(picture: Directory, data: bytes) -> bytes:
    layout, start, _, _ = _layout(data)
    end = start + struct.calcsize(layout)
    return data[:start] + struct.pack(layout, picture.offset) + data[end:]


def _layout(data: bytes) -> tuple[str, int, str, str]:
    """Returns how an offset is packed, where the first one lies, and how a count of entries and an entry are packed."""
    order = "<" if data.startswith(b"II") else ">"
    if b"+" in data[2:4]:
        return order + "Q", 8, order + "Q", order + "HHQ"
    return order + "I", 4, order + "H", order + "HHI"


def _directories(data: bytes) -> Iterator[Directory]:
    """Yields the directories in the order of the file, each before its children."""
    layout, start, _, _ = _layout(data)
    if len(data) < start + struct.calcsize(layout):
        return
    waiting = [struct.unpack_from(layout, data, start)[0]]
    seen: set[int] = set()
    while waiting and len(seen) < MAX_DIRECTORIES:
        offset = waiting.pop()
        if offset in seen or not 0 < offset < len(data):
            continue
        seen.add(offset)
        try:
            directory = _directory(data, offset)
        except struct.error:  # it lies beyond the end; what that means for the picture, Pillow says
            continue
        yield directory
        waiting += [directory.following, *reversed(directory.tags.get(_CHILDREN, ()))]


def _directory(data: bytes, offset: int) -> Directory:
    layout, _, counts, entry = _layout(data)
    (count,) = struct.unpack_from(counts, data, offset)
    place, room = offset + struct.calcsize(counts), struct.calcsize(layout)
    width = struct.calcsize(entry) + room
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(place, place + width * min(count, _MAX_ENTRIES), width):
        tag, kind, number = struct.unpack_from(entry, data, start)
        if kind not in _INTEGERS or not number:
            continue
        values = start + width - room
        if number * struct.calcsize(layout[0] + _INTEGERS[kind]) > room:
            (values,) = struct.unpack_from(layout, data, values)
        try:
            tags[tag] = struct.unpack_from(f"{layout[0]}{min(number, _MAX_VALUES)}{_INTEGERS[kind]}", data, values)
        except struct.error:
            continue
    end = place + width * count
    following = struct.unpack_from(layout, data, end)[0] if end + room <= len(data) else 0
    return Directory(offset, tags, following)
