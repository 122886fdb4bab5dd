"""Rows of a CSV or JSONL file with the line numbers that an editor shows."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.system.json_fields import JsonSource

_DELIMITERS = ",;\t"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_LINE = JsonSource("the line", ValueError, "write one JSON object a line")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row of a file; ``row`` is its 1-based line number.

    Example:
        >>> str(Problem(3, "no image"))
        'row 3: no image'
    """

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row: its line number and its cells by header, as stripped text."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """The readable rows of a file, its headers in order, and what was wrong with the other rows."""

    headers: tuple[str, ...]
    rows: tuple[SourceRow, ...]
    problems: tuple[Problem, ...]


def read_table(path: Path, *, quoted: bool = True) -> Table:
    """Returns the rows of a CSV file (comma, semicolon or tab) or of a JSONL file, told apart by content.

    Empty lines are left out, a byte-order mark is tolerated, and a row that does not fit becomes a problem.

    Args:
        path: The file.
        quoted: Whether a message may name the file's headers: without a header line, they are its first row.

    Raises:
        DataError: the file is missing, empty, not UTF-8 text, or has no usable header.
    """
    text = _read_text(path)
    start = text.lstrip()[:1]
    if not start:
        raise DataError(f"expected a header line and one line per image, found an empty file: {path}")
    if start == "[":
        raise DataError(f"expected CSV, or JSONL with one object a line, found a JSON array: {path}")
    return _read_jsonl(text) if start == "{" else _read_csv(path, text, quoted=quoted)


def parse_headers(text: str, known: Sequence[str]) -> dict[str, str]:
    """Returns the mapping of ``image=file,date=day``: the file's header for each of our names that differs.

    Args:
        text: What ``--columns`` says; nothing where every header is ours.
        known: Our names.

    Raises:
        ConfigError: it is no such text, or names a column that is not ours.
    """
    columns: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, header = (piece.strip() for piece in part.partition("="))
        if not (name and equals and header) or name in columns:
            raise ConfigError(f"expected --columns NAME=HEADER,... with each name once, found {part!r}")
        columns[name] = header
    _refuse_unknown_names(columns, known)
    return columns


def headers_of(
    table: Table,
    columns: Mapping[str, str],
    file: Path,
    *,
    known: Sequence[str],
    required: Sequence[str],
    quoted: bool = True,
) -> dict[str, str]:
    """Returns the file's header of each of our columns that it has.

    Args:
        table: The file's rows.
        columns: The file's header for each of our names that differs.
        file: The file, for messages.
        known: Our names.
        required: Those of them that the file must have.
        quoted: Whether a message may name the file's headers: without a header line, they are its first row.

    Raises:
        ConfigError: ``columns`` names a column that is not ours.
        DataError: the file lacks one that is required or named in ``columns``.
    """
    _refuse_unknown_names(columns, known)
    found = f"the headers {', '.join(table.headers) or 'none'}" if quoted else f"{len(table.headers)} other headers"
    absent = [header for header in columns.values() if header not in table.headers]
    if absent:
        raise DataError(f"expected the columns {', '.join(absent)} in {file}, found {found}")
    headers = {name: columns.get(name, name) for name in known}
    headers = {name: header for name, header in headers.items() if header in table.headers}
    missing = [name for name in required if name not in headers]
    if missing:
        hint = ",".join(f"{name}=HEADER" for name in missing)
        raise DataError(
            f"expected the columns {' and '.join(missing)} in {file}, found {found}; "
            f"say which header it is with --columns {hint}"
        )
    return headers


def _refuse_unknown_names(columns: Mapping[str, str], known: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise ConfigError(f"expected column names of {', '.join(known)}, found {', '.join(unknown)}")


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"could not read the manifest {path}: {error.strerror}; check the path") from error
    if data.startswith(b"PK\x03\x04"):
        raise DataError(f"expected a CSV or JSONL file, found a spreadsheet or zip file: save {path} as CSV (UTF-8)")
    if data.startswith(_UTF16) or b"\0" in data:
        raise DataError(f"expected UTF-8 text, found NUL bytes or UTF-16: save {path} as CSV (UTF-8)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"expected UTF-8 text, found the byte 0x{data[error.start]:02x} in row {line}: save {path} as UTF-8"
        ) from error


def _read_csv(path: Path, text: str, *, quoted: bool) -> Table:
    lines = _csv_lines(path, text)
    _, headers = next(lines)
    repeated = sorted({name for name in headers if name and headers.count(name) > 1})
    if repeated:
        found = ", ".join(repeated) if quoted else str(len(repeated))
        raise DataError(f"expected every column once in the header of {path}, found {found} repeated")
    rows, problems = [], []
    for line, cells in lines:
        if len(cells) > len(headers):
            message = (
                f"expected {len(headers)} cells as in the header, found {len(cells)}; quote cells that hold commas"
            )
            problems.append(Problem(line, message))
        else:
            rows.append(SourceRow(line, dict(zip(headers, cells, strict=False))))
    return Table(tuple(headers), tuple(rows), tuple(problems))


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields each non-empty record, stripped, with the number of the line it starts on."""
    first_line = text.lstrip().splitlines()[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"expected well-formed CSV, found a broken record in row {line} of {path}: {error}"
            ) from error
        if any(cells):
            yield line, cells


def _read_jsonl(text: str) -> Table:
    rows: list[SourceRow] = []
    problems: list[Problem] = []
    for line, source in enumerate(io.StringIO(text, newline=""), start=1):
        if not source.strip():
            continue
        try:
            rows.append(
                SourceRow(line, {name: _json_cell(value) for name, value in _LINE.parse(source).data().items()})
            )
        except ValueError as error:
            problems.append(Problem(line, str(error)))
    headers = dict.fromkeys(name for row in rows for name in row.cells)
    return Table(tuple(headers), tuple(rows), tuple(problems))


def _json_cell(value: object) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
