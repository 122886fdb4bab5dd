"""A DICOM mammogram as an 8-bit image: as its VOI LUT shows it, cut to the breast, every breast a left one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semise_sdk.errors import ConfigError, ImageReadError
from semise_sdk.images.preprocess import to_eight_bits
from semise_sdk.images.readers import read_image
from semise_sdk.spec import DicomPolicy, Intensity

# Skin and fat at the breast's edge are little brighter than air, which fills more of a mammogram than anything as dark:
# a blackened name is darker, so the darkest level would not do, and a threshold between two classes cuts the edge off.
_ABOVE_AIR = 255 // 20

_AS_SHOWN = Intensity("dicom_voi")
# The annotations say which files are mammograms, whatever class they were stored in.
_POLICY = DicomPolicy(sop_classes=("any",), frames="fail")


def require_pydicom() -> None:
    """Raises ConfigError, with the pip command, when pydicom is not installed."""
    try:
        import pydicom  # noqa: F401  # only whether it is there
    except ModuleNotFoundError as error:
        raise ConfigError(
            "reading DICOM needs the package pydicom, which is not installed: pip install 'semise-sdk[dicom]'"
        ) from error


def read_mammogram(path: Path, *, is_right: bool) -> NDArray[np.uint8]:
    """Returns the breast of a DICOM file, ``[h, w]``, 0 black to 255 white; a right one is mirrored.

    Raises:
        ImageReadError: What :func:`semise_sdk.images.readers.read_image` raises, and ``unsupported_format`` for colour.
    """
    record = read_image(path, dicom=_POLICY)
    if record.grey is None:
        raise ImageReadError("unsupported_format", "expected a grey DICOM image, found colour; leave it out")
    breast = cut_to_breast(to_eight_bits(record, _AS_SHOWN))
    return np.ascontiguousarray(breast[:, ::-1] if is_right else breast)


def cut_to_breast(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the bounding box of the largest bright component of ``grey [H, W]``; all of it when nothing is bright.

    Bright is what is more than a twentieth of the range above air, which is the commonest level of the darker half of
    the range. Burnt-in markers are components of their own and fall away unless they touch the breast's box.
    """
    air = int(np.bincount(grey.ravel(), minlength=256)[:128].argmax())
    is_bright: NDArray[np.bool_] = grey > air + _ABOVE_AIR
    components, count = ndimage.label(is_bright)
    if count == 0:
        return grey
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    box: tuple[slice, slice] = ndimage.find_objects(components)[int(sizes.argmax()) - 1]
    return grey[box]
