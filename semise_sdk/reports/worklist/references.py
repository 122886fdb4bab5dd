"""Thumbnails of the healthy references that a worklist shows beside an image."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from semise_sdk.errors import BundleError, ImageReadError
from semise_sdk.reports.worklist.illustrate import Display
from semise_sdk.reports.worklist.pictures import THUMBNAIL_SIDE, as_webp, draw
from semise_sdk.severity.reference_bank import MAX_REFERENCES


def bundle_thumbnails(pictures: Mapping[int, bytes]) -> tuple[bytes, ...]:
    """Returns the PNG thumbnails of a bundle as WebP, each at its reference's place in the bank, empty where none is.

    Raises:
        BundleError: one is no PNG of a thumbnail's size.
    """
    last = max(pictures, default=-1)
    return tuple(_converted(index, pictures[index]) if index in pictures else b"" for index in range(last + 1))


def image_thumbnails(images: Sequence[Path], display: Display) -> tuple[bytes, ...]:
    """Returns thumbnails of images that were given as references, in order; none of more than a page should carry.

    Args:
        images: Their files.
        display: How a file is shown (see :meth:`semise_sdk.predictor.Predictor.display`).
    """
    if len(images) > MAX_REFERENCES:
        return ()
    return tuple(_thumbnail(image, display) for image in images)


def _thumbnail(image: Path, display: Display) -> bytes:
    try:
        return draw(display(image)).thumbnail
    except ImageReadError:  # it was there a moment ago
        return b""


def _converted(index: int, png: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if max(image.size) > THUMBNAIL_SIDE:
                raise BundleError(
                    f"expected reference pictures of at most {THUMBNAIL_SIDE} pixels a side, found picture {index} of "
                    f"{image.width}x{image.height}: export the bundle again"
                )
            return as_webp(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        found = f"{len(png)} bytes that are none ({type(error).__name__})"
        raise BundleError(f"expected reference picture {index} to be a PNG, found {found}: export again") from error
