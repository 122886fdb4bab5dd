"""A manifest of patients' images over time: CSV or JSONL with image, patient and date."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.tables.read import headers_of, read_table
from semise_sdk.timeline.course import Visit

REQUIRED_COLUMNS = ("image", "patient", "date")
SITE_COLUMNS = ("eye", "laterality", "site")
COLUMNS = (*REQUIRED_COLUMNS, *SITE_COLUMNS)

_NO_IMAGE = "no_image: expected the path of an image in this row, found none: write it"
_OTHER_DATE = (
    "other_date: expected a date as 2026-11-24 (ISO 8601), found another form: write it so, since 03/04/26 is two days"
)


def read_visits(path: Path, *, columns: Mapping[str, str] | None = None, root: Path | None = None) -> tuple[Visit, ...]:
    """Returns the visits of a manifest in its order; a row that cannot be placed in time carries its problem.

    The columns ``eye``, ``laterality`` and ``site`` are optional; those that are there together name the site. No
    message quotes a cell.

    Args:
        path: CSV (comma, semicolon or tab) or JSONL.
        columns: The file's header for each of our names that differs, such as ``{"patient": "mrn"}``.
        root: Folder that relative paths start from; the manifest's own by default.

    Raises:
        DataError: the file cannot be read, lacks a column, holds no row, or a row has more cells than the header.
        ConfigError: ``columns`` names a column that is not ours.
    """
    table = read_table(path, quoted=False)
    headers = headers_of(table, columns or {}, path, known=COLUMNS, required=REQUIRED_COLUMNS, quoted=False)
    if table.problems:
        raise DataError(
            f"expected every row of {path} to fit its header, found {len(table.problems)} that do not: correct them",
            [
                f"row {problem.row}: expected at most the header's number of cells, or one JSON object"
                for problem in table.problems
            ],
        )
    if not table.rows:
        raise DataError(f"expected one line per image below the header, found none: {path}")
    base = path.parent if root is None else root
    return tuple(
        _visit({name: row.cells.get(header, "") for name, header in headers.items()}, base) for row in table.rows
    )


def _visit(cells: Mapping[str, str], base: Path) -> Visit:
    date, problem = _date(cells["date"])
    return Visit(
        image=base / cells["image"],
        file=cells["image"],
        patient=cells["patient"],
        date=date,
        site=" ".join(cells[name] for name in SITE_COLUMNS if cells.get(name)),
        problem=problem if cells["image"] else _NO_IMAGE,
    )


def _date(cell: str) -> tuple[dt.date | None, str]:
    """Returns the day that a cell names, with or without a time, and what is wrong with the cell."""
    if not cell:
        return None, ""
    try:
        return dt.datetime.fromisoformat(cell).date(), ""
    except ValueError:
        return None, _OTHER_DATE
