"""Keeps Pillow's warnings of damaged metadata (a bad EXIF tag, a malformed animation header) from the user.

What libtiff itself prints on the process's stderr about a damaged TIFF cannot be caught from a thread.
"""

import logging
from contextlib import AbstractContextManager

from semise_sdk.images.readers.quiet import hush, quiet

_logger = logging.getLogger(__name__)

hush(["PIL.ImageFile", "PIL.PngImagePlugin", "PIL.TiffImagePlugin"])


def quiet_pillow() -> AbstractContextManager[None]:
    """Returns the context in which Pillow's warnings of this thread go to the debug log."""
    return quiet(_to_the_debug_log)


def _to_the_debug_log(text: str) -> None:
    _logger.debug("Pillow: %s", text)
