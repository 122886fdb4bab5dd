"""Files and folders that appear whole or not at all."""

import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from semise_sdk.errors import OutputError

# Of renameat2(2), which Python does not have: AT_FDCWD, RENAME_EXCHANGE.
_HERE, _RENAME_EXCHANGE = -100, 2
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp", re.DOTALL)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a binary stream whose content replaces ``path`` when the block ends well; else ``path`` is left alone.

    Missing folders are made. What is no regular file, such as ``/dev/stdout`` or a pipe, is written directly.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield from _replacing(path)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"could not write {path}: {reason}; free space or choose another place") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; raises OutputError."""
    with atomic_file(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file whole or not at all; raises OutputError."""
    write_bytes(path, text.encode("utf-8"))


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder are on the disk: a renamed file may else be gone after a loss of power."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write into a folder that one may not list
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that have no such thing
            raise
    finally:
        os.close(descriptor)


def clear_unfinished(*places: Path) -> None:
    """Removes what killed writers left of files, or of any file in folders; call it where nobody else writes them."""
    for place in places:
        beside = place.iterdir() if place.is_dir() else place.parent.glob(f".{place.name}.*.tmp")
        for path in beside:
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(place: Path) -> Iterator[Path]:
    """Yields an empty folder beside ``place`` that replaces it when the block ends well; else ``place`` is left alone.

    What stood there stays until the new folder is in its place. ``place`` must have a name: resolve ``.`` first.

    Raises:
        OutputError: the folder cannot be made or moved.
    """
    folder = place.with_name(f".{place.name}.{secrets.token_hex(4)}.building")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"could not create {folder}: {error.strerror}; choose another --out") from error
    try:
        yield folder
        _install(folder, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path, place: Path) -> None:
    """Puts a folder in its place; another that stood there is gone, or is where the new one was."""
    if place.exists() and _exchange(folder, place):
        if folder.is_symlink():  # to what it led to stays
            folder.unlink()
        return
    old = place.with_name(f".{place.name}.{secrets.token_hex(4)}.old")
    try:
        if place.exists():
            place.rename(old)
        try:
            folder.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise
    except OSError as error:
        raise OutputError(f"could not put a folder at {place}: {error.strerror}; choose another --out") from error
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step, so that there is one at every moment; returns whether the system could (Linux)."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    outcome: int = rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE)
    return outcome == 0


def _replacing(path: Path) -> Iterator[BinaryIO]:
    # A name of its own for every writer: two that write the same file replace it in turn, each with a whole one.
    # A name may have 255 bytes, and a character up to four of them.
    temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
