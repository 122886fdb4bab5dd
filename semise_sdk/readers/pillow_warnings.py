"""Keeps Pillow's warnings from the user while a thread reads an image, and leaves them alone everywhere else.

Pillow reports damaged metadata (a bad EXIF tag, a malformed animation header) with ``warnings.warn``. What that does
depends on the host's filters: a line on stderr, or an exception that makes a good image unreadable. Neither remedy of
the standard library fits: ``catch_warnings`` swaps process-wide state and corrupts it when threads overlap (the
readers run in a pool), and a filter added once would silence the host's own use of Pillow, and be lost whenever the
host resets its filters. So the plugins' name ``warnings`` is bound to a stand-in that is the standard module itself
except in a thread inside :func:`quiet_pillow`, and what the plugins log as an error is held back in the same way.

What libtiff itself prints on the process's stderr about a damaged TIFF cannot be caught from a thread.
"""

import importlib
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_PILLOW_MODULES = (
    "Image",
    "ImageFile",
    "BmpImagePlugin",
    "JpegImagePlugin",
    "MpoImagePlugin",
    "PngImagePlugin",
    "TiffImagePlugin",
    "WebPImagePlugin",
)

_logger = logging.getLogger(__name__)
_thread = threading.local()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Sends Pillow's warnings of this thread to the debug log until the block ends."""
    before = _is_quiet()
    _thread.is_quiet = True
    try:
        yield
    finally:
        _thread.is_quiet = before


def install() -> None:
    """Imports the plugins that the readers use and gives each the stand-in; a second call changes nothing."""
    for name in _PILLOW_MODULES:
        namespace = vars(importlib.import_module(f"PIL.{name}"))
        logging.getLogger(f"PIL.{name}").addFilter(_is_for_the_host)
        if "warnings" in namespace and not isinstance(namespace["warnings"], _ThreadAwareWarnings):
            namespace["warnings"] = _ThreadAwareWarnings("warnings")


def _is_for_the_host(record: logging.LogRecord) -> bool:
    is_held_back = record.levelno >= logging.WARNING and _is_quiet()
    if is_held_back:
        _logger.debug("Pillow: %s", record.getMessage())
    return not is_held_back


def _is_quiet() -> bool:
    return bool(getattr(_thread, "is_quiet", False))


class _ThreadAwareWarnings(ModuleType):
    def __getattr__(self, name: str) -> object:
        return getattr(warnings, name)

    @staticmethod
    def warn(
        message: str | Warning,
        category: type[Warning] | None = None,
        stacklevel: int = 1,
        source: object = None,
    ) -> None:
        if _is_quiet():
            _logger.debug("Pillow: %s", message)
        else:
            warnings.warn(message, category, stacklevel + 1, source)
