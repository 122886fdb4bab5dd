"""One self-contained HTML page of a comparison: its tables and figures, without a single network request."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment

from semise_sdk.system.atomic import write_text
from semise_training.compare.cells.cells import Cell
from semise_training.compare.report.figures import Drawn
from semise_training.compare.report.tables import Tables
from semise_training.compare.report.write import Entry, Section, cells_of, entries_of, notes_of, row_name, sections_of

_KINDS = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    entries: Sequence[Entry]
    cells: str
    collapsed: bool


def write_page(path: Path, cells: Sequence[Cell], tables: Tables, figures: Sequence[Drawn]) -> None:
    """Writes the page; raises OutputError."""
    template = resources.files("semise_training.compare.report") / "page.html"
    page = Environment(autoescape=True, trim_blocks=True).from_string(template.read_text(encoding="utf-8"))
    sections = [
        {"title": section.title, "columns": [*section.names, section.counted], "lines": _lines(section)}
        for section in sections_of(tables)
    ]
    shown = [{"title": figure.title, "source": _data_uri(figure)} for figure in figures]
    title = f"Comparison of {len(tables.rows)} systems on the {'test' if tables.part == 'test' else 'validation'} part"
    notes = notes_of(tables)
    write_text(path, page.render(title=title, notes=notes, sections=sections, figures=shown, facts=facts_of(cells)))


def facts_of(cells: Sequence[Cell]) -> dict[str, str]:
    """Returns what the cells say of how they were computed; where they differ, every value."""
    configs = [cell.config for cell in cells]
    return {
        "Grades": ", ".join(cells[0].labels),
        "Images": _counted(cells[0].counts),
        "Encoder": _distinct(_value(config, "encoder", "name") for config in configs),
        "Canvas": _distinct(f"{_value(config, 'input', 'size')} px" for config in configs),
        "Splits": _distinct(f"{cell.key.folds} folds" if cell.key.folds else "one per seed" for cell in cells),
        "Encoder seeds": str(len({cell.key.seed for cell in cells})),
        "Classifier seeds": _distinct(cell.protocol.get("head_seeds") for cell in cells),
        "Budget": _distinct(f"{cell.protocol.get('passes')} views a labeled training image" for cell in cells),
        "Cells": f"{len(cells)}, {sum(cell.seconds for cell in cells) / 3600:.1f} hours in all",
        "Code": _distinct(_code(cell) for cell in cells),
        "Machine": _distinct(f"{cell.machine.get('processor')}, {cell.machine.get('cores')} cores" for cell in cells),
    }


def _lines(section: Section) -> list[_Line]:
    return [
        _Line(row_name(row), entries, cells_of(row), row.collapsed == 1)
        for row, entries in zip(section.rows, entries_of(section), strict=True)
    ]


def _data_uri(figure: Drawn) -> str:
    return f"data:{_KINDS[Path(figure.name).suffix]};base64,{base64.b64encode(figure.content).decode('ascii')}"


def _counted(counts: Mapping[str, object]) -> str:
    parts = [f"{part} {sum(own.values())}" for part, own in counts.items() if isinstance(own, Mapping)]
    return ", ".join([*parts, f"unlabeled {counts.get('unlabeled', 0)}"]) + " in the first cell"


def _value(config: Mapping[str, object], section: str, name: str) -> object:
    values = config.get(section)
    return values.get(name) if isinstance(values, Mapping) else None


def _code(cell: Cell) -> str:
    if cell.code.commit is None:
        return "outside a checkout"
    return cell.code.commit[:12] + (" with changes" if cell.code.is_dirty else "")


def _distinct(values: Iterable[object]) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values))
