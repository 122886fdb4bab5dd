"""Reads images from files, bytes and arrays; what a file is, its content decides, never its name."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.array import read_array
from semise_sdk.images.readers.dicom import is_dicom, read_dicom
from semise_sdk.images.readers.raster import is_raster, read_raster
from semise_sdk.images.readers.scan import find_images, scan_images
from semise_sdk.images.record import ImageRecord
from semise_sdk.spec import DicomPolicy

__all__ = ["MAX_PIXELS", "find_images", "read_image", "scan_images"]

MAX_FILE_BYTES = 1 << 30
"""Largest file read: 100 million pixels of 16-bit RGBA, uncompressed, take 0.8 GB."""

MAX_PIXELS = 100_000_000
"""Most pixels of an image, unless the caller says otherwise."""

_HEAD_BYTES = 132
_DICOM_POLICY = DicomPolicy()
_Source = str | os.PathLike[str] | bytes | NDArray[np.generic]
_Reader = Callable[[bytes, str, int, DicomPolicy], ImageRecord]


def read_image(source: _Source, *, max_pixels: int = MAX_PIXELS, dicom: DicomPolicy = _DICOM_POLICY) -> ImageRecord:
    """Returns one image, decoded and upright, at its stored depth.

    A file, its bytes and the array of its pixels give the same record but for ``source``, ``format`` and notes on
    the container. Of a file with several frames the first is read, of DICOM the one that ``dicom`` says. Safe to call
    from many threads.

    Args:
        source: Path of a PNG, JPEG, TIFF, BMP, WebP or DICOM file, its bytes, or an array ``[H, W]``, ``[H, W, 1]``,
            ``[H, W, 2]`` (grey and alpha), ``[H, W, 3]`` (RGB, in this order) or ``[H, W, 4]`` (RGB and alpha) of bool,
            uint8, uint16, int32 or float32; alpha only with uint8 and uint16. Colours of uint16 keep their high byte.
        max_pixels: Refuses larger images before their pixels are decoded. Pillow's own limit of 178,956,970 pixels
            holds as well.
        dicom: Which DICOM files are accepted, as the model's InputSpec holds it.

    Raises:
        ImageReadError: Whatever is wrong with the image, with one of the codes ``not_found``, ``not_a_file``,
            ``not_readable``, ``file_too_large``, ``empty_file``, ``not_an_image``, ``unsupported_format``,
            ``unsupported_array``, ``too_many_pixels``, ``truncated``, ``damaged`` and ``out_of_memory``; and of DICOM
            ``missing_package``, ``unsupported_sop_class``, ``unsupported_transfer_syntax``, ``for_processing``,
            ``burned_in`` and ``several_frames``.
        TypeError: ``source`` is none of the types above.
    """
    label = _label(source)
    name = repr(Path(label).name)  # printable whatever the file is called
    try:
        return _read(source, label, max_pixels, dicom)
    except ImageReadError as error:
        raise ImageReadError(error.code, f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageReadError(
            "out_of_memory", f"{name}: expected to hold the image in memory, found too little"
        ) from error


def _read(source: _Source, label: str, max_pixels: int, dicom: DicomPolicy) -> ImageRecord:
    if isinstance(source, np.ndarray):
        return read_array(source, label, max_pixels)
    data = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else _read_file(source)
    return _reader_for(data)(data, label, max_pixels, dicom)


def _label(source: _Source) -> str:
    if isinstance(source, np.ndarray):
        return "<array>"
    return "<bytes>" if isinstance(source, bytes | bytearray | memoryview) else os.fspath(source)


def _read_file(source: str | os.PathLike[str]) -> bytes:
    path = Path(source)
    try:
        _refuse_what_is_no_file(path.stat())
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
            _reader_for(head)
            return head + stream.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageReadError("not_found", "expected an image file, found nothing by that name") from error
    except OSError as error:
        problem = error.strerror or "an input error"
        raise ImageReadError("not_readable", f"expected a readable file, found {problem.lower()!r}") from error
    except ValueError as error:
        raise ImageReadError("not_found", "expected a file name, found one with a null character") from error


def _refuse_what_is_no_file(status: os.stat_result) -> None:
    # Opening a FIFO waits for a writer, and reading a device may never end: only a regular file is opened at all.
    if stat.S_ISDIR(status.st_mode):
        raise ImageReadError("not_a_file", "expected an image file, found a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ImageReadError("not_a_file", "expected an image file, found a pipe, socket or device")
    if status.st_size > MAX_FILE_BYTES:
        raise ImageReadError(
            "file_too_large",
            f"expected at most {MAX_FILE_BYTES:,} bytes, found {status.st_size:,}; save a smaller copy",
        )


def _reader_for(data: bytes) -> _Reader:
    if not data:
        raise ImageReadError("empty_file", "expected an image, found no data at all")
    for accepts, reader in _READERS:
        if accepts(data):
            return reader
    raise ImageReadError("not_an_image", "expected a PNG, JPEG, TIFF, BMP, WebP or DICOM image, found none of them")


def _read_raster(data: bytes, source: str, max_pixels: int, _dicom: DicomPolicy) -> ImageRecord:
    return read_raster(data, source, max_pixels)


# DICOM first: its free 128-byte preamble may hold a TIFF header.
_READERS: tuple[tuple[Callable[[bytes], bool], _Reader], ...] = (
    (is_dicom, read_dicom),
    (is_raster, _read_raster),
)
