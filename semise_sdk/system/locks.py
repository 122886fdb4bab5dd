"""A claim on a folder or file that ends with the process that made it, however it ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(work: Path) -> Iterator[bool]:
    """Yields whether this process alone may work on ``work`` until the block ends; a killed process claims nothing.

    Where the system has no such locks, it is always True.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    path = work.with_name(f".{work.name}.lock")
    with path.open("a") as stream:
        is_mine = _lock(stream.fileno())
        yield is_mine  # the file stays: unlinked, it would be locked twice under one name


def _lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has none
        return True
    return True
