"""The pictures of one row as WebP: a thumbnail, and for the detail panel the image with its map and mask."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.reports.overlay import mask_layer, severity_layer
from semise_sdk.results import Analysis

THUMBNAIL_SIDE = 96
DETAIL_SIDE = 512
MAP_SIDE = 96
"""Longest side of the severity map: the network's own has 7 to 16 places a side, and the browser smooths it."""

_QUALITY = 80
_FASTEST = 2  # of WebP's methods 0 to 6: a page of 2,000 rows has 8,000 pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPictures:
    """What can be seen of one row; each picture is WebP, empty where there is none.

    Args:
        thumbnail: The image, at most 96 pixels a side.
        image: The image, at most 512 pixels a side, never enlarged.
        severity_map: Its severity map as a layer with alpha, which the page stretches over ``image``.
        mask: Its mask as a layer with alpha, of the size of ``image``.
        mask_area: Share of the image's area that the mask covers; None without a mask.
        reference: Place of the nearest healthy reference in the bank; None where it is not known.
    """

    thumbnail: bytes = b""
    image: bytes = b""
    severity_map: bytes = b""
    mask: bytes = b""
    mask_area: float | None = None
    reference: int | None = None

    @property
    def detail_bytes(self) -> int:
        """What the pictures of the detail panel weigh in a page, in bytes of base64."""
        return sum(-(-len(picture) // 3) * 4 for picture in (self.image, self.severity_map, self.mask))


NO_PICTURES = RowPictures()


def draw(pixels: NDArray[np.uint8], analysis: Analysis | None = None) -> RowPictures:
    """Returns a row's pictures.

    Args:
        pixels: The image, ``uint8 [H, W, 3]``.
        analysis: What the model says of it, mask and map at the image's size; None leaves out all but the thumbnail.
    """
    image = Image.fromarray(pixels)
    thumbnail = as_webp(_within(image, THUMBNAIL_SIDE))
    if analysis is None:
        return RowPictures(thumbnail=thumbnail)
    shown = _within(image, DETAIL_SIDE)
    return RowPictures(
        thumbnail=thumbnail,
        image=as_webp(shown),
        severity_map=b"" if analysis.severity_map is None else _map(analysis.severity_map),
        mask=b"" if analysis.mask is None else _mask(analysis.mask, shown.size),
        mask_area=analysis.area_fraction,
        reference=analysis.nearest_reference,
    )


def as_webp(image: Image.Image, *, lossless: bool = False) -> bytes:
    """Returns a picture as WebP; the same pixels give the same bytes."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=_FASTEST, lossless=lossless)
    return stream.getvalue()


def data_uri(webp: bytes) -> str:
    """Returns a WebP picture as the source of an ``img``; empty where there is none."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}" if webp else ""


def _within(image: Image.Image, side: int) -> Image.Image:
    size = _shrunk(image.size, side)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _shrunk(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Returns the size within ``side`` of the same ratio, at least a pixel wide and high: not all images are."""
    shrink = min(1.0, side / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _map(severity_map: NDArray[np.float32]) -> bytes:
    whole = Image.fromarray(severity_map)
    small = whole.resize(_shrunk(whole.size, MAP_SIDE), Image.Resampling.BILINEAR)
    return as_webp(Image.fromarray(severity_layer(np.asarray(small))))


def _mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    coverage = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BOX))
    inside = coverage > 127
    if not inside.any():  # a lesion smaller than a pixel of the panel is still a lesion
        inside = coverage > 0
    return as_webp(Image.fromarray(mask_layer(np.where(inside, np.uint8(255), np.uint8(0)))), lossless=True)
