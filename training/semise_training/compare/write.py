"""The tables as files: CSV for machines, Markdown for readers, JSON for all of it."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.atomic import write_text
from semise_training.compare.measures import CLASS_METRICS, plain
from semise_training.compare.rows import BASELINE
from semise_training.compare.statistics import RowEstimate
from semise_training.compare.tables import TABLE1, TABLE2, TableRow, Tables

LOWER_IS_BETTER = frozenset({"maee", "mae", "ece", "pair_brier"})
SHOWN = ("macro_f1", "maee", "recall", "kendall_tau", "c_index", "auroc_healthy", "kappa")
COLLAPSED_MARK = "†"


def write_tables(root: Path, tables: Tables) -> list[Path]:
    """Writes the tables that have rows, and returns their files.

    ``table1.csv``, ``table2.csv``, ``heads.csv``, ``differences.csv``, ``alphas.csv``, ``label_fractions.csv``,
    ``tables.md`` and ``comparison.json``; a table that has become empty is deleted.

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
    }


@dataclass(frozen=True, slots=True)
class Section:
    """A table for readers: its title, its rows, and which figures of them are shown."""

    title: str
    rows: Sequence[TableRow]
    names: Sequence[str]
    is_difference: bool = False


def sections_of(tables: Tables) -> list[Section]:
    """Returns the tables for readers that have rows."""
    sections = [
        Section("Table 1: grades and severity", tables.rows, SHOWN),
        Section("Table 2: lesion masks", _with_masks(tables.rows), TABLE2),
        Section(f"{BASELINE} minus each other system", tables.differences, SHOWN, is_difference=True),
        Section("Classifier losses and decodings", tables.heads, ("macro_f1", "maee", "recall", "kappa")),
        Section(f"{BASELINE} by alpha", tables.alphas, SHOWN),
        Section("Fewer labels", tables.fractions, SHOWN),
    ]
    return [section for section in sections if section.rows]


def note_on(tables: Tables) -> str:
    """Returns how the figures are to be read."""
    return (
        f"Figures on the {'test' if tables.part == 'test' else 'validation'} part: the mean over splits and seeds, and "
        f"its 95 % interval from {tables.repeats} resamples of groups within each split. For MAEE, lower is better; 1 "
        f"is perfect. {COLLAPSED_MARK}: every classifier gives all images one grade."
    )


def markdown(tables: Tables) -> str:
    """Returns the tables for readers: value and 95 % interval, the best of each column in bold."""
    return "\n\n".join([note_on(tables), *(_section(section) for section in sections_of(tables))]) + "\n"


def shown(estimate: RowEstimate, *, signed: bool = False) -> str:
    """Returns an estimate for a reader: ``.812 [.761, .853]``, ``-`` where undefined."""
    if estimate.value is None:
        return "-"
    pattern = "{:+.3f}" if signed else "{:.3f}"
    value = pattern.format(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{pattern.format(estimate.low)}, {pattern.format(estimate.high)}]"


def row_name(row: TableRow) -> str:
    """Returns what a row is called, with the mark of a collapsed one."""
    return " ".join(row.keys.values()) + (f" {COLLAPSED_MARK}" if row.collapsed == 1 else "")


def best_of(rows: Sequence[TableRow], name: str) -> float | None:
    """Returns the best value of a column; None where it has none."""
    values = [value for row in rows if (value := row.estimates[name].value) is not None]
    choose = min if name in LOWER_IS_BETTER else max
    return choose(values) if values else None


def _section(section: Section) -> str:
    header = ["", *section.names, "cells"]
    lines = [f"## {section.title}", "", _line(header), _line(["---"] * len(header))]
    best = {name: None if section.is_difference else best_of(section.rows, name) for name in section.names}
    for row in section.rows:
        cells = [_marked(row.estimates[name], best[name], signed=section.is_difference) for name in section.names]
        lines.append(_line([row_name(row), *cells, str(row.cells)]))
    return "\n".join(lines)


def _marked(estimate: RowEstimate, best: float | None, *, signed: bool) -> str:
    text = shown(estimate, signed=signed)
    return f"**{text}**" if best is not None and estimate.value == best else text


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
    lines = [[*rows[0].keys, *figures, "cells", "collapsed", *added]]
    for place, row in enumerate(rows):
        values = [cell for name in names for cell in _cells(row.estimates[name])]
        extra = [column[place] for column in added.values()]
        lines.append([*row.keys.values(), *values, str(row.cells), f"{row.collapsed:g}", *extra])
    return _csv(lines)


def _long(rows: Sequence[TableRow]) -> str:
    """Returns CSV of one line for each row and metric."""
    if not rows:
        return ""
    lines = [["method", "metric", "difference", "sd", "low", "high", "n", "cells"]]
    for row in rows:
        lines += [
            [row.keys["method"], name, *_cells(each), str(each.n), str(row.cells)]
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
    return {**row.keys, "cells": row.cells, "collapsed": row.collapsed, "figures": figures}
