"""A run's folder: claimed by one process, with its settings and its key."""

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path

from semise_sdk.errors import LedgerError, OutputError
from semise_sdk.ledger.settings import SETTINGS, RunSettings
from semise_sdk.privacy import make_key, read_key
from semise_sdk.system.atomic import sync_folder, write_text
from semise_sdk.system.locks import claimed

KEY = "phi.key"

_LOCK = "journal"


def claim_folder(folder: Path, resources: ExitStack) -> None:
    """Makes the folder and keeps every other process out of it until ``resources`` close.

    Raises:
        LedgerError: another process is at work in it, or it holds what is not a run's.
        OutputError: it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_started = (folder / SETTINGS).exists()
        strangers = [] if is_started else [path for path in folder.iterdir() if not _is_ours(path.name)]
        is_mine = not strangers and resources.enter_context(claimed(folder / _LOCK))
    except OSError as error:
        raise OutputError(f"could not write the run folder: {error.strerror}; choose another place") from error
    if strangers:
        raise LedgerError(
            f"expected a folder of a run or an empty one for --run, found {len(strangers)} other files in it: name "
            "another"
        )
    if not is_mine:
        raise LedgerError("expected a run folder that no process uses, found another at work in it: wait for its end")


def agreed_settings(folder: Path, asked: RunSettings) -> tuple[RunSettings, str]:
    """Returns the run's settings, written now if it is new, and the sha256 of their file.

    Raises:
        LedgerError: the run was started with something else.
        OutputError: they cannot be written.
    """
    path = folder / SETTINGS
    if not path.exists():
        write_text(path, json.dumps(asked.to_json(), indent=2) + "\n")
        try:
            path.chmod(0o600)
            sync_folder(folder.parent)
        except OSError as error:
            raise OutputError(f"could not write the run folder: {error.strerror}; choose another place") from error
    settings = RunSettings.read(folder)
    settings.refuse_other(asked)
    return settings, hashlib.sha256(path.read_bytes()).hexdigest()


def secret_key(folder: Path, given: Path | None) -> bytes:
    """Returns the key of the run's pseudonyms: the one that was given, else the folder's own, made now if it is new.

    Raises:
        LedgerError: the run was started, and its key is gone.
        ConfigError: the key cannot be used.
        OutputError: it cannot be written.
    """
    if given is not None:
        return read_key(given)
    path = folder / KEY
    if not path.exists() and (folder / SETTINGS).exists():
        raise LedgerError(f"expected {KEY} in the run folder, found none: put it back, or give --phi-key as before")
    if not path.exists():
        half = folder / f"{KEY}.new"
        half.unlink(missing_ok=True)
        make_key(half)
        half.replace(path)
    return read_key(path)


def _is_ours(name: str) -> bool:
    """Returns whether a start that was killed before run.json was there may have left a file of that name."""
    return name in (KEY, f"{KEY}.new", f".{_LOCK}.lock") or name.startswith(f".{SETTINGS}.")
