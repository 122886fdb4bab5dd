"""The journal's SQLite file: its tables, and its errors in our words."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semise_sdk.errors import LedgerError, OutputError

JOURNAL = "journal.sqlite"
FORMAT_NUMBER = 1

# `answer` has one row per input; `stamp` tells whether the file may have changed, `line` is the row's line of the audit
# trail. `journal` is what a person reads. Names, reasons and stamps are as the run's --phi lets them be.
_TABLES = """
CREATE TABLE session (
    number INTEGER PRIMARY KEY, started TEXT NOT NULL, sdk_version TEXT NOT NULL, bundle_sha256 TEXT NOT NULL,
    provider TEXT NOT NULL, precision TEXT NOT NULL
);
CREATE TABLE answer (
    number INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, file TEXT NOT NULL, status TEXT NOT NULL,
    reason TEXT NOT NULL, severity REAL, grade TEXT, fields TEXT NOT NULL, input_sha256 TEXT, stamp BLOB NOT NULL,
    session INTEGER NOT NULL REFERENCES session, time TEXT NOT NULL, line INTEGER NOT NULL
);
CREATE TABLE trail (lines INTEGER NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, is_finished INTEGER NOT NULL);
CREATE VIEW journal AS
    SELECT answer.number, file, status, reason, input_sha256, bundle_sha256, severity, grade, fields, provider,
           precision, sdk_version, time, line
    FROM answer JOIN session ON session.number = answer.session;
"""

_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_SCHEMA", "SQLITE_ERROR", "SQLITE_MISMATCH")


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns an error of SQLite into ours, without the text of it.

    Raises:
        OutputError: the disk is full, failing or read-only.
        LedgerError: the file is damaged, or another process uses it.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or type(error).__name__
        if name.startswith(_DISK):
            raise OutputError(
                f"could not write the run's {JOURNAL}: {_DISK_WORDS.get(name, 'the disk refused it')}; free space, and "
                "give the same command again"
            ) from error
        if name.startswith(_DAMAGE) or not name.startswith("SQLITE_"):
            raise LedgerError(
                f"expected the run's {JOURNAL} as it was written, found it damaged ({name}): keep the folder as it is, "
                "and name another --run"
            ) from error
        raise LedgerError(
            f"expected the run's {JOURNAL} to be free, found {name}: wait for the other process"
        ) from error


def create(path: Path) -> None:
    """Makes an empty journal that only its owner may read, whole or not at all; raises OutputError, LedgerError."""
    if path.exists():
        return
    half = path.with_name(f".{path.name}.new")
    try:
        for left in (half, half.with_name(f"{half.name}-journal")):  # of a start that was killed
            left.unlink(missing_ok=True)
        os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # SQLite gives its other files the same mode
        with database_errors():
            connection = sqlite3.connect(half, isolation_level=None)
            try:
                connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT_NUMBER}; COMMIT;")
            finally:
                connection.close()
        half.replace(path)
    except OSError as error:
        raise OutputError(f"could not write the run's {JOURNAL}: {error.strerror}; choose another place") from error


def connect(path: Path) -> sqlite3.Connection:
    """Returns a journal to be written: each commit is on the disk when it returns.

    Raises:
        OutputError, LedgerError: see :func:`database_errors`.
    """
    with database_errors():
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            _check_format(connection)
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Returns a journal to be read, from a read-only medium as well.

    Raises:
        LedgerError: it is missing or damaged.
    """
    if not path.is_file():
        raise LedgerError(f"expected {JOURNAL} in the run folder, found none: name a folder of --run")
    # A journal that was closed has no -wal beside it, and can be read where nothing can be written.
    is_closed = not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if is_closed else ''}"
    with database_errors():
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
        try:
            _check_format(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def close(connection: sqlite3.Connection, *, as_one_file: bool) -> None:
    """Closes a journal; ``as_one_file`` leaves nothing beside it, for a medium where nothing can be written."""
    try:
        if as_one_file:
            with database_errors():
                connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commits when the block ends well, and leaves the file as it was when it does not."""
    with database_errors():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _check_format(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found != FORMAT_NUMBER:
        raise LedgerError(f"expected a journal of format {FORMAT_NUMBER}, found {found}: update semise-sdk")


_DISK_WORDS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_CANTOPEN": "it cannot be opened",
}
