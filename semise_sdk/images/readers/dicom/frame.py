"""Decodes one frame of a data set."""

from math import ceil

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.codec import Codec, refused_syntax
from semise_sdk.images.readers.dicom.codestream import coded_size
from semise_sdk.images.readers.dicom.header import COLOUR, Layout
from semise_sdk.images.readers.pieces import check_scans


def decode_frame(dataset: Dataset, layout: Layout, codec: Codec, index: int) -> NDArray[np.int32]:
    """Returns the stored values of frame ``index``, ``[H, W]``, or RGB ``[H, W, 3]``, at their depth.

    Raises:
        ImageReadError: ``truncated``, ``damaged``, ``unsupported_format`` or ``unsupported_transfer_syntax``. Pydicom
            and its plugins raise anything beside on damaged data.
    """
    if not dataset.get("PixelData"):
        raise ImageReadError("truncated", "expected pixel data behind the header, found none; send the file again")
    if layout.photometric.startswith("YBR") and layout.stored != 8:
        raise ImageReadError("unsupported_format", f"expected YBR of 8 bits, found {layout.stored}; convert it to RGB")
    if codec.plugin:
        _check_compressed(dataset, layout, codec, index)
    else:
        _check_length(dataset, layout)
    values = _decoded(dataset, layout, codec, index)
    last = layout.first + (1 << layout.stored) - 1
    if values.min() < layout.first or values.max() > last:
        raise ImageReadError("damaged", f"expected values of {layout.stored} bits, found larger ones")
    return values


def _decoded(dataset: Dataset, layout: Layout, codec: Codec, index: int) -> NDArray[np.int32]:
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    shift = layout.high_bit + 1 - layout.stored
    # pydicom takes the lowest bits for those that are stored; where they are not, it hands out whole cells.
    cells = {"bits_stored": layout.allocated, "pixel_representation": 0} if shift else {}
    array, properties = decoder.as_array(dataset, index=index, decoding_plugin=codec.plugin, **cells)
    if layout.photometric in COLOUR and properties["photometric_interpretation"] != "RGB":
        raise ImageReadError("unsupported_format", f"expected colour in RGB or YBR, found {layout.photometric} in it")
    values: NDArray[np.int32] = array.astype(np.int32)
    if not shift:
        return values
    values = (values >> shift) & ((1 << layout.stored) - 1)
    return values + 2 * layout.first * (values >= -layout.first) if layout.is_signed else values


def _check_length(dataset: Dataset, layout: Layout) -> None:
    expected, found = ceil(layout.frame_bits * layout.frames / 8), len(dataset.PixelData)
    if found < expected:
        raise ImageReadError(
            "truncated", f"expected {expected:,} bytes of pixels, found {found:,}; send the file again"
        )
    if found - expected >= max(2, ceil(layout.frame_bits / 8)):
        raise ImageReadError("damaged", f"expected {expected:,} bytes of pixels, found {found:,}: more than its frames")


def _check_compressed(dataset: Dataset, layout: Layout, codec: Codec, index: int) -> None:
    if layout.high_bit != layout.stored - 1:
        raise ImageReadError(
            "unsupported_format",
            f"expected the lowest bits in use, found them up to bit {layout.high_bit}; convert it",
        )
    if codec.plugin == "pillow" and layout.stored != 8:
        raise refused_syntax(str(dataset.file_meta.TransferSyntaxUID))
    offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) if _has_offsets(dataset) else None
    frame = get_frame(dataset.PixelData, index, number_of_frames=layout.frames, extended_offsets=offsets)
    size = coded_size(frame)
    check_scans(frame, layout.rows * layout.columns)
    if size is not None and size != (layout.rows, layout.columns):
        raise ImageReadError(
            "damaged",
            f"expected a frame of {layout.columns} x {layout.rows} pixels, found one of {size[1]} x {size[0]} in it",
        )


def _has_offsets(dataset: Dataset) -> bool:
    return "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset
