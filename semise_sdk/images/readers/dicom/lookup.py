"""Lookup tables of the header, in integers wide enough for every value and in every way that files store them."""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from semise_sdk.errors import ImageReadError


def table_entries(data: object, entries: int, *, is_little_endian: bool) -> NDArray[np.uint16]:
    """Returns the first entries of a table's data, fewer where it has fewer.

    Entries of 8 bits take a word each, or two share one, the first in its low byte (PS3.3 C.7.6.3.1.6): the length
    says which.

    Args:
        data: Bytes as the file has them, or the words.
        entries: How many the descriptor says there are.
        is_little_endian: The order of the file's words.
    """
    if isinstance(data, bytes):
        words = np.frombuffer(data + b"\0" * (len(data) % 2), "<u2" if is_little_endian else ">u2")
    else:
        words = np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if words.size < entries:
        words = words.astype("<u2").view(np.uint8)
    return words[:entries].astype(np.uint16)


def look_up(values: NDArray[np.float64], item: Dataset) -> tuple[NDArray[np.float64], NDArray[np.uint16]]:
    """Returns the values by a modality or VOI LUT, and its entries; values beyond the table take its ends.

    Raises:
        ImageReadError: ``damaged`` where it has fewer entries than its descriptor says.
    """
    is_implicit, is_little_endian = item.original_encoding
    entries = int(item.LUTDescriptor[0]) or 1 << 16
    table = table_entries(item.LUTData, entries, is_little_endian=is_little_endian is not False)
    if table.size < entries:
        raise ImageReadError("damaged", f"expected a lookup table of {entries:,} entries, found {table.size:,}")
    first = int(item.LUTDescriptor[1])
    if is_implicit:  # pydicom has taken its sign from the stored values; a rescale may give others
        first %= 1 << 16
    # The first value is signed where the table's input may be negative (PS3.3 C.11.1.1.1, C.11.2.1.1), whatever VR a
    # file gives it. One that lies above all of the input can only be a negative one.
    if first >= 1 << 15 and (values.min() < 0 or values.max() < first):
        first -= 1 << 16
    # A table is indexed by whole numbers, and a rescale gives floats.
    index = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.intp)
    return table[index].astype(np.float64), table
