"""An image on its way: named, decoded, and on the canvas that the network sees."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int32] | NDArray[np.float32]
Held_co = TypeVar("Held_co", bound=Path | bytes | NDArray[np.generic], covariant=True)


@dataclass(frozen=True, eq=False)  # slots and a subscript do not go together: NamedImage[Path](...) raises
class NamedImage(Generic[Held_co]):
    """An image to be read.

    Args:
        file: Its name in results; of a file found in a folder relative to that folder, with ``/`` between folders.
        source: Its file, the bytes of a file, or its pixels.
    """

    file: str
    source: Held_co


AnyImage = NamedImage[Path | bytes | NDArray[np.generic]]
FoundImage = NamedImage[Path]
"""A file; for annotations, as ``isinstance`` takes NamedImage only."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GreyScale:
    """What the stored values of a grey DICOM image mean, from the header (PS3.4 N.2): a table over all of them.

    Args:
        first: The stored value of the tables' first entry: 0, or the lowest signed one.
        modality: Modality value of each stored value, float64 ``[2 ** bits]``: after the modality LUT or rescale.
        shown: Where the VOI LUT or window puts each of them between its black, 0, and its white, 1, float64
            ``[2 ** bits]``; None where the header holds neither.
        is_inverted: True when the display turns the result: low values are white (MONOCHROME1).
        is_padding: Which stored values fill up what is no image, bool ``[2 ** bits]``; None where the header names
            none.
    """

    first: int
    modality: NDArray[np.float64]
    shown: NDArray[np.float64] | None
    is_inverted: bool
    is_padding: NDArray[np.bool_] | None = None

    @property
    def last(self) -> int:
        """The stored value of the tables' last entry."""
        return self.first + len(self.modality) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One decoded image, upright, at its stored depth.

    Args:
        pixels: ``[H, W]`` grey or ``[H, W, 3]`` RGB; uint8 and uint16 as stored, int32 and float32 for formats
            that hold such values. Of grey DICOM the stored values, which mean what ``grey`` says.
        bits: Significant bits of integer pixels (8, 12, 16, ...); 0 for float pixels, which have no full range.
        source: Name for messages: the path, or ``<bytes>``, ``<array>``.
        format: ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``WEBP``, ``DICOM`` or ``array``.
        notes: What reading had to decide, one sentence each ("frame 1 of 12", "alpha composited on black").
        grey: The meaning of a grey DICOM image's values; None for everything else.
    """

    pixels: Pixels
    bits: int
    source: str
    format: str
    notes: tuple[str, ...] = ()
    grey: GreyScale | None = None

    @property
    def brightness(self) -> Pixels:
        """The pixels as values that rise with brightness: as they are, or turned where low values are white."""
        if self.grey is None or not self.grey.is_inverted:
            return self.pixels
        turned = self.grey.first + self.grey.last - self.pixels.astype(np.int32)
        if self.pixels.dtype == np.uint8:
            return turned.astype(np.uint8)
        return turned.astype(np.uint16) if self.pixels.dtype == np.uint16 else turned

    @property
    def height(self) -> int:
        """Height in pixels after orientation."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels after orientation."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where an image of ``source_height x source_width`` lies on its canvas, all in pixels.

    The image fills rows ``top`` to ``top + height`` and columns ``left`` to ``left + width`` of the canvas.
    """

    source_height: int
    source_width: int
    canvas_height: int
    canvas_width: int
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Canvas:
    """An image as the network takes it: ``uint8 [H, W, 3]``, and its geometry."""

    pixels: NDArray[np.uint8]
    geometry: Geometry
