"""Protected health information: what of a file's name and contents may stand in journals, logs and messages."""

import dataclasses
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

from semise_sdk.errors import ConfigError, OptionError, OutputError

Phi = Literal["keep", "hash", "drop"]

PHI: tuple[Phi, ...] = get_args(Phi)
KEY_BYTES = 32
LEFT_OUT = "what was found is left out under --phi drop; --phi keep tells it"

_Answer = TypeVar("_Answer")
_CODE = re.compile(r"[a-z][a-z0-9_]*(?=: )")
_KEY_TEXT = re.compile(rb"[0-9a-f]{64}\s*")
# Shorter ones would be found inside ordinary words; the reader's own sentences quote them, and quoted they are found.
_SHORTEST_BARE_NAME = 4


@dataclass(frozen=True, slots=True)
class Privacy:
    """How a run speaks of its inputs.

    ``keep`` names files as they are. ``hash`` names them by a pseudonym: HMAC-SHA256 of the name under a secret key
    (RFC 2104), so that the same key gives the same pseudonyms on every run, and nobody without it can test a guess.
    ``drop`` numbers them in the order they came, and of a reason leaves the code.

    Args:
        phi: One of the three.
        key: 32 secret bytes; none are needed to drop.

    Example:
        >>> privacy = Privacy("hash", bytes(32))
        >>> privacy.name("DOE_JANE.png", 1)
        'p-5a8a6a454f395e5a'
        >>> Privacy("drop").name("DOE_JANE.png", 1)
        'image-000001'
    """

    phi: Phi
    key: bytes = field(default=b"", repr=False)

    def digest(self, kind: str, text: str) -> bytes:
        """Returns 16 bytes that stand for ``text`` under the key; the same text of another kind has others."""
        return hmac.digest(self.key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), "sha256")[:16]

    def name(self, file: str, number: int) -> str:
        """Returns what the file called ``file``, the ``number``-th, is called."""
        if self.phi == "keep":
            return file
        return f"p-{self.digest('file', file).hex()[:16]}" if self.phi == "hash" else f"image-{number:06d}"

    def reason(self, reason: str, *, shown: str, file: str, path: Path | None = None) -> str:
        """Returns a reason as it may be written: its code stays, and with ``hash`` its sentence, without the names.

        Args:
            reason: ``code: sentence``, or empty.
            shown: What the file is called instead (see :meth:`name`).
            file: The file's name in results.
            path: Where it lies, if it has a place.
        """
        if self.phi == "keep" or not reason:
            return reason
        if self.phi == "drop":
            code = _CODE.match(reason)
            return f"{code[0] if code else 'unnamed'}: {LEFT_OUT}"
        names = {file, Path(file).name} | ({str(path), path.name} if path else set())
        for name in _spellings(names):
            reason = reason.replace(name, shown)
        return reason

    def veiled(self, answer: _Answer, *, number: int, path: Path | None = None) -> _Answer:
        """Returns an answer (a dataclass with ``file`` and ``reason``) as the policy lets it be shown."""
        if self.phi == "keep":
            return answer
        file, reason = _texts(answer)
        shown = self.name(file, number)
        return _replace(answer, file=shown, reason=self.reason(reason, shown=shown, file=file, path=path))

    @property
    def fingerprint(self) -> str:
        """What tells keys apart without giving them away."""
        return self.digest("key", "").hex()[:16]


def parse_phi(text: str) -> Phi:
    """Returns the policy of that name; raises OptionError for an unknown one."""
    for known in PHI:
        if text == known:
            return known
    raise OptionError(f"--phi {', '.join(PHI)}", repr(text))


def make_key(path: Path) -> bytes:
    """Writes a new key that only its owner may read, and returns it; raises OutputError where that fails."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as stream:  # noqa: PTH123  # a descriptor
            stream.write(key.hex().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OutputError(f"could not write {path}: {error.strerror}; free space or choose another place") from error
    return key


def read_key(path: Path) -> bytes:
    """Returns the key in a file: 64 hexadecimal digits.

    Raises:
        ConfigError: there is none, it is no key, or others than its owner can read it.
    """
    try:
        state, text = path.stat(), path.read_bytes()[:128]
    except OSError as error:
        raise ConfigError(
            f"expected a key of 64 hexadecimal digits in {path}, found {error.strerror}: make one with "
            f"(umask 077; openssl rand -hex 32 > {path})"
        ) from error
    if os.name == "posix" and state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"expected a key that only its owner can read, found {path} open to others: chmod 600 {path}")
    if not _KEY_TEXT.fullmatch(text):
        found = f"{state.st_size:,} bytes that are none"  # nothing of a secret is quoted
        raise ConfigError(f"expected a key of 64 hexadecimal digits, found {found} in {path}: name another file")
    return bytes.fromhex(text.decode().strip())


def _spellings(names: set[str]) -> list[str]:
    """Returns how a sentence may spell any of the names, longest first."""
    quoted = {spell(name) for name in names for spell in _QUOTES}
    return sorted(quoted | {name for name in names if len(name) >= _SHORTEST_BARE_NAME}, key=len, reverse=True)


_QUOTES: tuple[Callable[[str], str], ...] = (repr, ascii)


def _texts(answer: object) -> tuple[str, str]:
    file, reason = getattr(answer, "file", None), getattr(answer, "reason", None)
    if not isinstance(file, str) or not isinstance(reason, str):
        raise TypeError(f"expected an answer with file and reason, found {type(answer).__name__}")
    return file, reason


def _replace(answer: _Answer, **texts: str) -> _Answer:
    if not dataclasses.is_dataclass(answer) or isinstance(answer, type):
        raise TypeError(f"expected a dataclass as answer, found {type(answer).__name__}")
    return dataclasses.replace(answer, **texts)
