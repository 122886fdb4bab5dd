"""Finds the files of a folder lazily, in an order that is the same on every run."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.images.record import FoundImage, NamedImage

Source = str | os.PathLike[str]
_Entry = tuple[str, bool]

_logger = logging.getLogger(__name__)


def find_images(source: Source | Iterable[Source]) -> Iterator[FoundImage]:
    """Yields the files named by ``source``: a file, a folder, or several of them in the order given.

    A folder is walked to its end, sorted by name at each level. Hidden names (a leading dot) are left out, and each
    physical folder is entered once, so that links in a circle end. Everything else is yielded, whatever it holds,
    even a folder that cannot be opened: reading it says what is wrong with it. The paths of a list or tuple are all
    checked before the first file is yielded.

    Raises:
        DataError: A path does not exist, or a given folder cannot be opened.
    """
    if isinstance(source, str | os.PathLike):
        sources: Iterable[Source] = (source,)
    else:
        sources = source
    if isinstance(sources, Sequence):
        for path in sources:
            _require_existing(path)
    return (found for path in sources for found in _find(path))


def scan_images(source: Source | Iterable[Source]) -> Iterator[FoundImage]:
    """Yields the files that :func:`find_images` yields, those of one folder in no particular order, in constant memory.

    For folders of a hundred thousand files, whose names are sorted elsewhere. Folders are entered in the same order, so
    that a file reached by several names gets the same one.

    Raises:
        DataError: as :func:`find_images`.
    """
    sources = (source,) if isinstance(source, str | os.PathLike) else source
    for path in map(Path, sources):
        if not path.is_dir():
            yield from _find(path)
            continue
        next(_find(path), None)  # says what is wrong with the folder as given
        yield from _scan(path)


def _scan(root: Path) -> Iterator[FoundImage]:
    entered: set[tuple[int, int]] = set()
    pending = [(root, "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            identity = _identity(folder)
            if identity in entered:
                continue
            entered.add(identity)
            found = os.scandir(folder)
        except OSError:  # find_images yields it too: reading it says what is wrong with it
            yield NamedImage(prefix.removesuffix("/"), folder)
            continue
        inner = []
        with found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    inner.append(entry.name)
                else:
                    yield NamedImage(prefix + entry.name, folder / entry.name)
        pending += [(folder / name, f"{prefix}{name}/") for name in sorted(inner, reverse=True)]


def _require_existing(source: Source) -> None:
    try:
        Path(source).stat()
    except (OSError, ValueError) as error:
        raise DataError(f"expected an image or a folder of images, found nothing at {_printable(source)}") from error


def _find(source: Source) -> Iterator[FoundImage]:
    _require_existing(source)
    path = Path(source)
    if not path.is_dir():
        yield NamedImage(path.name, path)
        return
    try:
        entries = _entries(path)
    except OSError as error:
        raise DataError(
            f"expected a folder that can be opened, found {_printable(source)}: {error.strerror}"
        ) from error
    yield from _walk(path, entries)


def _walk(root: Path, entries: list[_Entry]) -> Iterator[FoundImage]:
    entered = {_identity(root)}
    # A stack instead of recursion: folders may be nested deeper than Python's call stack.
    pending = [(root, "", entries)]
    while pending:
        folder, prefix, entries = pending[-1]
        if not entries:
            pending.pop()
            continue
        name, is_folder = entries.pop()
        inner = _enter(folder / name, entered) if is_folder else None
        if inner is None:
            yield NamedImage(prefix + name, folder / name)
        else:
            pending.append((folder / name, f"{prefix}{name}/", inner))


def _enter(folder: Path, entered: set[tuple[int, int]]) -> list[_Entry] | None:
    """Returns what a folder holds, nothing if it was entered before; None if it cannot be opened."""
    try:
        identity = _identity(folder)
        if identity in entered:
            _logger.debug("%a is another name of a folder already walked", str(folder))
            return []
        entered.add(identity)
        return _entries(folder)
    except OSError:
        return None


def _entries(folder: Path) -> list[_Entry]:
    """Returns the visible names in a folder and which of them are folders, last name first."""
    with os.scandir(folder) as found:
        entries = [(entry.name, _is_folder(entry)) for entry in found if not entry.name.startswith(".")]
    return sorted(entries, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _printable(source: Source) -> str:
    return ascii(os.fspath(source))
