"""Reads pixels that the caller has already decoded."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.raster import HIGH_BYTE_NOTE, bits_of, check_size, grey_or_rgb, tell_of_few_bits
from semise_sdk.images.record import ImageRecord, Pixels

_KINDS = ("uint8", "uint16", "int32", "float32")


def read_array(array: NDArray[np.generic], source: str, max_pixels: int) -> ImageRecord:
    """Returns the record of an array, sharing its memory where nothing has to be converted; colours are RGB, not BGR.

    Raises:
        ImageReadError: ``unsupported_array`` for another type or shape, ``too_many_pixels``.
    """
    notes: list[str] = []
    samples = _native(array)
    _check_shape(samples)
    check_size(samples.shape[1], samples.shape[0], max_pixels)
    pixels = _grey_or_rgb(samples, notes)
    bits = bits_of(pixels)
    tell_of_few_bits(pixels, bits, notes)
    return ImageRecord(pixels=_read_only(pixels), bits=bits, source=source, format="array", notes=tuple(notes))


def _native(array: NDArray[np.generic]) -> Pixels:
    if array.dtype == np.bool_:
        return np.where(array, np.uint8(255), np.uint8(0))
    if array.dtype.name not in _KINDS:
        raise ImageReadError(
            "unsupported_array", f"expected an array of bool, {', '.join(_KINDS)}, found {array.dtype.name}; convert it"
        )
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _check_shape(samples: Pixels) -> None:
    is_image = samples.ndim == 2 or (samples.ndim == 3 and samples.shape[2] in (1, 2, 3, 4))
    if not is_image or samples.size == 0:
        shape = "x".join(map(str, samples.shape))
        raise ImageReadError(
            "unsupported_array", f"expected an array [H, W] or [H, W, 1 to 4] with pixels in it, found shape {shape}"
        )


def _grey_or_rgb(samples: Pixels, notes: list[str]) -> Pixels:
    if samples.ndim == 2:
        return samples
    if samples.shape[2] == 1:
        return samples[:, :, 0]
    if samples.dtype == np.uint16:  # as of a file, whose colours and alpha Pillow reads at 8 bits
        notes.append(HIGH_BYTE_NOTE)
        samples = (np.asarray(samples, np.uint16) >> 8).astype(np.uint8)
    if samples.shape[2] == 3:
        return samples
    if samples.dtype == np.uint8:
        return np.asarray(grey_or_rgb(Image.fromarray(samples), notes))
    raise ImageReadError(
        "unsupported_array", f"expected alpha in uint8 or uint16, found {samples.dtype.name}; drop the alpha channel"
    )


def _read_only(pixels: Pixels) -> Pixels:
    view = pixels.view()
    view.flags.writeable = False
    return view
