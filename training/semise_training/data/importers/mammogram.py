"""A DICOM mammogram as an 8-bit image: as its VOI LUT shows it, cut to the breast, every breast a left one."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semise_sdk.errors import ConfigError, ImageReadError

if TYPE_CHECKING:
    from pydicom import Dataset

# Skin and fat at the breast's edge are little brighter than air, which fills more of a mammogram than anything as dark:
# a blackened name is darker, so the darkest level would not do, and a threshold between two classes cuts the edge off.
_ABOVE_AIR = 255 // 20

_INVERTED, _UPRIGHT = "MONOCHROME1", "MONOCHROME2"


def require_pydicom() -> None:
    """Raises ConfigError, with the pip command, when pydicom is not installed."""
    try:
        import pydicom  # noqa: F401  # only whether it is there
    except ModuleNotFoundError as error:
        raise ConfigError(
            "reading DICOM needs the package pydicom, which is not installed: pip install 'semise-sdk[dicom]'"
        ) from error


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Holds pydicom's own warnings back until the block ends: a file's failure says in one line what is wrong."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pydicom")
            yield
    finally:
        logger.setLevel(level)


def read_mammogram(path: Path, *, is_right: bool) -> NDArray[np.uint8]:
    """Returns the breast of a DICOM file, ``[h, w]``, 0 black to 255 white; a right one is mirrored.

    Raises:
        ImageReadError: ``not_found``, ``not_an_image``, ``unsupported_format`` or ``damaged``.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        grey = _shown(dcmread(path))
    except ImageReadError:
        raise
    except FileNotFoundError as error:
        raise ImageReadError("not_found", "expected a DICOM file, found nothing by that name") from error
    except InvalidDicomError as error:
        raise ImageReadError("not_an_image", "expected a DICOM file, found another kind of file") from error
    except Exception as error:  # pydicom and its decoders raise anything on damaged data
        detail = " ".join(str(error).split())[:160] or type(error).__name__
        raise ImageReadError("damaged", f"expected a readable DICOM file, found damaged data ({detail})") from error
    breast = cut_to_breast(grey)
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


def _shown(dataset: "Dataset") -> NDArray[np.uint8]:
    """Returns the pixels after modality and VOI LUT, ``[H, W]``, with air black whatever the photometric is."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    stored = dataset.pixel_array
    photometric = str(dataset.PhotometricInterpretation)
    if stored.ndim != 2 or photometric not in (_INVERTED, _UPRIGHT):
        shape = " x ".join(map(str, stored.shape))
        raise ImageReadError("unsupported_format", f"expected one grey frame, found {photometric} of {shape}")
    values = apply_modality_lut(stored, dataset)
    if dataset.get("VOILUTSequence"):
        values = np.rint(values).astype(np.int32)  # a table is indexed by whole numbers, a rescale gives floats
    shown = np.asarray(apply_voi_lut(values, dataset), dtype=np.float32)
    black, white = _display_range(dataset, shown)
    return _scaled(shown, white, black) if photometric == _INVERTED else _scaled(shown, black, white)


def _display_range(dataset: "Dataset", shown: NDArray[np.float32]) -> tuple[float, float]:
    """Returns the lowest and highest value that the VOI LUT or window can give; the image's own without either.

    A window maps to the range of the values that it is applied to (DICOM PS3.3 C.11.2.1.2).
    """
    if dataset.get("VOILUTSequence"):
        return _table_range(dataset)
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return float(shown.min()), float(shown.max())
    if dataset.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return lowest * slope + intercept, (lowest + 2**dataset.BitsStored - 1) * slope + intercept


def _table_range(dataset: "Dataset") -> tuple[float, float]:
    """Returns the ends of the VOI LUT's own values: its declared depth is often more than it uses."""
    from pydicom.pixels import apply_voi

    entries, first, _ = dataset.VOILUTSequence[0].LUTDescriptor
    table = apply_voi(np.arange(entries or 2**16, dtype=np.int32) + first, dataset)
    return float(table.min()), float(table.max())


def _scaled(values: NDArray[np.float32], black: float, white: float) -> NDArray[np.uint8]:
    """Returns ``values`` with ``black`` as 0 and ``white`` as 255, clipped; all 0 when both are one."""
    if black == white:
        return np.zeros(values.shape, dtype=np.uint8)
    levels = np.clip((values - black) * (255 / (white - black)), 0, 255)
    return np.asarray(np.rint(levels), dtype=np.uint8)
