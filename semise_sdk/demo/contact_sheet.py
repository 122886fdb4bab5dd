"""A contact sheet: thumbnails of a ranking in reading order, most severe first, to be looked at."""

import logging
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from semise_sdk.errors import ImageReadError, SpecError
from semise_sdk.images.preprocess import to_eight_bits
from semise_sdk.images.readers import read_image
from semise_sdk.results import RankedImage
from semise_sdk.spec import DicomPolicy, Intensity

_LOG = logging.getLogger(__name__)

MAX_TILES = 240
"""Most thumbnails on a sheet; of a longer ranking, rows at even distances are shown."""

MAX_PIXELS = 40_000_000
"""Most pixels of a sheet, which takes three bytes a pixel to draw: large thumbnails leave room for fewer."""

_MARGIN, _GAP, _BAR, _LINE, _PADDING = 16, 12, 6, 16, 5
_WHITE, _INK, _FAINT, _FAILED, _TRACK = "#ffffff", "#1f2328", "#59636e", "#d8dbe0", "#e6e8eb"
_MASK_OUTLINE = (255, 210, 0)
_SEVERITY_COLOURS = ((0.0, (46, 160, 67)), (0.5, (230, 180, 34)), (1.0, (207, 34, 46)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SheetItem:
    """One thumbnail and what is written below it.

    Args:
        image: Path of the image, or its pixels as :func:`semise_sdk.images.readers.read_image` takes them; None where
            there is nothing to show.
        caption: Lines below the thumbnail, most important first.
        severity: Severity score, 0 to 2; None for an image that failed.
        mask: ``uint8 [H, W]`` of the image's upright size whose outline is drawn (values above 127); None for none.
        failure: Why the image could not be judged; it is written on a grey tile in place of the image.
    """

    image: Path | NDArray[np.generic] | None
    caption: tuple[str, ...] = ()
    severity: float | None = None
    mask: NDArray[np.uint8] | None = None
    failure: str = ""


def ranked_item(
    row: RankedImage,
    image: Path | NDArray[np.generic] | None,
    *,
    true_grade: str | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> SheetItem:
    """Returns the thumbnail of one row of a ranking: rank and severity, then grade and, where known, the true one.

    Example:
        >>> row = RankedImage(rank=3, file="a.png", severity=0.5, grade="mild", status="ok", reason="")
        >>> ranked_item(row, None, true_grade="mild").caption
        ('#3   0.500', 'mild', 'true: mild')
    """
    if row.severity is None:
        return SheetItem(image=None, caption=(Path(row.file).name,), failure=row.reason or "failed")
    place = "" if row.rank is None else f"#{row.rank}   "
    truth = "" if true_grade is None else f"true: {true_grade}"
    lines = (f"{place}{row.severity:.3f}", row.grade or "", truth)
    return SheetItem(image=image, caption=tuple(line for line in lines if line), severity=row.severity, mask=mask)


def contact_sheet(
    items: Sequence[SheetItem],
    *,
    columns: int = 8,
    thumbnail: int = 128,
    title: str = "",
    intensity: str = "full_range",
    dicom: DicomPolicy | None = None,
    max_tiles: int = MAX_TILES,
) -> Image.Image:
    """Returns the sheet as an RGB picture on white: items in reading order, each with its caption and severity bar.

    The bar's length and colour, green to red, place a severity between the lowest and the highest of ``items``.
    More items than ``max_tiles``, or than fit in MAX_PIXELS, are sampled at even distances, first and last included,
    and the sheet says so. An image that cannot be read becomes a grey tile with the reason.

    Args:
        items: In the order to show, most severe first.
        columns: Thumbnails a row.
        thumbnail: Side of a thumbnail in pixels, 32 to 512; images keep their aspect ratio.
        title: Line above the thumbnails.
        intensity: Policy that maps deep pixels to 8 bits, as the model's InputSpec names it.
        dicom: Which DICOM files are shown, as the model's InputSpec holds it; None for its default.
        max_tiles: Most thumbnails shown.

    Raises:
        SpecError: an unknown intensity policy.
        ValueError: no items, or a number outside its range.
    """
    if not items or columns < 1 or max_tiles < 2 or not 32 <= thumbnail <= 512:
        raise ValueError(
            "expected items, at least 1 column, at least 2 tiles and thumbnails of 32 to 512 pixels, found "
            f"{len(items)} items, {columns} columns, {max_tiles} tiles and {thumbnail} pixels"
        )
    reading = _Reading(Intensity.parse(intensity), dicom or DicomPolicy())
    scale = _Scale.of(items)
    lines = max(len(item.caption) for item in items)
    shown = [items[index] for index in _evenly(len(items), min(max_tiles, _room(thumbnail, lines)))]
    header = _header(title, shown=len(shown), total=len(items))
    layout = _Layout(
        columns=min(columns, len(shown)), tiles=len(shown), thumbnail=thumbnail, lines=lines, header=header
    )
    sheet = Image.new("RGB", layout.size, _WHITE)
    _write_lines(sheet, layout.header, (_MARGIN, _MARGIN), width=layout.size[0] - 2 * _MARGIN)
    for index, item in enumerate(shown):
        sheet.paste(_tile(item, layout, scale, reading), layout.corner(index))
    return sheet


@dataclass(frozen=True, slots=True)
class _Reading:
    """How an image comes to its 8 bits."""

    intensity: Intensity
    dicom: DicomPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where everything lies, in pixels."""

    columns: int
    tiles: int
    thumbnail: int
    lines: int
    header: tuple[str, ...]

    @property
    def tile(self) -> tuple[int, int]:
        return _tile_size(self.thumbnail, self.lines)

    @property
    def top(self) -> int:
        return _MARGIN + (len(self.header) * _LINE + _GAP if self.header else 0)

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.tile
        rows = -(-self.tiles // self.columns)
        across = 2 * _MARGIN + self.columns * (width + _GAP) - _GAP
        return across, self.top + rows * (height + _GAP) - _GAP + _MARGIN

    def corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        width, height = self.tile
        return _MARGIN + column * (width + _GAP), self.top + row * (height + _GAP)


@dataclass(frozen=True, slots=True)
class _Scale:
    """The range of severities that the bars span."""

    low: float
    high: float

    @classmethod
    def of(cls, items: Sequence[SheetItem]) -> "_Scale":
        severities = [item.severity for item in items if item.severity is not None]
        return cls(min(severities, default=0.0), max(severities, default=0.0))

    def share(self, severity: float) -> float:
        """Returns where ``severity`` lies, 0 at the lowest and 1 at the highest; 0 when all are equal."""
        return (severity - self.low) / (self.high - self.low) if self.high > self.low else 0.0


def _evenly(count: int, most: int) -> list[int]:
    """Returns at most ``most`` indices at even distances, first and last included."""
    if count <= most:
        return list(range(count))
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]


def _room(thumbnail: int, lines: int) -> int:
    """Returns how many tiles MAX_PIXELS hold, at least 2."""
    width, height = _tile_size(thumbnail, lines)
    return max(2, MAX_PIXELS // ((width + _GAP) * (height + _GAP)))


def _tile_size(thumbnail: int, lines: int) -> tuple[int, int]:
    return thumbnail, thumbnail + _PADDING + _BAR + _PADDING + _LINE * lines


def _header(title: str, *, shown: int, total: int) -> tuple[str, ...]:
    lines = [title] if title else []
    if shown < total:
        lines.append(f"{shown} of {total} images, at even distances along the ranking")
    return tuple(lines)


def _tile(item: SheetItem, layout: _Layout, scale: _Scale, reading: _Reading) -> Image.Image:
    tile = Image.new("RGB", layout.tile, _WHITE)
    tile.paste(_picture(item, layout.thumbnail, reading), (0, 0))
    bar_top = layout.thumbnail + _PADDING
    if item.severity is not None:
        _draw_bar(tile, scale.share(item.severity), top=bar_top)
    _write_lines(tile, item.caption, (0, bar_top + _BAR + _PADDING), width=layout.thumbnail)
    return tile


def _picture(item: SheetItem, side: int, reading: _Reading) -> Image.Image:
    if item.failure or item.image is None:
        return _grey_tile(item.failure or "no image", side)
    try:
        pixels = to_eight_bits(read_image(item.image, dicom=reading.dicom), reading.intensity)
    except (ImageReadError, SpecError) as error:
        reason = error.reason if isinstance(error, ImageReadError) else str(error)
        _LOG.warning("left out of the contact sheet: %s", reason)
        return _grey_tile(reason, side)
    image = ImageOps.contain(Image.fromarray(pixels).convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    if item.mask is not None:
        _outline(image, item.mask)
    square = Image.new("RGB", (side, side), _WHITE)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _outline(image: Image.Image, mask: NDArray[np.uint8]) -> None:
    """Draws the inner edge of the mask, one pixel wide whatever the thumbnail's size."""
    placed = Image.fromarray(np.where(mask > 127, 255, 0).astype(np.uint8)).resize(image.size, Image.Resampling.BOX)
    inside = placed.point([0] * 128 + [255] * 128)
    edge = ImageChops.subtract(inside, inside.filter(ImageFilter.MinFilter(3)))
    image.paste(_MASK_OUTLINE, (0, 0), edge)


def _grey_tile(reason: str, side: int) -> Image.Image:
    tile = Image.new("RGB", (side, side), _FAILED)
    lines = textwrap.wrap(reason, width=max(8, side // 7))[: max(1, (side - 2 * _PADDING) // _LINE)]
    _write_lines(tile, lines, (_PADDING, _PADDING), width=side - 2 * _PADDING)
    return tile


def _draw_bar(tile: Image.Image, share: float, *, top: int) -> None:
    draw, right = ImageDraw.Draw(tile), tile.width - 1
    draw.rectangle((0, top, right, top + _BAR - 1), fill=_TRACK)
    # A sliver even at the lowest severity: an empty track would look like a failed image.
    draw.rectangle((0, top, max(3, round(share * right)), top + _BAR - 1), fill=_colour(share))


def _colour(share: float) -> tuple[int, int, int]:
    """Returns the colour between green (0), yellow (0.5) and red (1)."""
    stops = [stop for stop, _ in _SEVERITY_COLOURS]
    channels = zip(*(colour for _, colour in _SEVERITY_COLOURS), strict=True)
    red, green, blue = (round(float(np.interp(share, stops, channel))) for channel in channels)
    return red, green, blue


def _write_lines(picture: Image.Image, lines: Sequence[str], corner: tuple[int, int], *, width: int) -> None:
    """Writes lines from ``corner`` down, the first in ink and the others fainter, each cut to ``width``."""
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        place = corner[0], corner[1] + number * _LINE
        draw.text(place, _fitted(line, width), font=_font(), fill=_INK if number == 0 else _FAINT)


def _fitted(line: str, width: int) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in line)
    if _font().getlength(printable) <= width:
        return printable
    while printable and _font().getlength(printable + "...") > width:
        printable = printable[:-1]
    return printable + "..."


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=12)
