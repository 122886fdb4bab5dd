"""The tables of a download as they were published, and what deviates from that."""

from collections.abc import Sequence
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.tables.read import Table, read_table


def official_table(path: Path, columns: Sequence[str]) -> Table:
    """Returns the rows of one of a download's tables.

    Raises:
        DataError: the file is missing, is no table, or lacks one of ``columns``.
    """
    if not path.is_file():
        raise DataError(f"expected the file {path.name} in {path.parent}, found none")
    table = read_table(path)
    missing = [column for column in columns if column not in table.headers]
    if missing:
        found = ", ".join(table.headers)
        raise DataError(f"expected the columns {', '.join(missing)} in {path.name}, found {found}")
    return table


def refuse(problems: Sequence[str], source: Path, *, what: str) -> None:
    """Raises DataError when there are ``problems`` with what was downloaded to ``source``."""
    if problems:
        raise DataError(
            f"expected {what} as published in {source}, found {len(problems)} deviations (first: {problems[0]}); "
            "name the folder that holds it all, or complete the download",
            problems=problems,
        )
