"""Keeps what a decoding package warns of from the user while a thread reads an image; decision 19 says why so.

Pillow and pydicom report damaged metadata with ``warnings.warn``. What that does depends on the host's filters: a line
on stderr that may quote a patient's name, or an exception that makes a good image unreadable. So one filter is put
before the host's. It matches in a thread inside :func:`quiet` and nowhere else.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_thread = threading.local()
_order = threading.Lock()


@contextmanager
def quiet(held_back: Callable[[str], None]) -> Iterator[None]:
    """Keeps back what this thread warns of, and what hushed loggers say in it, until the block ends; blocks nest.

    Args:
        held_back: Is called with every text that is kept from the user.
    """
    before = _held_back()
    _thread.held_back = held_back
    try:
        _put_first()
        yield
    finally:
        _thread.held_back = before


def hush(loggers: Iterable[str]) -> None:
    """Lets :func:`quiet` keep back what loggers of these names say as a warning or an error; repeating it is harmless.

    A logger's filter does not see what its children log: each is named.
    """
    for name in loggers:
        logging.getLogger(name).addFilter(_is_let_through)


def _held_back() -> Callable[[str], None] | None:
    found: Callable[[str], None] | None = getattr(_thread, "held_back", None)
    return found


def _is_let_through(record: logging.LogRecord) -> bool:
    held_back = _held_back()
    if held_back is None or record.levelno < logging.WARNING:
        return True
    held_back(record.getMessage())
    return False


class _AnyTextHere:
    """The filter's message pattern. The warnings module asks it for ``match``, and others for ``pattern``.

    joblib and scikit-learn copy a process's filters to their workers by ``pattern``, there as one that matches nothing.
    """

    pattern = "(?!)"

    def match(self, text: str) -> bool:
        held_back = _held_back()
        if held_back is not None:
            held_back(text)
        return held_back is not None


_FILTER = ("ignore", _AnyTextHere(), Warning, None, 0)


def _put_first() -> None:
    # Straight into the list: the functions of the warnings module take no such pattern, and each call of theirs makes
    # the process forget which warnings it has shown once.
    filters: list[object] = vars(warnings)["filters"]
    if filters and filters[0] is _FILTER:
        return
    with _order:
        if _FILTER in filters:  # the host has put one of its own before it
            filters.remove(_FILTER)
        filters.insert(0, _FILTER)
