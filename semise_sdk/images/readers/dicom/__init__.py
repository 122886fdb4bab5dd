"""Reads DICOM images with pydicom, which is loaded when the first one is read."""

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.support import PIP, Support, dicom_support
from semise_sdk.images.record import ImageRecord
from semise_sdk.spec import DicomPolicy

__all__ = ["PIP", "Support", "dicom_support", "is_dicom", "read_dicom"]


def is_dicom(head: bytes) -> bool:
    """Returns True when the mark of the DICOM file format follows the 128 bytes of the preamble (PS3.10, 7.1).

    A data set without it cannot be told from any other bytes, so such files are not taken for DICOM.
    """
    return head[128:132] == b"DICM"


def read_dicom(data: bytes, source: str, max_pixels: int, policy: DicomPolicy) -> ImageRecord:
    """Returns one frame of a DICOM file's bytes, grey values as stored and colour as 8-bit RGB.

    The header is read by itself first, and whatever the policy refuses is refused before pixels are decoded. The
    chosen frame is decoded alone. Notes and messages hold numbers and the standard's own terms, never what a text
    element of the header holds.

    Raises:
        ImageReadError: ``missing_package``, ``unsupported_sop_class``, ``unsupported_transfer_syntax``,
            ``unsupported_format``, ``for_processing``, ``burned_in``, ``several_frames``, ``no_laterality``,
            ``other_laterality``, ``too_many_pixels``, ``truncated`` or ``damaged``.
    """
    try:
        from semise_sdk.images.readers.dicom.decode import decode
    except ImportError as error:
        raise ImageReadError("missing_package", f"reading DICOM needs pydicom 3, found none; {PIP}") from error
    return decode(data, source, max_pixels, policy)
