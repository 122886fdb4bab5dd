"""Writes bundles: the manifest, the packed file, the signature."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from semise_sdk.bundle.archive import write_archive
from semise_sdk.bundle.bundle import MANIFEST, MAX_MANIFEST_BYTES, SUFFIX, Bundle
from semise_sdk.bundle.integrity import hash_file, list_files, read_limited
from semise_sdk.bundle.manifest import BundleManifest, GraphEntry
from semise_sdk.bundle.signing import SIGNATURE, own_work, signature_of
from semise_sdk.errors import BundleError, ConfigError
from semise_sdk.spec import ModelInfo
from semise_sdk.system.atomic import write_bytes
from semise_sdk.system.json_fields import shown
from semise_sdk.version import __version__


def write_manifest(
    folder: Path,
    *,
    model: ModelInfo,
    graphs: Mapping[str, GraphEntry],
    parity: tuple[Mapping[str, object], ...] = (),
    provenance: Mapping[str, object] | None = None,
) -> BundleManifest:
    """Hashes every file in ``folder`` and writes its manifest.json last, whole or not at all; returns it.

    A signature of what stood there before goes.

    Raises:
        BundleError: a file is of a kind that no bundle holds, or a graph of the model is missing.
        OutputError: the manifest cannot be written.
    """
    files = {name: hash_file(path) for name, path in list_files(folder).items() if name not in (MANIFEST, SIGNATURE)}
    manifest = BundleManifest(
        name=model.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sdk_version=__version__,
        model=model,
        graphs=graphs,
        files=files,
        parity=parity,
        provenance=provenance or {},
    )
    text = json.dumps(manifest.to_json(), indent=2, allow_nan=False) + "\n"
    checked = BundleManifest.from_json(text)
    (folder / SIGNATURE).unlink(missing_ok=True)
    write_bytes(folder / MANIFEST, text.encode())
    return checked


def pack(folder: Path, target: Path) -> None:
    """Writes the verified bundle in ``folder`` as one ``.semise`` file; the same folder gives the same bytes.

    Raises:
        BundleError: the folder is no sound bundle, or ``target`` is not named ``*.semise``.
        OutputError: the file cannot be written.
    """
    if target.suffix != SUFFIX:
        raise BundleError(f"expected a name that ends in {SUFFIX}, found {target.name}")
    with own_work(), Bundle.open(folder) as bundle:
        beside = [name for name in (MANIFEST, SIGNATURE) if (folder / name).exists()]
        write_archive({name: folder / name for name in (*beside, *bundle.manifest.files)}, target)


def sign(path: Path, key: Path, *, passphrase: bytes | None = None) -> None:
    """Signs the verified bundle in a folder or a ``.semise`` file, in its place; a signature that it has is replaced.

    Args:
        path: The bundle.
        key: Ed25519 private key in PEM, as ``semise keygen`` writes it.
        passphrase: The key's, where it has one.

    Raises:
        BundleError: the bundle is not sound.
        ConfigError: the key cannot be used.
        OutputError: the signature cannot be written.
    """
    with own_work(), Bundle.open(path) as bundle:
        manifest = read_limited(bundle.folder / MANIFEST, MAX_MANIFEST_BYTES)
        write_bytes(bundle.folder / SIGNATURE, signature_of(manifest, key, passphrase=passphrase))
        if not path.is_dir():
            pack(bundle.folder, path)


def check_place(place: Path) -> None:
    """Raises ConfigError where replacing ``place`` would take away anything but a bundle."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise ConfigError(f"expected --out to be a folder, found a file or link at {place}: choose another")
    files = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    if files and not (place / MANIFEST).is_file():
        found = f"{shown(files[0])} in {place}" + (f" and {len(files) - 1} more" if files[1:] else "")
        raise ConfigError(f"expected --out to be new, empty or a bundle, found {found}: choose another")
