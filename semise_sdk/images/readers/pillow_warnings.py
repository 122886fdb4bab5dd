"""Keeps Pillow's warnings of damaged metadata (a bad EXIF tag, a malformed animation header) from the user.

What libtiff itself prints on the process's stderr about a damaged TIFF cannot be caught from a thread.
"""

import importlib
import logging

from semise_sdk.images.readers.quiet import hush, quiet

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

quiet_pillow = quiet
"""Sends Pillow's warnings of this thread to the debug log until the block ends."""


def install() -> None:
    """Imports the plugins that the readers use and hushes each; a second call changes nothing."""
    names = [f"PIL.{name}" for name in _PILLOW_MODULES]
    hush([importlib.import_module(name) for name in names], names, _to_the_debug_log)


def _to_the_debug_log(text: str) -> None:
    _logger.debug("Pillow: %s", text)
