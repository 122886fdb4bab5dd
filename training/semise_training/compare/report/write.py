"""The tables as files: CSV for machines, Markdown for readers, JSON for all of it."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.system.atomic import write_text
from semise_training.compare.cells.rows import BASELINE
from semise_training.compare.report.measures import CLASS_METRICS, plain
from semise_training.compare.report.statistics import RowEstimate
from semise_training.compare.report.tables import TABLE1, TABLE2, TableRow, Tables

LOWER_IS_BETTER = frozenset({"maee", "mae", "ece", "pair_brier"})
SHOWN = ("macro_f1", "maee", "recall", "kendall_tau", "c_index", "auroc_healthy", "kappa")
COLLAPSED_MARK = "†"
INCOMPLETE_MARK = "‡"


def write_tables(root: Path, tables: Tables) -> list[Path]:
    """Writes the tables that have rows, and returns their files.

    ``table1.csv``, ``table2.csv``, ``heads.csv``, ``differences.csv``, ``alphas.csv``, ``label_fractions.csv``,
    ``label_differences.csv``, ``tables.md`` and ``comparison.json``; a table that has become empty is deleted.

    Raises:
        OutputError: a file could not be written.
    """
    texts = {
        "table1.csv": _wide(tables.rows, TABLE1),
        "table2.csv": _wide(_with_masks(tables.rows), TABLE2),
        "heads.csv": _wide(tables.heads, CLASS_METRICS),
        "differences.csv": _long(tables.differences),
        "alphas.csv": _wide(tables.alphas, TABLE1, more={"chosen": _chosen(tables)}),
        "label_fractions.csv": _wide(tables.fractions, TABLE1),
        "label_differences.csv": _long(tables.fraction_differences),
        "tables.md": markdown(tables),
        "comparison.json": json.dumps(to_json(tables), indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        if text:
            write_text(root / name, text)
        else:
            (root / name).unlink(missing_ok=True)
    return [root / name for name, text in texts.items() if text]


def to_json(tables: Tables) -> dict[str, object]:
    """Returns all tables as JSON data; an undefined figure is null with n 0."""
    return {
        "schema": 1,
        "part": tables.part,
        "labels": list(tables.labels),
        "resamples": tables.repeats,
        "systems": [_row_json(row) for row in tables.rows],
        "heads": [_row_json(row) for row in tables.heads],
        f"{BASELINE}_minus": [_row_json(row) for row in tables.differences],
        "alphas": [_row_json(row) for row in tables.alphas],
        "alpha_chosen_in_splits": {f"{alpha:g}": times for alpha, times in tables.chosen.items()},
        "label_fractions": [_row_json(row) for row in tables.fractions],
        f"{BASELINE}_minus_at_label_fractions": [_row_json(row) for row in tables.fraction_differences],
        "incomplete": gaps_of(tables),
        "sampled_pairs": dict(tables.sampled),
    }


@dataclass(frozen=True, slots=True)
class Section:
    """A table for readers: its title, its rows, and which figures of them are shown."""

    title: str
    rows: Sequence[TableRow]
    names: Sequence[str]
    is_difference: bool = False

    @property
    def counted(self) -> str:
        """What the last column counts."""
        return "pairs" if self.is_difference else "cells"


def sections_of(tables: Tables) -> list[Section]:
    """Returns the tables for readers that have rows."""
    sections = [
        Section("Table 1: grades and severity", tables.rows, SHOWN),
        Section("Table 2: lesion masks", _with_masks(tables.rows), TABLE2),
        Section(f"{BASELINE} minus each other system", tables.differences, SHOWN, is_difference=True),
        Section("Classifier losses and decodings", tables.heads, ("macro_f1", "maee", "recall", "kappa")),
        Section(f"{BASELINE} by alpha", tables.alphas, SHOWN),
        Section("Fewer labels", tables.fractions, SHOWN),
        Section(
            f"{BASELINE} minus each other row of the same labels",
            tables.fraction_differences,
            SHOWN,
            is_difference=True,
        ),
    ]
    return [section for section in sections if section.rows]


def note_on(tables: Tables) -> str:
    """Returns how the figures are to be read."""
    on_val = " Heads and alpha were chosen on these very images, which favours every system."
    return (
        f"Figures on the {'test' if tables.part == 'test' else 'validation'} part: the mean over splits and seeds, and "
        f"its 95 % interval from {tables.repeats} resamples of groups within each split. For MAEE, lower is better; 1 "
        f"is perfect. {COLLAPSED_MARK}: every classifier gives all images one grade. {INCOMPLETE_MARK}: on fewer "
        f"splits and seeds than other rows, and so never the best.{on_val if tables.part == 'val' else ''}"
    )


def gaps_of(tables: Tables) -> list[str]:
    """Returns a sentence about each row that lacks cells that others have: how many it rests on, and why."""
    named = {
        "": tables.rows,
        f"{BASELINE} at alpha ": tables.alphas,
        "fewer labels, ": tables.fractions,
    }
    return [
        *(
            f"{prefix}{' '.join(row.keys.values())} rests on {row.cells} of {row.of} cells: {row.lacks}."
            for prefix, rows in named.items()
            for row in rows
            if not row.is_whole
        ),
        *(f"{name} has no cell: {why}." for name, why in tables.absent.items()),
    ]


def notes_of(tables: Tables) -> list[str]:
    """Returns what is to be known before the tables are read, a paragraph each."""
    sampled = [
        f"{name} draws its pairs, 1e5 an epoch in the paper, here in all {drawn}."
        for name, drawn in tables.sampled.items()
    ]
    return [note_on(tables), *gaps_of(tables), *sampled]


def markdown(tables: Tables) -> str:
    """Returns the tables for readers: value and 95 % interval, the best of each column in bold."""
    paragraphs = [*notes_of(tables), *(_section(section) for section in sections_of(tables))]
    return "\n\n".join(paragraphs) + "\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """A figure as a reader sees it; ``low`` and ``high`` are empty where it has no interval."""

    value: str
    low: str = ""
    high: str = ""
    is_best: bool = False

    def __str__(self) -> str:
        """Returns ``.812 [.761, .853]``."""
        return f"{self.value} [{self.low}, {self.high}]" if self.low else self.value


def entry_of(estimate: RowEstimate, *, best: float | None = None, signed: bool = False) -> Entry:
    """Returns an estimate for a reader, ``-`` where undefined."""
    if estimate.value is None:
        return Entry("-")
    pattern = "{:+.3f}" if signed else "{:.3f}"
    has_interval = estimate.low is not None and estimate.high is not None
    low, high = (pattern.format(end) if has_interval else "" for end in (estimate.low, estimate.high))
    return Entry(pattern.format(estimate.value), low, high, is_best=estimate.value == best)


def entries_of(section: Section) -> list[list[Entry]]:
    """Returns the figures of a table for readers, row by row."""
    best = {name: None if section.is_difference else best_of(section.rows, name) for name in section.names}
    return [
        [
            entry_of(row.estimates[name], best=best[name] if row.is_whole else None, signed=section.is_difference)
            for name in section.names
        ]
        for row in section.rows
    ]


def row_name(row: TableRow) -> str:
    """Returns what a row is called, with the marks of a collapsed and of an incomplete one."""
    marks = [COLLAPSED_MARK] * (row.collapsed == 1) + [INCOMPLETE_MARK] * (not row.is_whole)
    return " ".join([*row.keys.values(), *marks])


def cells_of(row: TableRow) -> str:
    """Returns how many cells a row rests on: ``5``, or ``3 of 5``."""
    return str(row.cells) if row.is_whole else f"{row.cells} of {row.of}"


def best_of(rows: Sequence[TableRow], name: str) -> float | None:
    """Returns the best value of a column among the rows that lack no cell; None where it has none."""
    values = [value for row in rows if row.is_whole and (value := row.estimates[name].value) is not None]
    choose = min if name in LOWER_IS_BETTER else max
    return choose(values) if values else None


def _section(section: Section) -> str:
    header = ["", *section.names, section.counted]
    lines = [f"## {section.title}", "", _line(header), _line(["---"] * len(header))]
    for row, entries in zip(section.rows, entries_of(section), strict=True):
        figures = [f"**{entry}**" if entry.is_best else str(entry) for entry in entries]
        lines.append(_line([row_name(row), *figures, cells_of(row)]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _with_masks(rows: Sequence[TableRow]) -> list[TableRow]:
    return [row for row in rows if any(row.estimates[name].value is not None for name in TABLE2)]


def _wide(rows: Sequence[TableRow], names: Sequence[str], *, more: Mapping[str, Sequence[str]] | None = None) -> str:
    """Returns CSV of one line a row: each figure, then its sd, low and high; empty cells where undefined."""
    if not rows:
        return ""
    added = more or {}
    figures = [f"{name}{suffix}" for name in names for suffix in ("", "_sd", "_low", "_high")]
    lines = [[*rows[0].keys, *figures, "cells", "of", "collapsed", *added]]
    for place, row in enumerate(rows):
        values = [cell for name in names for cell in _cells(row.estimates[name])]
        extra = [column[place] for column in added.values()]
        lines.append([*row.keys.values(), *values, str(row.cells), str(row.of), f"{row.collapsed:g}", *extra])
    return _csv(lines)


def _long(rows: Sequence[TableRow]) -> str:
    """Returns CSV of one line for each row and metric, with the pairs that it rests on."""
    if not rows:
        return ""
    lines = [[*rows[0].keys, "metric", "difference", "sd", "low", "high", "n", "pairs", "of"]]
    for row in rows:
        lines += [
            [*row.keys.values(), name, *_cells(each), str(each.n), str(row.cells), str(row.of)]
            for name, each in row.estimates.items()
        ]
    return _csv(lines)


def _cells(estimate: RowEstimate) -> list[str]:
    values = (estimate.value, estimate.sd, estimate.low, estimate.high)
    return ["" if value is None else f"{value:.6f}" for value in values]


def _csv(lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _chosen(tables: Tables) -> list[str]:
    return [str(times) for times in tables.chosen.values()]


def _row_json(row: TableRow) -> dict[str, object]:
    figures = {
        name: {key: value if key == "n" or value is None else plain(value) for key, value in each.to_json().items()}
        for name, each in row.estimates.items()
    }
    return {**row.keys, "cells": row.cells, "of": row.of, "collapsed": row.collapsed, "figures": figures}
