"""A decoded image, and its place on the canvas that the network sees."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int32] | NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One decoded image, upright, at its stored depth.

    Args:
        pixels: ``[H, W]`` grey or ``[H, W, 3]`` RGB; uint8 and uint16 as stored, int32 and float32 for formats
            that hold such values.
        bits: Significant bits of integer pixels (8, 12, 16, ...); 0 for float pixels, which have no full range.
        source: Name for messages: the path, or ``<bytes>``, ``<array>``.
        format: ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``WEBP`` or ``array``.
        notes: What reading had to decide, one sentence each ("frame 1 of 12", "alpha composited on black").
    """

    pixels: Pixels
    bits: int
    source: str
    format: str
    notes: tuple[str, ...] = ()

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
