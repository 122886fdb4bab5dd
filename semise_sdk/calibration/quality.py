"""What can be measured of a picture before any network sees it, and the limits that calibration images set to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.calibration.conformal import upper_limit
from semise_sdk.images.record import Canvas

LAYOUT_SIDE = 16
CONSTANT_RANGE = 2
"""Grey levels: what a JPEG or a resize makes of an image of one colour."""

_BLACK, _WHITE = 16, 235  # the black and the white of 8-bit video (ITU-R BT.601)
_LIMIT_SHARE = 0.01
_NEARLY_1 = 0.9999


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """What was measured of one image.

    Args:
        values: A number for every measure of ``MEASURES`` but ``layout``, in natural units.
        thumbnail: Mean grey of each of 16 x 16 fields, ``float64 [256]``.
        is_constant: True when the image is one colour, so that there is nothing in it to answer for.
    """

    values: Mapping[str, float]
    thumbnail: NDArray[np.float64]
    is_constant: bool


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure, the codes of what lies below and above its limits, and how to say them.

    Args:
        low: Code for values that are too low; empty where none are.
        high: Code for values that are too high; empty where none are.
        name: What it is, with its unit.
        room: How far from the median no limit lies nearer, on the measure's scale: calibration images that are all
            alike do not make every other image unusual.
        scale: What limits are set on: the value as it is, ``log`` for sizes, whose limits are ratios, or ``fisher``
            for correlations, which crowd at the ends of their range.
        span: The least and the largest value that there is.
    """

    low: str
    high: str
    name: str
    room: float
    scale: Literal["as it is", "log", "fisher"] = "as it is"
    span: tuple[float, float] = (0, math.inf)

    def scaled(self, value: float) -> float:
        """Returns a value on the scale that limits are set on."""
        if self.scale == "fisher":
            return math.atanh(min(max(value, -_NEARLY_1), _NEARLY_1))
        return math.log1p(value) if self.scale == "log" else value

    def natural(self, scaled: float) -> float:
        """Returns the value of a number on that scale."""
        if self.scale == "fisher":
            return math.tanh(scaled)
        return math.expm1(scaled) if self.scale == "log" else scaled


MEASURES: Mapping[str, Measure] = {
    "side": Measure("quality_size", "", "a shorter side in pixels", 0.25, scale="log"),
    "aspect": Measure("quality_aspect", "quality_aspect", "a width over height", 0.25, scale="log"),
    "brightness": Measure("quality_exposure", "quality_exposure", "a mean grey, 0 to 255,", 8, span=(0, 255)),
    "white": Measure("", "quality_exposure", "a share of white pixels", 0.02, span=(0, 1)),
    "contrast": Measure("quality_contrast", "", "a range of grey levels", 8, span=(0, 255)),
    "sharpness": Measure("quality_blur", "quality_noise", "a Laplacian variance", 0.5, scale="log"),
    "field": Measure("quality_field_of_view", "", "a share of pixels that are not black", 0.05, span=(0, 1)),
    "layout": Measure("quality_layout", "", "a correlation with the usual layout", 0.1, scale="fisher", span=(-1, 1)),
}
"""In the order in which they are looked at: the first that is out of its limits is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where an image of unusual quality is looked at by a person, and from where it is not scored.

    On each side ``review`` is what 99 of 100 further images of the same kind stay within, the calibration's extreme
    where it has under 199 images; ``abstain`` lies twice as far from the median. All on the measure's own scale; None
    where that side has no limit.
    """

    review_low: float | None = None
    review_high: float | None = None
    abstain_low: float | None = None
    abstain_high: float | None = None


def natural_limits(name: str, limits: Limits) -> dict[str, float | None]:
    """Returns the limits of a measure of ``MEASURES`` in its natural units; None for one that no image can pass."""
    measure, ends = MEASURES[name], {end: getattr(limits, end) for end in Limits.__dataclass_fields__}
    natural = {end: None if value is None else measure.natural(value) for end, value in ends.items()}
    least, most = measure.span
    return {end: value if value is not None and least < value < most else None for end, value in natural.items()}


def look(canvas: Canvas) -> Picture:
    """Returns what can be measured of an image on its canvas; the bars of a letterbox are left out."""
    geometry = canvas.geometry
    right, bottom = geometry.left + geometry.width, geometry.top + geometry.height
    colour = Image.fromarray(canvas.pixels).crop((geometry.left, geometry.top, right, bottom))
    image = colour.convert("L")
    thumbnail = image.resize((LAYOUT_SIDE, LAYOUT_SIDE), Image.Resampling.BOX)
    values = {
        "side": float(min(geometry.source_height, geometry.source_width)),
        "aspect": geometry.source_width / geometry.source_height,
        **_greys(np.array(image.histogram(), np.float64)),
        "sharpness": laplacian_variance(np.asarray(image)),
    }
    return Picture(
        values=values,
        thumbnail=np.asarray(thumbnail, np.float64).ravel(),
        is_constant=int(np.ptp(np.array(colour.getextrema()), axis=1).max()) <= CONSTANT_RANGE,
    )


def _greys(counts: NDArray[np.float64]) -> dict[str, float]:
    """Returns what a histogram ``[256]`` of grey levels measures."""
    shares = np.cumsum(counts / counts.sum())
    low, high = np.searchsorted(shares, (0.01, 0.99))
    return {
        "brightness": float(counts @ np.arange(256) / counts.sum()),
        "white": float(1 - shares[_WHITE - 1]),
        "contrast": float(high - low),
        "field": float(1 - shares[_BLACK]),
    }


def laplacian_variance(grey: NDArray[np.uint8]) -> float:
    """Returns the variance of the 4-neighbour Laplacian of an image ``[H, W]``, 0 for one under 3 pixels a side.

    Source: Pech-Pacheco et al. 2000, a measure of focus; of the canvas, which is as sharp as the network sees it.
    """
    if min(grey.shape) < 3:
        return 0.0
    wide = grey.astype(np.int16)  # at most 4 x 255
    change = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    return float(change.astype(np.float32).var(dtype=np.float64))


def layout_correlation(thumbnail: NDArray[np.float64], usual: NDArray[np.float64]) -> float:
    """Returns Pearson's correlation of two thumbnails ``[256]``, -1 to 1; 0 where one of them is flat."""
    one, other = thumbnail - thumbnail.mean(), usual - usual.mean()
    scale = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / scale if scale > 0 else 0.0


def limits_of(values: NDArray[np.float64], measure: Measure) -> Limits:
    """Returns the limits that the values ``[n]`` of calibration images set, on the measure's scale."""
    scaled = np.array([measure.scaled(value) for value in values])
    median = float(np.median(scaled))

    def ends(sign: int) -> tuple[float, float]:
        farthest = min(upper_limit(sign * (scaled - median), 1 - _LIMIT_SHARE), float((sign * (scaled - median)).max()))
        room = max(farthest, measure.room)
        return median + sign * room, median + 2 * sign * room

    low, high = ends(-1), ends(1)
    return Limits(
        review_low=low[0] if measure.low else None,
        abstain_low=low[1] if measure.low else None,
        review_high=high[0] if measure.high else None,
        abstain_high=high[1] if measure.high else None,
    )
