"""Severity maps and masks drawn over the image, or as layers of their own; PNG."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, PngImagePlugin

from semise_sdk.results import INTENDED_USE

MAP_TOP = 1.0
"""Severity at the top of the colour scale: a right angle to the reference. The scale is the same for every image, so
that two overlays can be compared and a healthy image stays plain."""

_MAP_OPACITY = 0.7
_MASK_OPACITY = 0.25
_MASK_COLOUR = (255, 64, 64)
# Eight equidistant colours of matplotlib's inferno (CC0): brighter always means more.
_SCALE = (
    np.frombuffer(bytes.fromhex("000004 280b54 65156e 9f2a63 d44842 f57d15 fac127 fcffa4"), np.uint8)
    .reshape(8, 3)
    .astype(np.float32)
)


def severity_overlay(pixels: NDArray[np.uint8], severity_map: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns ``uint8 [H, W, 3]``: the severity map over the image, clearer and brighter where severity is higher.

    Args:
        pixels: The image, ``uint8 [H, W, 3]``.
        severity_map: Severity of each pixel, ``[H, W]`` of 0 to 2; ``MAP_TOP`` and above have the top colour.
    """
    share = _share(severity_map)
    return _blend(pixels, _colours(share), (_MAP_OPACITY * share)[:, :, None])


def severity_layer(severity_map: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns the severity map by itself, ``uint8 [H, W, 4]``, to be laid over the image at any opacity.

    Its alpha is the severity's place on the colour scale, so that a healthy place stays clear.
    """
    share = _share(severity_map)
    return _with_alpha(_colours(share), share)


def mask_overlay(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns ``uint8 [H, W, 3]``: the mask (``[H, W]`` of 0 and 255) tinted over the image, with its outline."""
    return _blend(pixels, np.array(_MASK_COLOUR, np.float32), _mask_opacity(mask)[:, :, None])


def mask_layer(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the mask by itself, ``uint8 [H, W, 4]``: clear outside, tinted inside, with its outline."""
    colours = np.broadcast_to(np.array(_MASK_COLOUR, np.float32), (*mask.shape, 3))
    return _with_alpha(colours, _mask_opacity(mask))


def encode_png(pixels: NDArray[np.uint8], description: str = "") -> bytes:
    """Returns ``uint8 [H, W]`` or ``[H, W, 3]`` as PNG; the same pixels give the same bytes.

    Args:
        pixels: What to encode.
        description: Text that goes into the file, followed by what the picture may be used for.
    """
    text = PngImagePlugin.PngInfo()
    if description:
        text.add_text("Description", f"{description} {INTENDED_USE}")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", pnginfo=text)
    return stream.getvalue()


def _share(severity_map: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.clip(severity_map / np.float32(MAP_TOP), 0, 1), np.float32)


def _colours(share: NDArray[np.float32]) -> NDArray[np.float32]:
    levels = np.arange(256) / 255 * (len(_SCALE) - 1)
    table = np.stack([np.interp(levels, np.arange(len(_SCALE)), channel) for channel in _SCALE.T], axis=1)
    return table.astype(np.float32)[np.rint(share * 255).astype(np.uint8)]


def _mask_opacity(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    inside = mask > 0
    core = np.asarray(Image.fromarray(mask).filter(ImageFilter.MinFilter(_outline_size(mask)))) > 0
    return np.where(inside & ~core, np.float32(1), np.where(inside, np.float32(_MASK_OPACITY), np.float32(0)))


def _with_alpha(colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.concatenate([colours, 255 * opacity[:, :, None]], axis=2)), np.uint8)


def _blend(pixels: NDArray[np.uint8], colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> NDArray[np.uint8]:
    mixed = pixels + opacity * (colours - pixels)
    return np.rint(mixed).astype(np.uint8)


def _outline_size(mask: NDArray[np.uint8]) -> int:
    """Returns the odd window whose erosion leaves an outline that is seen at the picture's size: 3, 5 or 7."""
    shorter: int = min(mask.shape)
    return 3 + 2 * min(2, shorter // 600)
