"""Decodes one frame of a data set."""

from io import BytesIO
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import convert_color_space, get_decoder

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.codec import Codec, refused_syntax
from semise_sdk.images.readers.dicom.codestream import YBR, coded_colour, coded_size
from semise_sdk.images.readers.dicom.header import COLOUR, OVERLAY_BITS, Layout
from semise_sdk.images.readers.jpeg import decode_jpeg
from semise_sdk.images.readers.pieces import check_scans

_CONTRADICTION = "the header says {said}, the {codec} stream holds {found}: colour is read by the stream"
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # transform 0: the components are as they are


def decode_frame(dataset: Dataset, layout: Layout, codec: Codec, index: int, notes: list[str]) -> NDArray[np.int32]:
    """Returns the stored values of frame ``index``, ``[H, W]``, or RGB ``[H, W, 3]``, at their depth.

    A compressed stream decides how its colour is read; a header that contradicts it is noted.

    Raises:
        ImageReadError: ``truncated``, ``damaged``, ``unsupported_format`` or ``unsupported_transfer_syntax``. Pydicom
            and its plugins raise anything beside on damaged data.
    """
    if not dataset.get("PixelData"):
        raise ImageReadError("truncated", "expected pixel data behind the header, found none; send the file again")
    photometric, frame = layout.photometric, b""
    if codec.plugin:
        frame = _checked_frame(dataset, layout, codec, index)
        photometric = _decoded_photometric(frame, layout, codec, notes)
    else:
        _check_length(dataset, layout)
    is_jpeg = codec.plugin == "pillow"
    values = _decoded_jpeg(frame, layout, photometric, notes) if is_jpeg else _decoded(dataset, layout, codec, index)
    if layout.photometric in COLOUR:
        values = _rgb(values, photometric, layout)
    if _is_beyond(values, layout) and _has_overlay_above(dataset, layout):
        values = _lowest_bits(values, layout)
    if _is_beyond(values, layout):
        raise ImageReadError("damaged", f"expected values of {layout.stored} bits, found larger ones")
    return values


def _decoded(dataset: Dataset, layout: Layout, codec: Codec, index: int) -> NDArray[np.int32]:
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    shift = layout.high_bit + 1 - layout.stored
    # pydicom takes the lowest bits for those that are stored; where they are not, it hands out whole cells.
    cells = {"bits_stored": layout.allocated, "pixel_representation": 0} if shift else {}
    # raw: pydicom would convert colour by the header alone.
    array, _ = decoder.as_array(dataset, index=index, decoding_plugin=codec.plugin, raw=True, **cells)
    values: NDArray[np.int32] = array.astype(np.int32)
    return _lowest_bits(values >> shift, layout) if shift else values


def _lowest_bits(values: NDArray[np.int32], layout: Layout) -> NDArray[np.int32]:
    values = values & ((1 << layout.stored) - 1)
    return values + 2 * layout.first * (values >= -layout.first) if layout.is_signed else values


def _is_beyond(values: NDArray[np.int32], layout: Layout) -> bool:
    return bool(values.min() < layout.first or values.max() > layout.last)


def _has_overlay_above(dataset: Dataset, layout: Layout) -> bool:
    """Returns whether the header names a plane of an overlay in the cells' unused bits (PS3.3 C.9.2, retired).

    Pydicom clears unused bits of uncompressed and RLE pixels. Of other streams it hands out all that they hold.
    """
    positions = [dataset.get(tag) for tag in OVERLAY_BITS]
    return any(layout.high_bit < element.value < layout.allocated for element in positions if element is not None)


def _decoded_jpeg(frame: bytes, layout: Layout, photometric: str, notes: list[str]) -> NDArray[np.int32]:
    """Returns the samples that pydicom would, which refuses RGB components without Adobe's marker, and 16-bit cells.

    The scans are checked for damage, of which Pillow says nothing.
    """
    image = Image.open(BytesIO(frame), formats=("JPEG",))
    checked = decode_jpeg(frame, image.mode, image.size, notes)
    if layout.photometric in COLOUR and "adobe_transform" not in image.info:
        if photometric == "RGB":
            image = Image.open(BytesIO(frame[:2] + _ADOBE_RGB + frame[2:]), formats=("JPEG",))
        else:
            image.draft("YCbCr", image.size)  # no conversion: pydicom's has other roundings than libjpeg's
    array = checked if checked is not None and image.mode == "L" else np.asarray(image)
    if array.shape != (layout.rows, layout.columns) + (layout.samples,) * (layout.samples > 1):
        expected = f"{layout.rows} x {layout.columns} pixels of {layout.samples} samples"
        raise ImageReadError("damaged", f"expected a JPEG of {expected}, found an array of {list(array.shape)}")
    return array.view(np.int8 if layout.is_signed else np.uint8).astype(np.int32)


def _decoded_photometric(frame: bytes, layout: Layout, codec: Codec, notes: list[str]) -> str:
    """Returns the photometric interpretation that decoding leaves; a header that contradicts the stream is noted."""
    coded, is_converted = coded_colour(frame) if layout.photometric in COLOUR else ((), False)
    found = layout.photometric
    if coded and found not in coded:
        notes.append(_CONTRADICTION.format(said=found, codec=codec.name, found=" or ".join(coded)))
        found = coded[0]
    return "RGB" if is_converted else found


def _rgb(values: NDArray[np.int32], photometric: str, layout: Layout) -> NDArray[np.int32]:
    if photometric == "RGB":
        return values
    if photometric not in YBR:
        raise ImageReadError("unsupported_format", f"expected colour in RGB or YBR, found {photometric}; convert it")
    if layout.stored != 8:
        raise ImageReadError("unsupported_format", f"expected YBR of 8 bits, found {layout.stored}; convert it to RGB")
    rgb: NDArray[np.uint8] = convert_color_space(values.astype(np.uint8), "YBR_FULL", "RGB")
    return rgb.astype(np.int32)


def _check_length(dataset: Dataset, layout: Layout) -> None:
    expected, found = ceil(layout.frame_bits * layout.frames / 8), len(dataset.PixelData)
    if found < expected:
        raise ImageReadError(
            "truncated", f"expected {expected:,} bytes of pixels, found {found:,}; send the file again"
        )
    if found - expected >= max(2, ceil(layout.frame_bits / 8)):
        raise ImageReadError("damaged", f"expected {expected:,} bytes of pixels, found {found:,}: more than its frames")


def _checked_frame(dataset: Dataset, layout: Layout, codec: Codec, index: int) -> bytes:
    if layout.high_bit != layout.stored - 1:
        raise ImageReadError(
            "unsupported_format",
            f"expected the lowest bits in use, found them up to bit {layout.high_bit}; convert it",
        )
    if codec.plugin == "pillow" and layout.stored != 8:
        raise refused_syntax(str(dataset.file_meta.TransferSyntaxUID))
    offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) if _has_offsets(dataset) else None
    frame: bytes = get_frame(dataset.PixelData, index, number_of_frames=layout.frames, extended_offsets=offsets)
    size = coded_size(frame)
    check_scans(frame, layout.rows * layout.columns)
    if size is not None and size != (layout.rows, layout.columns):
        raise ImageReadError(
            "damaged",
            f"expected a frame of {layout.columns} x {layout.rows} pixels, found one of {size[1]} x {size[0]} in it",
        )
    return frame


def _has_offsets(dataset: Dataset) -> bool:
    return "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset
