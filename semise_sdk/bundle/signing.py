"""Who made a bundle: an Ed25519 signature (RFC 8032) over its manifest, which holds the hash of every other file.

What is signed is ``manifest.json`` byte by byte, as :func:`semise_sdk.bundle.write_manifest` writes it. So a signature
is checked before any parser touches the manifest, and OpenSSL can check it too.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from semise_sdk.bundle.integrity import read_limited
from semise_sdk.errors import BundleError, ConfigError, OutputError
from semise_sdk.system.json_fields import JsonSource

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PublicKey = str | os.PathLike[str] | bytes
"""A file in PEM, or what stands in one."""

SIGNATURE = "signature.json"
PUBLIC_KEY_VARIABLE = "SEMISE_PUBLIC_KEY"
FORMAT = "semise-signature"
ALGORITHM = "ed25519"
MAX_BYTES = 16 << 10

_KEY, _SIGNED = re.compile("[0-9a-fA-F]{64}"), re.compile("[0-9a-fA-F]{128}")
_PIP = "pip install 'semise-sdk[sign]'"
_is_own_work: ContextVar[bool] = ContextVar("is_own_work", default=False)


def required_key(given: PublicKey | None) -> PublicKey | None:
    """Returns the key that bundles must be signed with: the one given, else ``$SEMISE_PUBLIC_KEY``, else None."""
    if given is not None:
        return given
    return None if _is_own_work.get() else os.environ.get(PUBLIC_KEY_VARIABLE) or None


@contextmanager
def own_work() -> Iterator[None]:
    """Lets this thread open what it has just made itself, which nobody can have signed, whatever the environment asks.

    A key that is given to a call is required all the same.
    """
    token = _is_own_work.set(True)
    try:
        yield
    finally:
        _is_own_work.reset(token)


def new_key(path: Path, *, passphrase: bytes | None = None) -> Path:
    """Writes a new private key for its owner's eyes only, and returns the public key's file, ``path`` with ``.pub``.

    Args:
        path: The private key's file, PEM (PKCS #8).
        passphrase: Encrypts the private key.

    Raises:
        ConfigError: a file is there already, or ``cryptography`` is not installed.
        OutputError: it cannot be written.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(path.name + ".pub")
    for file in (path, public):
        if file.exists() or file.is_symlink():
            raise ConfigError(f"expected no file at {file}, found one: a key is never overwritten, choose another name")
    key = Ed25519PrivateKey.generate()
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write_new(path, key.private_bytes(pem, pkcs8, locked), mode=0o600)
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    _write_new(public, key.public_key().public_bytes(pem, subject), mode=0o644)
    return public


def signature_of(manifest: bytes, key: Path, *, passphrase: bytes | None = None) -> bytes:
    """Returns the content of ``signature.json`` for a manifest's bytes.

    Raises:
        ConfigError: ``key`` is no Ed25519 private key in PEM, or its passphrase is missing or wrong.
    """
    private = _private_key(key, passphrase)
    data = {
        "format": FORMAT,
        "schema": 1,
        "algorithm": ALGORITHM,
        "public_key": _raw(private.public_key()).hex(),
        "signature": private.sign(manifest).hex(),
    }
    return (json.dumps(data, indent=2) + "\n").encode()


def check_signature(manifest: bytes, signature: bytes | None, key: PublicKey) -> str:
    """Returns the fingerprint of a key, once it is proven to have signed a manifest.

    Args:
        manifest: The bytes of ``manifest.json``.
        signature: The bytes of ``signature.json``; None where there is none.
        key: The public key that is trusted. The one that stands in the signature is not.

    Raises:
        BundleError: the bundle is not signed, or not by this key.
        ConfigError: ``key`` is no Ed25519 public key, or ``cryptography`` is not installed.
    """
    public = _public_key(key)
    from cryptography.exceptions import InvalidSignature

    trusted = fingerprint(_raw(public))
    if signature is None:
        raise BundleError(
            f"expected a bundle signed by {trusted}, found no {SIGNATURE}: semise sign it, or get the signed bundle"
        )
    content, named = _signature_bytes(signature)
    try:
        public.verify(content, manifest)
    except InvalidSignature as error:
        raise BundleError(
            f"expected a bundle signed by {trusted}, found a signature that names {named} and is of another key or for "
            "another bundle: do not use it"
        ) from error
    return trusted


def fingerprint(public_key: bytes) -> str:
    """Returns how a public key's 32 bytes are called: ``ed25519:`` and the first 16 digits of their sha256."""
    return f"{ALGORITHM}:{sha256(public_key).hexdigest()[:16]}"


def _signature_bytes(content: bytes) -> tuple[bytes, str]:
    """Returns the signature, and the key that it says it is of."""
    data = JsonSource(SIGNATURE, BundleError, "do not use this bundle").parse(content)
    for name, value in (("format", FORMAT), ("schema", 1), ("algorithm", ALGORITHM)):
        data[name].choice(value)
    signature = data["signature"].matching(_SIGNED, "an Ed25519 signature of 128 hexadecimal digits")
    key = data.get("public_key").value
    is_named = isinstance(key, str) and _KEY.fullmatch(key)
    return bytes.fromhex(signature), fingerprint(bytes.fromhex(str(key))) if is_named else "no key"


def _private_key(path: Path, passphrase: bytes | None) -> "Ed25519PrivateKey":
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_pem(path), passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"expected {path} to hold a private key in PEM, found none that opens: give --passphrase if it has one, or "
            "make a key with semise keygen"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"expected {path} to hold an Ed25519 key, found {type(key).__name__}: semise keygen makes one"
        )
    return key


def _public_key(key: PublicKey) -> "Ed25519PublicKey":
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    where = "the public key" if isinstance(key, bytes) else os.fspath(key)
    try:
        public = load_pem_public_key(key if isinstance(key, bytes) else _pem(Path(key)))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"expected {where} to be a public key in PEM, found none: semise keygen makes one") from error
    if not isinstance(public, Ed25519PublicKey):
        raise ConfigError(
            f"expected {where} to be an Ed25519 key, found {type(public).__name__}: semise keygen makes one"
        )
    return public


def _pem(path: Path) -> bytes:
    try:
        return read_limited(path.resolve(), MAX_BYTES)
    except BundleError as error:
        raise ConfigError(f"expected a key at {path}, found none that can be read: {error}") from error


def _raw(public: "Ed25519PublicKey") -> bytes:
    return public.public_bytes_raw()


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"signatures need the package cryptography, which is not installed: {_PIP}") from error


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise OutputError(f"could not write {path}: {error.strerror}; free space or choose another place") from error
