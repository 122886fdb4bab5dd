"""Results as CSV, JSON and JSON lines, safe to open in a spreadsheet."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Literal, TextIO, get_args

import numpy as np

from semise_sdk.results import INTENDED_USE, Embedding, ImageAnswer, RankedImage, Ranking, Segmentation
from semise_sdk.system.atomic import atomic_file
from semise_sdk.tables.spreadsheet import neutralised

__all__ = [
    "LAYOUTS",
    "SEGMENTATION_COLUMNS",
    "Exact",
    "Header",
    "Layout",
    "Row",
    "analysis_columns",
    "answer_row",
    "classification_columns",
    "embedding_columns",
    "embedding_row",
    "layout_of",
    "probability_columns",
    "ranking_columns",
    "text_file",
    "write_embeddings",
    "write_ranked",
    "write_ranking",
    "write_rows",
]

Layout = Literal["csv", "json", "jsonl"]

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
DECIMALS = 6
SEGMENTATION_COLUMNS = ("file", "mask", "area_fraction", "status", "reason")


class Exact(float):
    """A number written with 9 significant digits, enough to give any float32 back."""

    __slots__ = ()


Cell = str | int | float | Sequence[Exact] | Sequence[str] | None
Row = Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Where results come from; the top level of a JSON document.

    Args:
        bundle: Name of the bundle.
        backend: What computed.
        precision: In which precision.
        reference: What severity was measured from; None where there is none.
        grade_sets: How often grade sets hold the true grade, in words; None where there are none.
    """

    bundle: str
    backend: str
    precision: str = "fp32"
    reference: str | None = None
    grade_sets: str | None = None

    def to_json(self) -> dict[str, str]:
        """Returns plain JSON data."""
        of_reference = {} if self.reference is None else {"reference": utf8_text(self.reference)}
        return {
            "intended_use": INTENDED_USE,
            "bundle": self.bundle,
            "backend": self.backend,
            "precision": self.precision,
            **of_reference,
            **({} if self.grade_sets is None else {"grade_sets": self.grade_sets}),
        }


def write_ranking(
    ranking: Ranking,
    stream: TextIO,
    *,
    layout: Layout,
    bundle: str,
    labels: Sequence[str] = (),
    grade_sets: str | None = None,
) -> None:
    """Writes a ranking: ``rank,file,severity,grade,status,reason``, then ``p_<label>`` per label, and what is sure.

    Args:
        ranking: What to write.
        stream: A text stream opened with ``newline=""``.
        layout: CSV, one JSON document, or one JSON object per line.
        bundle: Name of the bundle, for the JSON document.
        labels: Names of the grades that probabilities are written of.
        grade_sets: How often grade sets hold the true grade, for the JSON document.
    """
    header = Header(
        bundle=bundle,
        backend=ranking.backend,
        precision=ranking.precision,
        reference=ranking.reference,
        grade_sets=grade_sets,
    )
    write_ranked(ranking.rows, stream, layout=layout, header=header, labels=labels)


def write_ranked(
    rows: Iterable[RankedImage], stream: TextIO, *, layout: Layout, header: Header, labels: Sequence[str] = ()
) -> None:
    """Writes the rows of a ranking as they come, as :func:`write_ranking` does."""
    columns = ranking_columns(labels)
    write_rows((answer_row(row, labels) for row in rows), stream, columns=columns, layout=layout, header=header)


def write_rows(rows: Iterable[Row], stream: TextIO, *, columns: Sequence[str], layout: Layout, header: Header) -> None:
    """Writes rows as they come, in constant memory.

    Numbers have 6 decimals; a missing value is an empty cell or null. In CSV a text that a spreadsheet would take for
    a formula gets an apostrophe in front, and :func:`semise_sdk.tables.spreadsheet.restored` gives it back; bytes of a
    file name that are no text become escapes. A list of names is one cell, ``normal|benign``.

    Args:
        rows: Each with a value for every column.
        stream: A text stream opened with ``newline=""``.
        columns: Names, in order.
        layout: CSV, one JSON document, or one JSON object per line.
        header: Top level of the JSON document.
    """
    if layout == "csv":
        _write_csv(rows, stream, columns)
    elif layout == "jsonl":
        for row in rows:
            stream.write(_json_row(row, columns) + "\n")
    else:
        _write_json(rows, stream, columns, header)


def ranking_columns(labels: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the columns of ``rank`` in order: a new one comes behind those that were there before it."""
    first = ("rank", "file", "severity", "grade", "status", "reason", "severity_low", "severity_high", "tie")
    return (*first, *probability_columns(labels), "grade_set", "percentile")


def classification_columns(labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the columns of ``classify`` in order."""
    return ("file", "label", *probability_columns(labels), "status", "reason", "grade_set")


def analysis_columns(labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the columns of ``analyze`` in order."""
    first = ("file", "severity", "grade", *probability_columns(labels), "mask", "area_fraction", "map")
    return (*first, "status", "reason", "severity_low", "severity_high", "grade_set", "percentile")


def answer_row(answer: ImageAnswer | Segmentation, labels: Sequence[str] = (), **drawn: Path | None) -> Row:
    """Returns an answer's fields as cells, a probability ``p_<label>`` per label, and the names of drawn files.

    Args:
        answer: What was answered.
        labels: Names of the grades that probabilities are written of.
        drawn: The PNGs that were written of its arrays, by column; None for one without.
    """
    cells = {each.name: getattr(answer, each.name) for each in fields(answer)}
    plain = {name: value for name, value in cells.items() if not isinstance(value, np.ndarray)}
    probabilities = cells.get("probabilities", ())
    shares = {name: probabilities[at] if probabilities else None for at, name in enumerate(probability_columns(labels))}
    return {**plain, **shares, **{name: None if path is None else str(path) for name, path in drawn.items()}}


def embedding_row(answer: Embedding, columns: Sequence[str]) -> Row:
    """Returns one row of ``embed`` with the columns of :func:`embedding_columns`."""
    values = [] if answer.embedding is None else [Exact(value) for value in answer.embedding]
    missing = [None] * (len(columns) - 3)
    numbers: Mapping[str, Cell] = (
        {"embedding": values or None}
        if "embedding" in columns
        else dict(zip(columns[1:-2], values or missing, strict=True))
    )
    return {"file": answer.file, **numbers, "status": answer.status, "reason": answer.reason}


def embedding_columns(width: int, layout: Layout) -> tuple[str, ...]:
    """Returns the columns of ``embed``: one per number in CSV, one list in JSON."""
    numbers = [f"e{index}" for index in range(width)] if layout == "csv" else ["embedding"]
    return ("file", *numbers, "status", "reason")


def write_embeddings(answers: Iterable[Embedding], stream: BinaryIO, *, width: int) -> None:
    """Writes embeddings as ``.npz`` without pickle.

    Its arrays are ``files``, ``status`` and ``reason`` (text ``[N]``) and ``embeddings`` (``float32 [N, width]``, NaN
    for a file that could not be read).
    """
    rows = list(answers)
    embedding = np.full((len(rows), width), np.nan, np.float32)
    for index, row in enumerate(rows):
        if row.embedding is not None:
            embedding[index] = row.embedding
    np.savez(
        stream,
        files=np.array([utf8_text(row.file) for row in rows], np.str_),
        embeddings=embedding,
        status=np.array([row.status for row in rows], np.str_),
        reason=np.array([utf8_text(row.reason) for row in rows], np.str_),
        allow_pickle=False,
    )


def layout_of(path: Path | None, default: Layout = "csv") -> Layout:
    """Returns the layout that a file's suffix names, ``default`` where it names none."""
    suffix = "" if path is None else path.suffix.lower().removeprefix(".")
    return next((layout for layout in LAYOUTS if layout == suffix), default)


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """Yields a UTF-8 text stream whose content replaces ``path`` when the block ends well; raises OutputError."""
    with atomic_file(path) as stream:
        text = TextIOWrapper(stream, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()  # or it would close the stream that is yet to be synced


def utf8_text(text: str) -> str:
    """Returns ``text`` with every byte that is no character of it, as file names may hold, written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class _UnixLines:
    """Ends lines with LF for a csv writer that thinks it writes CR LF: only then does it quote a CR in a name."""

    stream: TextIO

    def write(self, line: str) -> int:
        return self.stream.write(line.removesuffix("\r\n") + "\n")


def _write_csv(rows: Iterable[Row], stream: TextIO, columns: Sequence[str]) -> None:
    writer = csv.writer(_UnixLines(stream), lineterminator="\r\n")
    writer.writerow(_csv_cell(column) for column in columns)
    for row in rows:
        writer.writerow(_csv_cell(row[column]) for column in columns)


def _write_json(rows: Iterable[Row], stream: TextIO, columns: Sequence[str], header: Header) -> None:
    opening = json.dumps(header.to_json(), ensure_ascii=False, indent=2).removesuffix("\n}")
    stream.write(f'{opening},\n  "rows": [')
    separator = "\n"
    for row in rows:
        stream.write(f"{separator}    {_json_row(row, columns)}")
        separator = ",\n"
    stream.write("\n  ]\n}\n")


def _json_row(row: Row, columns: Sequence[str]) -> str:
    return json.dumps({name: _json_cell(row[name]) for name in columns}, ensure_ascii=False, allow_nan=False)


def _json_cell(value: Cell) -> str | int | float | list[float] | list[str] | None:
    if isinstance(value, str):
        return utf8_text(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(_number(value))
    names = [utf8_text(name) for name in value if isinstance(name, str)]
    return names or [float(_number(number)) for number in value if not isinstance(number, str)]


def _number(value: float) -> str:
    return f"{value:.9g}" if isinstance(value, Exact) else f"{value:.{DECIMALS}f}"


def _csv_cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        names = [name for name in value if isinstance(name, str)]
        numbers = [number for number in value if not isinstance(number, str)]
        return neutralised(utf8_text("|".join(names))) if names else " ".join(map(_number, numbers))
    return neutralised(utf8_text(value))


def probability_columns(labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the column of each grade's probability."""
    return tuple(f"p_{label}" for label in labels)
