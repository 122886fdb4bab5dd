"""What every HTML page of the runtime takes: the package that fills it in, its own files, and their hashes."""

import base64
import hashlib
from functools import lru_cache
from importlib import resources

from semise_sdk.errors import ConfigError


def require_jinja() -> None:
    """Raises ConfigError, with the pip command, where the package that fills a page in is missing."""
    try:
        import jinja2  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            "--report needs the package jinja2, which is not installed: pip install 'semise-sdk[report]'"
        ) from error


@lru_cache(maxsize=8)
def page_file(package: str, name: str) -> str:
    """Returns the text of a page's file, such as ``page.css``, that lies beside the modules of ``package``."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """Returns what a Content-Security-Policy names the text of a style or a script by: ``sha256-`` and base64."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"
