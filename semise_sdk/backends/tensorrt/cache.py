"""The local cache of built engines: its owner's alone, each engine bound to what it was built for."""

import dataclasses
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from semise_sdk.backends.tensorrt.build import BatchProfile, BuiltEngine
from semise_sdk.backends.tensorrt.precision import NetworkTypes
from semise_sdk.errors import BackendError
from semise_sdk.spec import Precision
from semise_sdk.system.atomic import atomic_file
from semise_sdk.system.json_fields import JsonSource

VARIABLE = "SEMISE_CACHE"

_SCHEMA = 1
# Engines of other models under the same graph name and precision that stay when a new one is kept.
_KEPT_BESIDE = 7
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """Everything that an engine depends on: it is used only where all of it is the same.

    Args:
        graph: Name of the graph.
        onnx_sha256: Of the ONNX that it was built from.
        precision: Precision of that graph.
        profile: Batch sizes.
        library: ``TensorRT`` or ``TensorRT-RTX``.
        version: Version of that library.
        gpu: Name of the GPU; empty for an engine that runs on every GPU of its capabilities.
        capability: Compute capability of the GPU, or those built for, joined by ``+``.
        driver: Version of the GPU's driver; empty where ``gpu`` is.
    """

    graph: str
    onnx_sha256: str
    precision: Precision
    profile: BatchProfile
    library: str
    version: str
    gpu: str = ""
    capability: str = ""
    driver: str = ""

    def to_json(self) -> dict[str, object]:
        """Returns the key as plain JSON data."""
        return dataclasses.asdict(self) | {"profile": str(self.profile)}

    @property
    def family(self) -> str:
        """What engines of this graph in this precision are called, whichever model they are of."""
        return re.sub(r"[^A-Za-z0-9]", "_", f"{self.graph}-{self.precision}")

    @property
    def stem(self) -> str:
        """The engine's name in the cache: another version, driver or profile takes the place of the one before it."""
        lasting = [self.onnx_sha256, self.library, self.gpu, self.capability]
        return f"{self.family}-{hashlib.sha256(json.dumps(lasting).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What the cache holds for a key.

    Args:
        engine: The engine, None where there is none to use.
        reason: Why there is none; empty where there is one.
    """

    engine: BuiltEngine | None = None
    reason: str = ""


class EngineCache:
    """The engines built on this machine.

    Args:
        folder: Its folder; use :meth:`open`, which makes and checks it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, root: Path | None = None) -> Self:
        """Returns the cache below ``root``, by default ``$SEMISE_CACHE`` or ``~/.cache/semise``.

        An engine is executable content: whoever can write here decides what this process runs.

        Raises:
            BackendError: the folder is another user's, others may write to it, or it cannot be made.
        """
        place = root or default_root()
        folder = place / "engines"
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
            for path in (place, folder):
                _check_owner(path, path.stat() if path == place else path.lstat())
        except OSError as error:
            raise BackendError(
                f"could not make the engine cache {folder}: {error.strerror}; name another with {VARIABLE}"
            ) from error
        return cls(folder)

    def lookup(self, key: EngineKey) -> Lookup:
        """Returns the engine of ``key``, or why there is none that may be used."""
        path = self.path(key)
        try:
            data = JsonSource(path.with_suffix(".json").name, ValueError).parse(_read(path.with_suffix(".json")))
            content = _read(path)
            data["schema"].choice(_SCHEMA)
            difference = _difference(data["key"].data(), key.to_json())
            if difference:
                return Lookup(reason=difference)
            if data["sha256"].text() != hashlib.sha256(content).hexdigest():
                return Lookup(reason=f"{path.name} was truncated or altered")
            types, seconds = NetworkTypes.from_json(data["types"].value), data["seconds"].number(0)
        except FileNotFoundError:
            return Lookup(reason=self._absence(key))
        except (OSError, ValueError) as error:
            return Lookup(reason=f"{path.name} cannot be read ({error})")
        os.utime(path)  # the engine unused for longest is removed first
        return Lookup(engine=BuiltEngine(content=content, seconds=seconds, types=types))

    def kept_profile(self, key: EngineKey) -> BatchProfile | None:
        """Returns the batch sizes of the engine kept in the place of ``key``, None where there is none."""
        try:
            match json.loads(_read(self.path(key).with_suffix(".json"))):
                case {"key": {"profile": str(text)}}:
                    return BatchProfile.parse(text)
        except (OSError, ValueError, BackendError):
            return None
        return None

    def store(self, key: EngineKey, engine: BuiltEngine) -> None:
        """Keeps an engine in the place of any other of the same name; both its files appear whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        path = self.path(key)
        data = {
            "schema": _SCHEMA,
            "key": key.to_json(),
            "sha256": hashlib.sha256(engine.content).hexdigest(),
            "seconds": round(engine.seconds, 3),
            "types": engine.types.to_json(),
            "built": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        _write(path, engine.content)
        _write(path.with_suffix(".json"), json.dumps(data, indent=2).encode())
        self._remove_oldest(key)

    def discard(self, key: EngineKey) -> None:
        """Removes the engine of ``key``."""
        for suffix in (".engine", ".json"):
            self.path(key).with_suffix(suffix).unlink(missing_ok=True)

    def path(self, key: EngineKey) -> Path:
        """Returns where the engine of ``key`` is kept."""
        return self.folder / f"{key.stem}.engine"

    def notes(self, name: str) -> bytes:
        """Returns what :meth:`keep_notes` kept under ``name``: a library's timings or kernels; empty for nothing."""
        try:
            return _read(self.folder / f"{name}.cache")
        except OSError:
            return b""

    def keep_notes(self, name: str, content: bytes) -> None:
        """Keeps what a library noted while it built or ran engines; raises OutputError."""
        _write(self.folder / f"{name}.cache", content)

    def _absence(self, key: EngineKey) -> str:
        others = len(list(self.folder.glob(f"{key.family}-*.engine")))
        if others:
            return f"{others} engines of graph {key.graph} in {key.precision} are kept, none of this ONNX graph and GPU"
        return "none was built before"

    def _remove_oldest(self, key: EngineKey) -> None:
        kept = sorted(self.folder.glob(f"{key.family}-*.engine"), key=_age, reverse=True)
        others = [path for path in kept if path != self.path(key)]
        for path in others[_KEPT_BESIDE:]:
            _logger.info("removing the engine %s, unused for longest", path.name)
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)


def default_root() -> Path:
    """Returns ``$SEMISE_CACHE``, else ``~/.cache/semise``."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "semise"


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        kind = "a link" if stat.S_ISLNK(status.st_mode) else "a file"
        raise BackendError(f"expected the engine cache {path} to be a folder, found {kind}: remove it")
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise BackendError(
            f"expected the engine cache {path} to be yours, found it owned by user {status.st_uid}: name another "
            f"folder with {VARIABLE}"
        )
    if os.name == "posix" and status.st_mode & 0o022:
        raise BackendError(
            f"expected the engine cache {path} to be yours alone to write, found mode "
            f"{stat.S_IMODE(status.st_mode):o}: chmod go-w {path}, or name another folder with {VARIABLE}"
        )


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_FOLLOW), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path.name} is no file")
        if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            raise OSError(f"{path.name} is not yours alone to write")
        return stream.read()


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as stream:
        Path(stream.name).chmod(0o600)
        stream.write(content)


def _difference(found: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    for name, value in wanted.items():
        if found.get(name) != value:
            return f"it was built for {name} {found.get(name)}, wanted is {value}"
    return ""


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
