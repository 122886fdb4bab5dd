"""Which files a folder holds, and whether they are the ones that were promised."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path, PurePosixPath

from semise_sdk.errors import BundleError

ALLOWED_SUFFIXES = (".json", ".md", ".onnx", ".png", ".safetensors")

_ENGINES = (".engine", ".plan", ".trt")
_PICKLES = (".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)*")
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def check_name(name: str) -> None:
    """Refuses a file name that could lead out of its folder, or a kind of file that no bundle holds.

    Raises:
        BundleError: the name is absolute, climbs, hides or holds odd characters; or it ends as an engine, a pickle or
            anything but ``ALLOWED_SUFFIXES``.
    """
    if not _NAME.fullmatch(name):
        raise BundleError(f"expected plain relative file names in a bundle, found {name!r}: do not use this bundle")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _ENGINES:
        raise BundleError(
            f"expected no engine file in a bundle, found {name!r}: engines are built on this machine only"
        )
    if suffix in _PICKLES:
        raise BundleError(f"expected no file that may hold a pickle in a bundle, found {name!r}: do not use it")
    if suffix not in ALLOWED_SUFFIXES:
        raise BundleError(f"expected files of {', '.join(ALLOWED_SUFFIXES)} in a bundle, found {name!r}: remove it")


def list_files(folder: Path) -> dict[str, Path]:
    """Returns every file below ``folder`` by its relative name with ``/``.

    Raises:
        BundleError: a link, pipe, socket or device, an unfit name (see :func:`check_name`) or an unreadable folder.
    """
    try:
        files = dict(sorted(_walk(folder, "")))
    except OSError as error:
        raise BundleError(f"could not read {folder}: {error.strerror}; check its permissions") from error
    for name in files:
        check_name(name)
    return files


def hash_file(path: Path) -> str:
    """Returns the sha256 of a regular file, in hex; a link is refused.

    Raises:
        BundleError: it cannot be read.
    """
    try:
        with _open_regular(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"could not read {path}: {error.strerror}; check its permissions") from error


def read_verified(path: Path, sha256: str) -> bytes:
    """Returns a file's content after proving that it is what was promised.

    Raises:
        BundleError: it is not, or it cannot be read.
    """
    try:
        with _open_regular(path) as stream:
            data = stream.read()
    except OSError as error:
        raise BundleError(f"could not read {path}: {error.strerror}; check its permissions") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _altered(path.name)
    return data


def read_limited(path: Path, most: int) -> bytes:
    """Returns the content of a regular file of at most ``most`` bytes; a link is refused.

    Raises:
        BundleError: it cannot be read, or it is larger.
    """
    try:
        with _open_regular(path) as stream:
            data, size = stream.read(most + 1), os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise BundleError(f"could not read {path}: {error.strerror}; check its permissions") from error
    if len(data) > most:
        raise BundleError(f"expected {path.name} of at most {most:,} bytes, found {size:,}: do not use it")
    return data


def verify(files: Mapping[str, Path], promised: Mapping[str, str]) -> None:
    """Proves that ``files`` are exactly those promised, by name and sha256.

    Raises:
        BundleError: one is missing, too many or altered.
    """
    missing, extra = sorted(set(promised) - set(files)), sorted(set(files) - set(promised))
    if missing:
        raise BundleError(f"expected {missing[0]} in the bundle, found it missing: get the bundle again")
    if extra:
        raise BundleError(f"expected only files of the manifest, found also {extra[0]}: remove it")
    for name, path in files.items():
        if hash_file(path) != promised[name]:
            raise _altered(name)


def _altered(name: str) -> BundleError:
    return BundleError(f"expected {name} as the manifest describes it, found it altered or damaged: get it again")


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name, folder / entry.name
            else:
                kind = "a link" if entry.is_symlink() else "a pipe, socket or device"
                raise BundleError(f"expected only files and folders in a bundle, found {kind}: {name!r}; remove it")


def _open_regular(path: Path) -> BufferedReader:
    # Without O_NONBLOCK a pipe put in the file's place between listing and opening would make us wait for ever.
    stream = os.fdopen(os.open(path, os.O_RDONLY | _NO_FOLLOW), "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise BundleError(f"expected {path} to be a file, found a pipe, socket or device: do not use this bundle")
    return stream
