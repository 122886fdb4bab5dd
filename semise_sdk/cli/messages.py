"""What may be said on standard error under ``--phi``: sentences and log lines without names, paths or parser text."""

import itertools
import logging
import os
import re
import sqlite3
from collections.abc import Sequence
from contextvars import ContextVar

from typer.exceptions import TyperException

from semise_sdk.errors import (
    BackendError,
    BundleError,
    ConfigError,
    DataError,
    LedgerError,
    OptionError,
    OutputError,
    ReferenceImageError,
    SemiseError,
)
from semise_sdk.privacy import PHI, Phi

PHI_VARIABLE = "SEMISE_PHI"

_OURS = "semise_sdk"
_SAID = ContextVar[Phi]("phi of what is said", default="keep")

# What each error comes down to when what it found may not be told, most special first.
_SENTENCES: tuple[tuple[type[SemiseError], str], ...] = (
    (DataError, "expected images and folders that exist and can be opened, found otherwise: check the paths given"),
    (ReferenceImageError, "expected healthy reference images that can be read, found otherwise: check --reference"),
    (BundleError, "expected a whole bundle that carries what was asked for, found otherwise: semise info BUNDLE"),
    (BackendError, "expected a backend and device that work here, found otherwise: semise doctor"),
    (ConfigError, "expected options that fit together and files that can be used, found otherwise: check them"),
)
# They speak of the machine and of the operator's own choices; what they quote comes from no image.
_SAFE_WITH_HASH = (BundleError, BackendError)
# typer's names for its errors that quote an option and nothing else; it does not export the classes.
_OF_OPTIONS_ALONE = ("NoSuchOption", "MissingParameter")
# What is missing, or an option as options are spelt; a file whose name begins with -- is spelt otherwise.
_OPTION = re.compile(r"^Missing |: --?[a-z]+(-[a-z]+)*($|[. ])")


def phi_of(arguments: Sequence[str]) -> Phi:
    """Returns how a command line wants its inputs spoken of: ``keep`` unless it says otherwise or has ``--run``."""
    options = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    given = [text.removeprefix("--phi=") for text in options if text.startswith("--phi=")]
    given += [after for option, after in itertools.pairwise(options) if option == "--phi"]
    given += [os.environ[PHI_VARIABLE]] if os.environ.get(PHI_VARIABLE) and not given else []
    for known in PHI:
        if given and given[-1] == known:
            return known
    # Of a policy that is misspelt, the strictest: it may have been meant.
    if given:
        return "drop"
    return "hash" if any(text == "--run" or text.startswith("--run=") for text in options) else "keep"


def speak(phi: Phi) -> None:
    """Sets how this command speaks from now on."""
    _SAID.set(phi)


def spoken() -> Phi:
    """Returns how this command speaks."""
    return _SAID.get()


def sentence(error: SemiseError) -> str:
    """Returns what may be said of an error."""
    phi = spoken()
    if phi == "keep" or isinstance(error, LedgerError) or (phi == "hash" and isinstance(error, _SAFE_WITH_HASH)):
        return str(error)
    left_out = f"(what was found is left out under --phi {phi}; --phi keep tells it)"
    if isinstance(error, OptionError):
        return f"{error.without_values} {left_out}"
    if isinstance(error, OutputError):
        return f"could not write a result, journal or drawing: {_system_text(error)}; free space {left_out}"
    for kind, text in _SENTENCES:
        if isinstance(error, kind):
            return f"{text} {left_out}"
    return f"the command cannot be carried out: {type(error).__name__} {left_out}"


def usage_sentence(error: TyperException) -> str:
    """Returns what may be said of wrong use: its other sentences quote the arguments, which may be names of images."""
    said = error.format_message()
    option = _OPTION.search(said) if spoken() == "hash" and type(error).__name__ in _OF_OPTIONS_ALONE else None
    return said if spoken() == "keep" or option else "expected a command as --help shows it."


def guard_logging() -> None:
    """Makes every handler of the root logger say only what may be said; call it once logging is set up."""
    if spoken() == "keep":
        return
    logging.captureWarnings(capture=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Formatter(spoken()))


class _Formatter(logging.Formatter):
    """Says our own lines, and of other packages' lines only that there was one: they may quote a file.

    Lines come from every thread, and what a command has set for itself is not known in those that it started.
    """

    def __init__(self, phi: Phi) -> None:
        super().__init__()
        self._phi = phi

    def format(self, record: logging.LogRecord) -> str:
        if record.name.partition(".")[0] == _OURS and not (self._phi == "drop" and record.args):
            return record.getMessage()
        return f"{record.levelname.lower()} of {record.name} (left out under --phi {self._phi})"


def _system_text(error: OutputError) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return getattr(cause, "sqlite_errorname", "") if isinstance(cause, sqlite3.Error) else "the system refused it"
