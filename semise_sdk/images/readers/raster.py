"""Decodes PNG, JPEG, TIFF, BMP and WebP through Pillow."""

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.jpeg import decode_jpeg, stored_process
from semise_sdk.images.readers.pieces import check_pieces, check_scans
from semise_sdk.images.readers.pillow_warnings import quiet_pillow
from semise_sdk.images.readers.png_text import without_large_texts
from semise_sdk.images.readers.tiff import WholePicture, is_tiff, stored_samples, whole_picture
from semise_sdk.images.record import ImageRecord, Pixels

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
"""The only decoders that are ever tried: Pillow has forty more, some of which start other programs."""

ALPHA_NOTE = "alpha composited on black"
EMPTY_ALPHA_NOTE = "alpha is 0 everywhere, so it is left out"
HIGH_BYTE_NOTE = "16-bit colour reduced to the high byte of each sample"

_PREFIXES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"II\x2a\x00",
    b"MM\x00\x2a",
    b"II\x2b\x00",
    b"MM\x00\x2b",
)
_PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 262, 277, 338, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # TIFF 6.0: samples of RGB, CMYK, YCbCr and CIE L*a*b*; one of all others


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the file says of its samples and Pillow forgets while it decodes them."""

    rawmode: str
    is_white_zero: bool
    is_signed: bool
    tiff_orientation: int
    has_alpha: bool
    undeclared: int


def is_raster(head: bytes) -> bool:
    """Returns True when the first bytes are those of a format in FORMATS."""
    return head.startswith(_PREFIXES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_raster(data: bytes, source: str, max_pixels: int) -> ImageRecord:
    """Returns the decoded first frame of an image file's bytes, upright.

    Raises:
        ImageReadError: ``too_many_pixels``, ``truncated``, ``damaged``, ``unsupported_format``, ``out_of_memory``.
    """
    check_pieces(data)
    picture = whole_picture(data) if is_tiff(data) else WholePicture(*without_large_texts(data))
    try:
        # Pillow's warning of a large image is silenced with the others: check_size is the stricter of the two, and
        # nothing is decoded before it.
        with quiet_pillow(), _opened(picture.data) as image:
            check_size(image.width, image.height, max_pixels)
            check_scans(data, image.width * image.height)
            return _decode(image, picture, source)
    except ImageReadError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on damaged data, KeyError and MemoryError included
        raise _explained(error) from error


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ImageReadError ``too_many_pixels`` for an image of more than ``max_pixels``."""
    if width * height > max_pixels:
        raise ImageReadError(
            "too_many_pixels", f"expected at most {max_pixels:,} pixels, found {width} x {height}; reduce the image"
        )


def bits_of(pixels: Pixels) -> int:
    """Returns the bits that a sample of this type holds; 0 for float."""
    return 0 if pixels.dtype == np.float32 else pixels.dtype.itemsize * 8


def tell_of_few_bits(pixels: Pixels, bits: int, notes: list[str]) -> None:
    """Adds a note where 16-bit samples, or the high bytes of such, stay below an eighth of their range.

    Neither an array nor a file says how many of 16 bits are used: 12 give a picture of a sixteenth of its brightness.
    """
    limit = (1 << 13) if bits == 16 else (1 << 5) if HIGH_BYTE_NOTE in notes else 0
    if limit and pixels.max() < limit:
        notes.append("no sample reaches an eighth of the 16-bit range: the image may have fewer bits")


def grey_or_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Returns an 8-bit image of any mode as ``L`` or ``RGB``, composited on black unless alpha is 0 everywhere."""
    if image.has_transparency_data:
        return _on_black(image, notes)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "CMYK":
        notes.append("CMYK converted to RGB without its colour profile")
    return image.convert("L" if image.mode == "1" else "RGB")


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, KeyError) as error:  # KeyError: a compression that Pillow does not know
        found = stored_samples(data) if is_tiff(data) else stored_process(data)
        if found is None:
            raise
        raise ImageReadError(
            "unsupported_format", f"expected samples that can be read, found {found}; save as 8- or 16-bit grey or RGB"
        ) from error


def _decode(image: Image.Image, picture: WholePicture, source: str) -> ImageRecord:
    notes = [*(_frame_notes(image) if picture.is_first else ()), *picture.notes]
    stored = _stored(image)
    image = _loaded(image, picture.data, notes)
    if picture.orientation != 1:
        image.getexif()[ExifTags.Base.Orientation] = picture.orientation
        stored = replace(stored, tiff_orientation=picture.orientation)
    _turn_upright(image, stored, notes)
    pixels, bits = _samples(image, stored, notes)
    tell_of_few_bits(pixels, bits, notes)
    name = "JPEG" if image.format == "MPO" else str(image.format)
    return ImageRecord(pixels=pixels, bits=bits, source=source, format=name, notes=tuple(notes))


def _loaded(image: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    if image.format not in ("JPEG", "MPO"):
        image.load()
        return image
    try:
        pixels = decode_jpeg(data, image.mode, image.size, notes)
    except ImageReadError:
        image.load()  # says so of a file that is cut short
        raise
    if pixels is None:
        image.load()
        return image
    decoded = Image.fromarray(pixels)
    decoded.info, decoded.format = image.info, image.format
    return decoded


def _frame_notes(image: Image.Image) -> list[str]:
    if not getattr(image, "is_animated", False):
        return []
    # Counting the frames of a TIFF walks all its directories, which a hostile file can make a matter of minutes.
    frames = "several" if image.format == "TIFF" else getattr(image, "n_frames", "several")
    return [f"frame 1 of {frames}"]


def _stored(image: Image.Image) -> _Stored:
    tile = getattr(image, "tile", [])
    arguments = tile[0][3] if tile else ""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    # TIFF 6.0, ExtraSamples: 1 and 2 are alpha, 0 is anything else, and so is a sample that the tag leaves out.
    alphas = sum(1 for kind in tags.get(_EXTRA_SAMPLES, ()) if kind)
    colours = _COLOURS.get(tags.get(_PHOTOMETRIC, 1), 1)
    return _Stored(
        rawmode=str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments),
        is_white_zero=tags.get(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO,
        is_signed=_SIGNED in tags.get(_SAMPLE_FORMAT, (1,)),
        tiff_orientation=tags.get(ExifTags.Base.Orientation, 1),
        has_alpha=alphas > 0,
        undeclared=max(0, tags.get(_SAMPLES, 1) - colours - alphas),
    )


def _turn_upright(image: Image.Image, stored: _Stored, notes: list[str]) -> None:
    # Pillow turns a TIFF while it loads it and forgets the tag; all others are turned here.
    orientation = stored.tiff_orientation
    if image.format != "TIFF":
        try:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # a damaged EXIF block raises anything, and does not make the pixels worse
            notes.append("EXIF cannot be read, so the image is taken to be upright")
            return
    if orientation in range(2, 9):
        notes.append(f"EXIF orientation {orientation} applied")
        ImageOps.exif_transpose(image, in_place=True)  # finds no tag in a TIFF, and so leaves it


def _samples(image: Image.Image, stored: _Stored, notes: list[str]) -> tuple[Pixels, int]:
    if image.mode.startswith("I;16"):
        return _sixteen_bit(image, stored, notes)
    if image.mode in ("I", "F"):
        pixels = np.asarray(image)
        _refuse_overflow(pixels, stored)
        return pixels, bits_of(pixels)
    if image.mode == "L" and stored.is_signed:
        raise ImageReadError("unsupported_format", "expected unsigned 8-bit samples, found signed ones; save as 16-bit")
    if ";16" in stored.rawmode:
        notes.append(HIGH_BYTE_NOTE)
    if stored.undeclared:
        notes.append(f"channels that are neither colour nor declared as alpha left out: {stored.undeclared}")
        image = image.convert("RGB") if image.mode == "RGBA" and not stored.has_alpha else image
    _scale_key_colour(image, stored)
    pixels = np.asarray(grey_or_rgb(image, notes))
    return pixels, bits_of(pixels)


def _sixteen_bit(image: Image.Image, stored: _Stored, notes: list[str]) -> tuple[Pixels, int]:
    bits = 12 if stored.rawmode == "I;12" else 16
    pixels = np.asarray(image).astype(np.uint16)
    key = image.info.get("transparency")
    if isinstance(key, int):
        notes.append(ALPHA_NOTE)
        pixels[pixels == key] = 0
    if stored.is_white_zero:  # Pillow inverts such images of up to 8 bits, but not of 16
        pixels = (1 << bits) - 1 - pixels
    return pixels, bits


def _refuse_overflow(pixels: Pixels, stored: _Stored) -> None:
    if stored.rawmode == "I;32N" and pixels.min() < 0:
        raise ImageReadError(
            "unsupported_format", "expected 32-bit samples of at most 2,147,483,647, found larger ones; save as float"
        )


def _scale_key_colour(image: Image.Image, stored: _Stored) -> None:
    # PNG's transparent colour is in the file's own depth; Pillow compares it with samples of 8 bits.
    key = image.info.get("transparency")
    if isinstance(key, int) and stored.rawmode in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if stored.rawmode == "L;2" else 17)
    if isinstance(key, tuple) and ";16" in stored.rawmode:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _on_black(image: Image.Image, notes: list[str]) -> Image.Image:
    is_grey = image.mode in ("1", "L", "LA", "La")
    has_key = isinstance(image.info.get("transparency"), int | tuple)  # one transparent colour instead of a channel
    image = image.convert("LA" if is_grey else "RGBA")
    extremes = image.getchannel("A").getextrema()
    is_empty = extremes == (0, 0) and not has_key  # writers of BGRX leave such an alpha behind
    if is_empty:
        notes.append(EMPTY_ALPHA_NOTE)
    if is_empty or extremes == (255, 255):
        return image.convert("L" if is_grey else "RGB")
    notes.append(ALPHA_NOTE)
    # Multiplying by alpha is the same as laying the image over black, and is done in C with exact rounding.
    bands = image.convert("La" if is_grey else "RGBa").split()
    return bands[0] if is_grey else Image.merge("RGB", bands[:3])


def _explained(error: Exception) -> ImageReadError:
    if isinstance(error, MemoryError):
        return ImageReadError("out_of_memory", "expected to hold the image in memory, found too little of it")
    if isinstance(error, Image.DecompressionBombError):
        return ImageReadError(
            "too_many_pixels", "expected an image within Pillow's limit of pixels, found a larger one"
        )
    detail = " ".join(str(error).split())[:160] or type(error).__name__
    if "truncated" in detail.lower():
        return ImageReadError("truncated", f"expected a complete image, found the file cut short ({detail})")
    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        detail = "unreadable header"
    return ImageReadError("damaged", f"expected a readable image, found damaged data ({detail})")
