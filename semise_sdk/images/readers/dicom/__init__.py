"""Reads DICOM images with pydicom, which is loaded when the first one is read."""

import re

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.support import PIP, Support, dicom_support
from semise_sdk.images.record import ImageRecord
from semise_sdk.spec import DicomPolicy

__all__ = ["PIP", "Support", "dicom_support", "is_dicom", "read_dicom"]


_PREAMBLE = 128
_META = re.compile(rb"(DICM)?\x02\x00(\x00\x00UL\x04\x00|\x01\x00OB\x00\x00|[\x02\x03\x10]\x00UI)")
_DATA_SET = re.compile(rb"\x08\x00[\x00-\x20]\x00([A-Z]{2}|..\x00\x00)|\x00\x08\x00[\x00-\x20][A-Z]{2}", re.DOTALL)


def is_dicom(head: bytes) -> bool:
    """Returns True for the beginning of a file in the DICOM file format (PS3.10, 7.1), or of a data set alone.

    The file's meta information marks it too, where the preamble before it is left out.
    """
    return has_preamble(head) or bool(_META.match(head) or _DATA_SET.match(head))


def has_preamble(data: bytes) -> bool:
    """Returns whether the mark of the file format follows 128 bytes of any content."""
    return data[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def read_dicom(data: bytes, source: str, max_pixels: int, policy: DicomPolicy) -> ImageRecord:
    """Returns one frame of a DICOM file's bytes, grey values as stored and colour as 8-bit RGB.

    The header is read by itself first, and whatever the policy refuses is refused before pixels are decoded. The
    chosen frame is decoded alone. Notes and messages hold numbers and the standard's own terms, never what a text
    element of the header holds.

    Raises:
        ImageReadError: ``missing_package``, ``unsupported_sop_class``, ``unsupported_transfer_syntax``,
            ``unsupported_format``, ``for_processing``, ``burned_in``, ``several_frames``, ``no_laterality``,
            ``other_laterality``, ``too_many_pixels``, ``truncated`` or ``damaged``; ``not_an_image`` for a data set
            without meta information, whose transfer syntax could only be guessed.
    """
    if not has_preamble(data):
        meta = _META.match(data)
        if meta is None:
            raise ImageReadError(
                "not_an_image",
                "expected an image file, found what seems to be a DICOM data set without the header of its file; write "
                "it as a file with DCMTK's dcmconv",
            )
        data = bytes(_PREAMBLE) + b"DICM" + data[meta.end(1) if meta[1] else 0 :]
    try:
        from semise_sdk.images.readers.dicom.decode import decode
    except ImportError as error:
        raise ImageReadError("missing_package", f"reading DICOM needs pydicom 3, found none; {PIP}") from error
    return decode(data, source, max_pixels, policy)
