"""Turns a decoded image into the canvas that the network takes: the only resize and intensity map of the project.

An image reaches 8 bits first and is resized after. A stored value then means the same grey on every canvas, a window
clips stored values as a display does, and the common 8-bit image goes straight to Pillow's resize. The price is one
rounding of half a grey level before the two that Pillow's 8-bit resize makes anyway.
"""

from functools import lru_cache
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from semise_sdk.errors import ImageReadError, SpecError
from semise_sdk.images.record import Canvas, Geometry, GreyScale, ImageRecord, Pixels
from semise_sdk.spec import InputSpec, Intensity, Interpolation

_FILTERS: dict[Interpolation, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}

# Values of at most 8 bits are made for a display; deeper ones without a window would mostly be next to black.
_DISPLAY_BITS = 8
# A window of 2 ** bits misses the full range by a rounding, which is not another picture.
_SAME_PICTURE = 2

_HALF = 0.4999  # half of a pixel, summed in float32, may come out a little below 0.5


def to_canvas(record: ImageRecord, spec: InputSpec) -> Canvas:
    """Returns the image as the network takes it, ``uint8 [spec.height, spec.width, 3]``, and where it lies there.

    The same record and spec always give the same bytes. Pillow's filters antialias when they shrink; no shortcut
    (``reducing_gap``, JPEG draft mode) is taken, so that training and deployment see the same pixels.

    Raises:
        ImageReadError: ``no_full_range`` or ``not_finite`` (see :func:`to_eight_bits`).
        SpecError: The intensity policy does not fit this kind of image.
    """
    geometry = geometry_for(record.height, record.width, spec)
    image = Image.fromarray(to_eight_bits(record, Intensity.parse(spec.intensity)))
    if spec.colour == "grey" and image.mode == "RGB":
        image = image.convert("L")  # ITU-R 601 luminance; before the resize, which then costs a third
    if image.size != (geometry.width, geometry.height):
        image = image.resize((geometry.width, geometry.height), _FILTERS[spec.interpolation])
    return Canvas(_on_canvas(np.asarray(image), spec, geometry), geometry)


def to_eight_bits(record: ImageRecord, intensity: Intensity) -> NDArray[np.uint8]:
    """Returns the image's pixels as ``uint8`` of the same shape, mapped linearly by an intensity policy.

    ``full_range`` maps 0 to ``2 ** bits - 1``, ``window(c,w)`` maps c - w/2 to c + w/2, ``percentile(lo,hi)`` maps
    the image's own percentiles (of all channels together) to 0 to 255. Values outside are clipped, halves round up.
    Where both percentiles coincide, values above them become 255 and all others 0.

    Of grey DICOM, these act on modality values, ``full_range`` on all that the stored bits can hold; ``dicom_voi``
    applies the header's VOI LUT or window. Whatever the policy, an image whose low values are white is turned:
    percentiles count from its black. Where no window is given, padding is left out of the contrast and is black
    (PS3.3 C.7.5.1.1.2). Colour of DICOM is taken as it is under ``dicom_voi`` too.

    Raises:
        ImageReadError: ``no_full_range`` for 32-bit and float pixels under ``full_range``, and for grey DICOM that its
            header shows through another window; ``not_finite`` for NaN or infinity among float pixels.
        SpecError: The policy is ``dicom_voi``, and the image is no DICOM.
    """
    if record.grey is not None:
        return _grey_levels(record, record.grey, intensity)
    if intensity.kind == "dicom_voi" and record.format != "DICOM":
        raise SpecError(f"intensity policy dicom_voi needs DICOM, found a {record.format} image; use another bundle")
    pixels = record.pixels
    if intensity.kind in ("full_range", "dicom_voi"):
        _require_full_range(record)
        is_done = pixels.dtype == np.uint8
        return np.asarray(pixels, np.uint8) if is_done else _mapped(pixels, 0.0, 2.0**record.bits - 1)
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise ImageReadError("not_finite", f"{_name(record)}: expected finite pixel values, found NaN or infinity")
    if intensity.kind == "window":
        return _mapped(pixels, intensity.first - intensity.second / 2, intensity.first + intensity.second / 2)
    low, high = np.percentile(pixels, (intensity.first, intensity.second))
    return _mapped(pixels, float(low), float(high))


def geometry_for(height: int, width: int, spec: InputSpec) -> Geometry:
    """Returns where an image of ``height x width`` lies on the canvas: centred, at least one pixel a side.

    ``letterbox`` scales both sides alike until one fills the canvas; ``stretch`` fills it with both.
    """
    if height < 1 or width < 1:
        raise ValueError(f"expected an image of at least 1 x 1 pixels, found {height} x {width}")
    fitted_height, fitted_width = spec.height, spec.width
    if spec.fit == "letterbox" and height * spec.width >= width * spec.height:
        fitted_width = _scaled(width, spec.height, height)
    elif spec.fit == "letterbox":
        fitted_height = _scaled(height, spec.width, width)
    return Geometry(
        source_height=height,
        source_width=width,
        canvas_height=spec.height,
        canvas_width=spec.width,
        top=(spec.height - fitted_height) // 2,
        left=(spec.width - fitted_width) // 2,
        height=fitted_height,
        width=fitted_width,
    )


def place_mask(mask: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Returns a mask ``[H, W]`` of 0 and 255 on the canvas, ``uint8 [spec.height, spec.width]`` of 0 and 255.

    It lies exactly where :func:`to_canvas` lays its image; the bars of a letterbox are 0. Values above 127 count.
    A canvas pixel belongs to the mask when at least half of the source pixels under it do. A lesion too small for
    that keeps its best covered pixel, so that no lesion vanishes.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"expected a mask uint8 [H, W], found {mask.dtype} with shape {mask.shape}")
    geometry = geometry_for(mask.shape[0], mask.shape[1], spec)
    inside = Image.fromarray((mask > 127).astype(np.float32))
    coverage = inside.resize((geometry.width, geometry.height), Image.Resampling.BOX)
    placed = np.zeros((spec.height, spec.width), np.uint8)
    _window(placed, geometry)[:] = np.where(_belongs(coverage), np.uint8(255), np.uint8(0))
    return placed


def mask_to_source(probability: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Returns a map over the canvas ``float32 [h, w]`` as one over the source image ``float32 [H, W]``, bilinearly.

    The map may be coarser than the canvas, as the severity map is: it is first scaled to the canvas. The bars of a
    letterbox are cut off before the last resize and do not bleed into the image.
    """
    if probability.ndim != 2:
        raise ValueError(f"expected a map [h, w], found shape {probability.shape}")
    image = Image.fromarray(np.ascontiguousarray(probability, np.float32))
    image = _resized(image, geometry.canvas_width, geometry.canvas_height)
    right, bottom = geometry.left + geometry.width, geometry.top + geometry.height
    image = image.crop((geometry.left, geometry.top, right, bottom))
    return np.asarray(_resized(image, geometry.source_width, geometry.source_height))


def _name(record: ImageRecord) -> str:
    return repr(PurePath(record.source).name)


def _require_full_range(record: ImageRecord) -> None:
    if record.pixels.dtype not in (np.uint8, np.uint16):
        raise ImageReadError(
            "no_full_range",
            f"{_name(record)}: expected 8- or 16-bit pixels under the policy full_range, found "
            f"{record.pixels.dtype}; use a bundle trained with a window or percentile policy",
        )


def _grey_levels(record: ImageRecord, scale: GreyScale, intensity: Intensity) -> NDArray[np.uint8]:
    index = record.pixels if scale.first == 0 else record.pixels - scale.first
    if intensity.kind == "full_range":
        _require_shown_as_stored(record, scale)
        table = _span(scale.modality, is_inverted=scale.is_inverted)
    elif intensity.kind == "window":
        low, high = intensity.first - intensity.second / 2, intensity.first + intensity.second / 2
        table = _levels(scale.modality.copy(), low, high, is_inverted=scale.is_inverted)
    elif intensity.kind == "percentile":
        table = _stretched(scale, index, intensity)
    elif scale.shown is not None:
        table = _levels(scale.shown.copy(), 0.0, 1.0, is_inverted=scale.is_inverted)
    elif record.bits <= _DISPLAY_BITS:
        table = _span(scale.modality, is_inverted=scale.is_inverted)
    else:
        table = _stretched(scale, index, Intensity("percentile", 0, 100))
    is_window_given = intensity.kind in ("full_range", "window") or (
        intensity.kind == "dicom_voi" and scale.shown is not None
    )
    if scale.is_padding is not None and not is_window_given:
        table[scale.is_padding] = 0
    return table[index]


def _span(values: NDArray[np.float64], *, is_inverted: bool) -> NDArray[np.uint8]:
    return _levels(values.copy(), float(values.min()), float(values.max()), is_inverted=is_inverted)


def _stretched(scale: GreyScale, index: Pixels, percentile: Intensity) -> NDArray[np.uint8]:
    """Returns the level of each stored value between two percentiles of the image's modality values."""
    counts = np.bincount(index.ravel(), minlength=len(scale.modality))
    if scale.is_padding is not None and counts[~scale.is_padding].any():
        counts[scale.is_padding] = 0
    low, high = percentile.first, percentile.second
    if scale.is_inverted:
        low, high = 100 - high, 100 - low
    ends = _percentiles(scale.modality, counts, (low, high))
    return _levels(scale.modality.copy(), *ends, is_inverted=scale.is_inverted)


def _percentiles(
    values: NDArray[np.float64], counts: NDArray[np.intp], percents: tuple[float, float]
) -> tuple[float, float]:
    """Returns what ``np.percentile`` gives of ``values`` repeated ``counts`` times, without repeating them."""
    order = np.argsort(values, kind="stable")
    ascending, ends = values[order], np.cumsum(counts[order])
    ranks = np.array(percents) / 100 * (ends[-1] - 1)
    below = np.floor(ranks)
    left = ascending[np.searchsorted(ends, below, side="right")]
    right = ascending[np.searchsorted(ends, np.ceil(ranks), side="right")]
    low, high = left + (ranks - below) * (right - left)
    return float(low), float(high)


def _require_shown_as_stored(record: ImageRecord, scale: GreyScale) -> None:
    if scale.shown is None:
        return
    by_header = _levels(scale.shown.copy(), 0.0, 1.0).astype(np.int16)
    if np.abs(by_header - _span(scale.modality, is_inverted=False)).max() > _SAME_PICTURE:
        raise ImageReadError(
            "no_full_range",
            f"{_name(record)}: expected grey values that the header shows over their full range under the policy "
            "full_range, found a VOI window or LUT that shows another picture; use a bundle trained with dicom_voi, "
            "window or percentile, or save the image as the training images were",
        )


def _mapped(pixels: Pixels, low: float, high: float) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return _table(1 << 8, low, high)[np.asarray(pixels, np.uint8)]
    if pixels.dtype == np.uint16:
        return _table(1 << 16, low, high)[np.asarray(pixels, np.uint16)]
    return _levels(pixels.astype(np.float64), low, high)


@lru_cache(maxsize=8)
def _table(length: int, low: float, high: float) -> NDArray[np.uint8]:
    """Returns the grey level of each value that an unsigned pixel can take: a look-up is faster than arithmetic."""
    return _levels(np.arange(length, dtype=np.float64), low, high)


def _levels(values: NDArray[np.float64], low: float, high: float, *, is_inverted: bool = False) -> NDArray[np.uint8]:
    if low == high:
        return np.where(values < low if is_inverted else values > low, np.uint8(255), np.uint8(0))
    if is_inverted:
        low, high = high, low
    values -= low
    values *= 255
    values /= high - low
    values += 0.5
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def _scaled(side: int, target: int, source: int) -> int:
    """Returns ``side * target / source`` in whole pixels, half rounded up, at least 1; exact for any size."""
    return max(1, (2 * side * target + source) // (2 * source))


def _on_canvas(pixels: NDArray[np.uint8], spec: InputSpec, geometry: Geometry) -> NDArray[np.uint8]:
    if pixels.shape == (spec.height, spec.width, 3):
        return pixels
    canvas = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
    window = _window(canvas, geometry)
    if pixels.ndim == 3:
        window[:] = pixels
        return canvas
    for channel in range(3):  # 4 times as fast as broadcasting over the last axis
        window[:, :, channel] = pixels
    return canvas


def _window(canvas: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    return canvas[geometry.top : geometry.top + geometry.height, geometry.left : geometry.left + geometry.width]


def _belongs(coverage: Image.Image) -> NDArray[np.bool_]:
    """Returns which pixels of a coverage map (mode F, 0 to 1) belong to the mask.

    Why not nearest: at a shrink of k it keeps a lesion of one pixel with probability 1/k^2 and roughens every
    outline. Why not half coverage alone: it deletes what is thinner than half a canvas pixel, such as the exudates of
    a fundus. So half coverage decides, and a peak of coverage with no mask pixel beside it is added: nothing that
    half coverage found grows, and nothing disappears.
    """
    neighbourhood = ImageFilter.MaxFilter(3)
    share = np.asarray(coverage, np.float32)
    peak = np.asarray(coverage.filter(neighbourhood), np.float32)
    belongs: NDArray[np.bool_] = (share >= _HALF) | ((share > 0) & (share == peak))
    return belongs


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def display_pixels(record: ImageRecord, spec: InputSpec) -> NDArray[np.uint8]:
    """Returns the image as ``uint8 [H, W, 3]`` at its own size, by the intensity policy that the model sees it with.

    Raises:
        ImageReadError: the policy cannot be applied to this image.
        SpecError: the policy needs another kind of image.
    """
    pixels = to_eight_bits(record, Intensity.parse(spec.intensity))
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
