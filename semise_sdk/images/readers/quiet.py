"""Keeps what a decoding package warns of from the user while a thread reads an image, and leaves it alone elsewhere.

Pillow and pydicom report damaged metadata with ``warnings.warn``. What that does depends on the host's filters: a line
on stderr, or an exception that makes a good image unreadable. Neither remedy of the standard library fits:
``catch_warnings`` swaps process-wide state and corrupts it when threads overlap (the readers run in a pool), and a
filter added once would silence the host's own use of the package, and be lost whenever the host resets its filters. So
the modules' name ``warnings`` is bound to a stand-in that is the standard module itself except in a thread inside
:func:`quiet`, and what they log as a warning or an error is held back in the same way.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

_thread = threading.local()


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back what hushed modules say in this thread until the block ends; blocks nest."""
    before = _is_quiet()
    _thread.is_quiet = True
    try:
        yield
    finally:
        _thread.is_quiet = before


def hush(modules: Iterable[ModuleType], loggers: Iterable[str], held_back: Callable[[str], None]) -> None:
    """Gives each module the stand-in and each logger its filter; a second call changes nothing.

    Args:
        modules: Those that call ``warnings.warn``.
        loggers: Names of the loggers that they log to.
        held_back: Is called with every text that :func:`quiet` keeps from the user; the same object at every call.
    """
    for module in modules:
        if vars(module).get("warnings") is warnings:
            vars(module)["warnings"] = _ThreadAwareWarnings(held_back)
    for name in loggers:
        logging.getLogger(name).addFilter(_Filter(held_back))


def _is_quiet() -> bool:
    return bool(getattr(_thread, "is_quiet", False))


class _Filter:
    def __init__(self, held_back: Callable[[str], None]) -> None:
        self._held_back = held_back

    def __eq__(self, other: object) -> bool:  # a logger adds an equal filter once
        return isinstance(other, _Filter) and other._held_back is self._held_back

    def __hash__(self) -> int:
        return hash(self._held_back)

    def filter(self, record: logging.LogRecord) -> bool:
        is_held_back = record.levelno >= logging.WARNING and _is_quiet()
        if is_held_back:
            self._held_back(record.getMessage())
        return not is_held_back


class _ThreadAwareWarnings(ModuleType):
    def __init__(self, held_back: Callable[[str], None]) -> None:
        super().__init__("warnings")
        self._held_back = held_back

    def __getattr__(self, name: str) -> object:
        return getattr(warnings, name)

    def warn(
        self,
        message: str | Warning,
        category: type[Warning] | None = None,
        stacklevel: int = 1,
        source: object = None,
    ) -> None:
        if _is_quiet():
            self._held_back(str(message))
        else:
            warnings.warn(message, category, stacklevel + 1, source)
