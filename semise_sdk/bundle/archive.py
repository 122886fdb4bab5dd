"""A bundle as one ``.semise`` file: a zip that is packed the same every time and unpacked with care."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from semise_sdk.bundle.integrity import check_name
from semise_sdk.errors import BundleError
from semise_sdk.system.atomic import atomic_file

MAX_MEMBERS = 10_000
MAX_BYTES = 16 << 30
MAX_RATIO = 20
"""Weights hardly compress: an archive that unpacks to much more than its own size is a bomb."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20


def write_archive(files: Mapping[str, Path], target: Path) -> None:
    """Writes ``files`` into a zip whose bytes depend on their names and contents only.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(target) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(files.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # Unix, wherever this runs
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(member, "w") as packed:
                shutil.copyfileobj(source, packed, _CHUNK)


def extract(archive_path: Path, folder: Path) -> None:
    """Unpacks a ``.semise`` file into an empty folder.

    Raises:
        BundleError: it is no zip, is damaged, or holds what no bundle holds: a link, an absolute or climbing name, a
            name twice, an encrypted member, or far more data than its size.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(members, archive_path.stat().st_size)
            for member in members:
                _extract_member(archive, member, folder)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise BundleError(
            f"expected {archive_path} to be a bundle, found a damaged file ({error}): get it again"
        ) from error
    except OSError as error:
        raise BundleError(
            f"could not unpack {archive_path}: {error.strerror or error}; free space or unpack it yourself"
        ) from error


def _check_members(members: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise BundleError(f"expected at most {MAX_MEMBERS} files in a bundle, found {len(members)}")
    total = sum(member.file_size for member in members)
    if total > min(MAX_BYTES, MAX_RATIO * archive_bytes):
        raise BundleError(f"expected a bundle that unpacks to about its own size, found {total:,} bytes: do not use it")
    seen: set[str] = set()
    for member in members:
        check_name(member.filename)
        folded = member.filename.casefold()
        if folded in seen:
            raise BundleError(f"expected every name once in a bundle, found {member.filename!r} twice: do not use it")
        seen.add(folded)
        _check_kind(member)


def _check_kind(member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BundleError(f"expected only files in a bundle, found a link or device: {member.filename!r}")
    if member.flag_bits & 0x1:
        raise BundleError(f"expected no encrypted file in a bundle, found {member.filename!r}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = f"compression method {member.compress_type}"
        raise BundleError(f"expected stored or deflated files in a bundle, found {method}: {member.filename!r}")


def _extract_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as stream:
        shutil.copyfileobj(source, stream, _CHUNK)  # never more than member.file_size, and its CRC is checked
