"""The files of a run: which there are, and whether one is still what it was."""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.images.readers import MAX_FILE_BYTES
from semise_sdk.images.record import FoundImage, NamedImage
from semise_sdk.ledger.database import database_errors, transaction
from semise_sdk.ledger.settings import Part
from semise_sdk.privacy import Privacy
from semise_sdk.severity.reference_bank import ReferenceBank

PAGE = 1000

# The list of a run's files is SQLite's own temporary file, without a name and gone with the process: it may hold what
# the journal may not, and a hundred thousand names need no memory.
_TABLE = """
CREATE TEMP TABLE found (
    file BLOB NOT NULL, folder INTEGER NOT NULL, path BLOB NOT NULL, identity BLOB NOT NULL UNIQUE,
    is_due INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (file, folder)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One file of a run, as it is now.

    Args:
        found: Where it is, and its name in results.
        folder: Number of folders that the command named before the one that holds it.
        identity: 16 bytes that the journal knows it by.
        stamp: What changes when the file does (see :func:`stamp_of`).
        sha256: Of its content; None where it cannot be read as a file of at most ``MAX_FILE_BYTES``.
        number: Its number in the journal; None where it has none yet.
    """

    found: FoundImage
    folder: int
    identity: bytes
    stamp: bytes
    sha256: str | None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the list: a file that was found, and its number in the journal if it has one."""

    found: FoundImage
    folder: int
    identity: bytes
    number: int | None


def identity_text(file: str, folder: int) -> str:
    """Returns what tells an input from every other: its name, and among several folders its folder's place."""
    return f"{file}\0{folder}" if folder else file


def list_inputs(
    connection: sqlite3.Connection, images: Iterable[tuple[int, FoundImage]], *, privacy: Privacy, part: Part
) -> None:
    """Fills the temporary table ``found`` with those of ``images`` that fall to ``part``."""
    with transaction(connection):
        connection.execute("DROP TABLE IF EXISTS found")
        connection.execute(_TABLE)
        connection.executemany(
            "INSERT OR IGNORE INTO found (file, folder, path, identity) VALUES (?, ?, ?, ?)",
            (
                (as_blob(image.file), folder, os.fsencode(image.source), privacy.digest("file", text))
                for folder, image in images
                if part.holds(text := identity_text(image.file, folder))
            ),
        )


def listed(connection: sqlite3.Connection, where: str) -> Iterator[Listed]:
    """Yields the rows of ``found`` by name; pages of them, so that the journal may be written meanwhile.

    Args:
        connection: The journal.
        where: A condition on ``found`` and ``answer``, such as ``answer.number IS NULL``.
    """
    last: tuple[bytes, int] = (b"", -1)
    query = (
        "SELECT found.file, folder, path, found.identity, answer.number FROM found "  # noqa: S608
        f"LEFT JOIN answer ON answer.identity = found.identity WHERE (found.file, folder) > (?, ?) AND {where} "
        "ORDER BY found.file, folder LIMIT ?"
    )
    while True:
        with database_errors():
            page = connection.execute(query, (*last, PAGE)).fetchall()
        for file, folder, path, identity, number in page:
            yield Listed(NamedImage(from_blob(file), Path(os.fsdecode(path))), folder, identity, number)
        if len(page) < PAGE:
            return
        last = page[-1][:2]


def examine(item: Listed, privacy: Privacy) -> Input:
    """Returns a file's stamp and hash; a file that is written to meanwhile has a stamp that no file has."""
    before = stamp_of(item.found.source, privacy)
    sha256 = hash_input(item.found.source)
    is_at_rest = before == stamp_of(item.found.source, privacy)
    return Input(
        found=item.found,
        folder=item.folder,
        identity=item.identity,
        stamp=before if is_at_rest else b"",
        sha256=sha256,
        number=item.number,
    )


def stamp_of(path: Path, privacy: Privacy) -> bytes:
    """Returns 16 bytes that change when a file's size, inode or times of change do.

    Under the key, because the time at which an image was taken may say whose it is.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return privacy.digest("stamp", "none")
    facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return privacy.digest("stamp", " ".join(map(str, facts)))


def hash_input(path: Path) -> str | None:
    """Returns the sha256 of a regular file of at most ``MAX_FILE_BYTES``, None for everything else."""
    try:
        # Opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as stream:  # noqa: PTH123  # a descriptor
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
                return None
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def sha256_of_reference(bank: ReferenceBank, images: Iterable[Path] | None) -> str:
    """Returns the sha256 of what severity is measured from.

    Of given images, their content: their vectors differ in the last bits from one engine to the next, and parts of one
    run may have different ones.

    Args:
        bank: The references.
        images: The images that they were made of; None for the bundle's own bank.
    """
    if images is None:
        content = bank.vectors.astype("<f4").tobytes()
    else:
        content = " ".join(sorted(hash_input(path) or "" for path in images)).encode()
    return hashlib.sha256(f"{bank.mode} {bank.vectors.shape}".encode() + b"\0" + content).hexdigest()


def as_blob(text: str) -> bytes:
    """Returns a text as bytes that sort as the text does, whatever odd bytes a file name holds."""
    return text.encode("utf-8", "surrogatepass")


def from_blob(data: bytes) -> str:
    """Returns the text of :func:`as_blob`."""
    return data.decode("utf-8", "surrogatepass")
