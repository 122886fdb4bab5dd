"""Writes the pages of a worklist: self-contained HTML that asks nobody for anything and runs only its own script."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from semise_sdk.errors import ConfigError
from semise_sdk.reports.html_page import page_file, require_jinja, source_hash
from semise_sdk.reports.worklist.pictures import NO_PICTURES, RowPictures, data_uri
from semise_sdk.reports.worklist.rows import Counts, facts, needs_human, page_order, parted, split, visible
from semise_sdk.reports.worklist.scale import Bar, Bin, SeverityScale
from semise_sdk.results import INTENDED_USE, RankedImage, Ranking
from semise_sdk.system.atomic import atomic_file
from semise_sdk.tables.write import DECIMALS
from semise_sdk.version import __version__

if TYPE_CHECKING:
    from jinja2 import Template

ROWS_PER_PAGE = 2000
SUFFIX = ".html"

_PACKAGE = "semise_sdk.reports.worklist"

Illustrate = Callable[[Sequence[RankedImage]], Iterable[RowPictures]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """One row as the template shows it."""

    index: int
    row: RankedImage
    pictures: RowPictures
    bar: Bar | None
    name: str
    code: str
    sentence: str
    needs_human: bool

    @property
    def thumbnail(self) -> str:
        """The thumbnail as a data URI."""
        return data_uri(self.pictures.thumbnail)

    @property
    def details(self) -> dict[str, object]:
        """What the detail panel shows beside the facts; empty where there are no pictures."""
        pictures = self.pictures
        if not pictures.image:
            return {}
        layers = {"image": pictures.image, "map": pictures.severity_map, "mask": pictures.mask}
        shown: dict[str, object] = {name: data_uri(layer) for name, layer in layers.items() if layer}
        return shown | {"area": pictures.mask_area, "reference": pictures.reference}


@dataclass(frozen=True, slots=True)
class Group:
    """A band of the page: ``human`` or ``ranked``, and its rows."""

    kind: str
    views: Iterator[RowView]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worklist:
    """What every page of a worklist shows alike; ``ties`` counts the images of each tie group."""

    bundle: str
    reference: str
    backend: str
    precision: str
    created: str
    labels: tuple[str, ...]
    links: tuple[str, ...]
    references: tuple[str, ...]
    counts: Counts
    scale: SeverityScale
    histogram: tuple[Bin, ...]
    has_grades: bool
    has_percentiles: bool
    ties: Mapping[int, int]
    grade_sets: str | None = None

    def to_json(self) -> dict[str, object]:
        """Returns what the page's script and its exports say of the worklist."""
        names = ("bundle", "reference", "backend", "precision", "created", "labels", "references")
        return {"intended_use": INTENDED_USE, **{name: getattr(self, name) for name in names}}


def page_paths(path: Path, pages: int) -> tuple[Path, ...]:
    """Returns where each page goes: ``worklist.html``, ``worklist-2.html`` and so on.

    Raises:
        ConfigError: ``path`` is not named ``*.html``.
    """
    if path.suffix.lower() != SUFFIX:
        raise ConfigError(f"expected a page's name to end in {SUFFIX}, found {path.name!r}: name it so")
    return (path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, pages + 1)))


def write_worklist(
    path: Path,
    ranking: Ranking,
    *,
    bundle: str,
    labels: Sequence[str],
    illustrate: Illustrate | None = None,
    references: Sequence[bytes] = (),
    rows_per_page: int = ROWS_PER_PAGE,
    created: datetime | None = None,
    grade_sets: str | None = None,
) -> tuple[Path, ...]:
    """Writes a ranking as worklist pages and returns their paths; each appears whole or not at all, the first last.

    What the model could not score comes first, in a band of its own. A page is written as its pictures come: none
    but the one in hand is in memory. It carries the images and their names: keep it as you keep those.

    Args:
        path: The first page, ``*.html``; further ones lie beside it.
        ranking: What to show.
        bundle: Name of the bundle.
        labels: Grades in severity order; empty where the model does not grade.
        illustrate: Gives the pictures of some rows, in order; None for a page without pictures.
        references: WebP thumbnails of the healthy references, by their place in the bank; empty ones are not shown.
        rows_per_page: Most rows on a page.
        created: When the ranking was made; None for now.
        grade_sets: How often the bundle's grade sets hold the true grade, in words; None where it has none.

    Raises:
        ConfigError: jinja2 is not installed, or ``path`` is not named ``*.html``.
        OutputError: a page could not be written.
        ValueError: ``labels`` are not those of the rows' probabilities.
    """
    require_jinja()
    parts = split(page_order(ranking.rows), rows_per_page)
    paths = page_paths(path, len(parts))
    worklist = _worklist(
        ranking,
        bundle=bundle,
        labels=labels,
        links=[quote(os.fsencode(page.name)) for page in paths],
        references=references,
        created=created or datetime.now(UTC),
        grade_sets=grade_sets,
    )
    for number in range(len(parts), 0, -1):
        rows = parts[number - 1]
        pictures = illustrate(rows) if illustrate else (NO_PICTURES for _ in rows)
        _write(paths[number - 1], worklist, number, rows, pictures)
    return paths


def policy() -> str:
    """Returns the Content-Security-Policy of every page: its own style and script by hash, pictures inside of it."""
    style, script = (source_hash(page_file(_PACKAGE, name)) for name in ("page.css", "page.js"))
    return (
        f"default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _worklist(
    ranking: Ranking,
    *,
    bundle: str,
    labels: Sequence[str],
    links: Sequence[str],
    references: Sequence[bytes],
    created: datetime,
    grade_sets: str | None,
) -> Worklist:
    scale = SeverityScale.over(ranking.rows)
    return Worklist(
        bundle=visible(bundle),
        reference=visible(ranking.reference),
        backend=ranking.backend,
        precision=ranking.precision,
        created=f"{created.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        labels=tuple(labels),
        links=tuple(links),
        references=tuple(map(data_uri, references)),
        counts=Counts.of(ranking.rows),
        scale=scale,
        histogram=scale.histogram(ranking.rows),
        has_grades=any(row.grade for row in ranking.rows),
        has_percentiles=any(row.percentile is not None for row in ranking.rows),
        ties=Counter(row.tie for row in ranking.rows if row.tie is not None),
        grade_sets=grade_sets,
    )


def _write(
    path: Path, worklist: Worklist, number: int, rows: Sequence[RankedImage], pictures: Iterable[RowPictures]
) -> None:
    data = worklist.to_json() | {"page": number, "name": visible(path.stem)}
    data["rows"] = [facts(row, worklist.labels) for row in rows]
    waiting = sum(map(needs_human, rows))
    pieces = _template().generate(
        worklist=worklist,
        number=number,
        groups=_groups(_views(rows, pictures, worklist.scale), waiting, len(rows)),
        waiting=waiting,
        data=data,
        policy=policy(),
        intended_use=INTENDED_USE,
        version=__version__,
    )
    with atomic_file(path) as stream:
        for piece in pieces:
            stream.write(piece.encode("utf-8"))


def _groups(views: Iterator[RowView], waiting: int, total: int) -> list[Group]:
    """Returns the bands of a page that hold rows; they share one stream, to be consumed one after the other."""
    groups = (("human", waiting), ("ranked", total - waiting))
    return [Group(kind, itertools.islice(views, count)) for kind, count in groups if count]


def _views(rows: Sequence[RankedImage], pictures: Iterable[RowPictures], scale: SeverityScale) -> Iterator[RowView]:
    for index, (row, shown) in enumerate(zip(rows, pictures, strict=True)):
        code, sentence = parted(row.reason)
        yield RowView(
            index=index,
            row=row,
            pictures=shown,
            bar=scale.bar(row),
            name=visible(row.file),
            code=code,
            sentence=visible(sentence),
            needs_human=needs_human(row),
        )


@lru_cache(maxsize=1)
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.globals["style"] = Markup(page_file(_PACKAGE, "page.css"))  # noqa: S704  # our own file
    environment.globals["script"] = Markup(page_file(_PACKAGE, "page.js"))  # noqa: S704  # our own file
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
    environment.filters["severity"] = lambda severity: f"{severity:.{DECIMALS // 2}f}"
    return environment.from_string(page_file(_PACKAGE, "page.html"))
