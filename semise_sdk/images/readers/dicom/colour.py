"""Colours of palettes and of deep samples, as 8-bit RGB."""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_color_lut

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.header import Layout
from semise_sdk.images.readers.dicom.lookup import table_entries

_CHANNELS = ("Red", "Green", "Blue")
_HIGH_BYTE = "colour of {bits} bits reduced to the high byte of each sample"


def rgb_of_samples(values: NDArray[np.int32], layout: Layout, notes: list[str]) -> NDArray[np.uint8]:
    """Returns RGB samples ``[H, W, 3]`` of any depth as uint8."""
    return _eight_bits(values, layout.stored, notes)


def rgb_of_palette(values: NDArray[np.int32], dataset: Dataset, notes: list[str]) -> NDArray[np.uint8]:
    """Returns the palette's colours ``[H, W, 3]`` of the stored values ``[H, W]``.

    Raises:
        ImageReadError: ``unsupported_format`` for a palette that pydicom would misread. It raises anything beside.
    """
    entries, _, depth = dataset.RedPaletteColorLookupTableDescriptor
    is_segmented = "RedPaletteColorLookupTableData" not in dataset
    if is_segmented and depth == 8 and not 0 < entries <= 256:
        raise ImageReadError(
            "unsupported_format", f"expected a segmented palette of at most 256 colours, found {entries or 1 << 16}"
        )
    if not is_segmented:
        _deepen_entries(dataset)
    colours = apply_color_lut(values, dataset)
    return _eight_bits(colours[..., :3].astype(np.int32), int(depth), notes)


def _deepen_entries(dataset: Dataset) -> None:
    """Makes the palette's entries 16 bits in this machine's order.

    Pydicom numbers the entries in the type of their values, so of a palette of 8 bits it would find 256; and it takes
    entries of 16 bits as the file has them, whatever the file's byte order is.
    """
    entries = int(dataset.RedPaletteColorLookupTableDescriptor[0]) or 1 << 16
    is_little_endian = dataset.file_meta.TransferSyntaxUID.is_little_endian
    for channel in _CHANNELS:
        element = dataset[f"{channel}PaletteColorLookupTableData"]
        element.value = table_entries(element.value, entries, is_little_endian=is_little_endian).tobytes()


def _eight_bits(values: NDArray[np.int32], bits: int, notes: list[str]) -> NDArray[np.uint8]:
    if bits == 8:
        return values.astype(np.uint8)
    if bits > 8:
        notes.append(_HIGH_BYTE.format(bits=bits))
        return (values >> (bits - 8)).astype(np.uint8)
    spread: NDArray[np.uint8] = np.rint(values * (255 / ((1 << bits) - 1))).astype(np.uint8)
    return spread
