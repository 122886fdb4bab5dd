"""From the bytes of a DICOM file to its record, with nothing that pydicom says about them let through."""

import logging

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.codec import Codec, codec_for
from semise_sdk.images.readers.dicom.colour import rgb_of_palette, rgb_of_samples
from semise_sdk.images.readers.dicom.frame import decode_frame
from semise_sdk.images.readers.dicom.greyscale import grey_scale
from semise_sdk.images.readers.dicom.header import (
    GREY,
    PALETTE,
    Layout,
    check_items,
    missing,
    read_header,
    read_pixels,
    transfer_syntax,
)
from semise_sdk.images.readers.dicom.policy import check_laterality, check_policy, chosen_frame, notes_on
from semise_sdk.images.readers.quiet import hush, quiet
from semise_sdk.images.readers.raster import check_size
from semise_sdk.images.record import ImageRecord, Pixels
from semise_sdk.spec import DicomPolicy


def decode(data: bytes, source: str, max_pixels: int, policy: DicomPolicy) -> ImageRecord:
    """Returns the record of a DICOM file's bytes; raises ImageReadError as :func:`read_dicom` says."""
    try:
        with quiet(_drop):
            return _decode(data, source, max_pixels, policy)
    except (ImageReadError, MemoryError):
        raise
    except EOFError:
        raise ImageReadError("truncated", "expected a complete DICOM file, found it cut short") from None
    except Exception as error:  # pydicom and its decoders raise anything on damaged data
        # Neither the error's text nor the error itself goes on: they quote values of the header.
        kind = type(error).__name__
        raise ImageReadError("damaged", f"expected a readable DICOM file, found damaged data ({kind})") from None


def _decode(data: bytes, source: str, max_pixels: int, policy: DicomPolicy) -> ImageRecord:
    syntax = transfer_syntax(data)
    check_items(data, syntax)
    header, has_pixels = read_header(data, with_frames=policy.laterality != "any")
    check_policy(header, policy)
    codec = codec_for(syntax)
    if not has_pixels:
        raise ImageReadError("truncated", "expected pixel data behind the header, found none; send the file again")
    layout = Layout.of(header)
    check_size(layout.columns, layout.rows, max_pixels)
    index = chosen_frame(layout.frames, policy)
    check_laterality(header, index, policy)
    notes = [f"{codec.name} decoded by {codec.package}"]
    if layout.frames > 1:
        notes.append(f"frame {index + 1} of {layout.frames}")
    notes.extend(notes_on(header, index))
    dataset = read_pixels(data)
    _complete(dataset, layout, codec)
    values = decode_frame(dataset, layout, codec, index, notes)
    return _record(values, dataset, layout, index, source=source, notes=notes)


def _complete(dataset: Dataset, layout: Layout, codec: Codec) -> None:
    """Adds the elements that pydicom asks for and the header lacks."""
    dataset.SamplesPerPixel, dataset.BitsStored = layout.samples, layout.stored
    if layout.samples > 1 and dataset.get("PlanarConfiguration") is None:
        if not codec.plugin:
            raise missing("PlanarConfiguration")
        dataset.PlanarConfiguration = 0  # the stream says it


def _record(
    values: NDArray[np.int32], dataset: Dataset, layout: Layout, index: int, *, source: str, notes: list[str]
) -> ImageRecord:
    if layout.photometric not in GREY:
        is_palette = layout.photometric == PALETTE
        rgb = rgb_of_palette(values, dataset, notes) if is_palette else rgb_of_samples(values, layout, notes)
        return ImageRecord(pixels=rgb, bits=8, source=source, format="DICOM", notes=tuple(notes))
    grey = grey_scale(dataset, layout, index, notes)
    pixels = _narrow(values, layout)
    return ImageRecord(pixels=pixels, bits=layout.stored, source=source, format="DICOM", notes=tuple(notes), grey=grey)


def _narrow(values: NDArray[np.int32], layout: Layout) -> Pixels:
    if layout.is_signed:
        return values
    return values.astype(np.uint8) if layout.stored <= 8 else values.astype(np.uint16)


def _drop(_text: str) -> None:
    """Forgets what pydicom says: it quotes values of the header."""


# After the imports above, which make these loggers; another thread may make one meanwhile.
_loggers = list(logging.root.manager.loggerDict)
hush(name for name in _loggers if name.partition(".")[0] in ("pydicom", "pylibjpeg", "openjpeg"))
