import os
import stat
import zipfile

import pytest

from semise_sdk.bundle.archive import extract, write_archive
from semise_sdk.errors import BundleError


@pytest.fixture
def files(tmp_path):
    source = tmp_path / "source"
    (source / "golden").mkdir(parents=True)
    contents = {"manifest.json": b"{}", "golden/b.png": os.urandom(3000)}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    return {name: source / name for name in contents}


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_what_is_packed_comes_out(files, tmp_path, target):
    write_archive(files, tmp_path / "a.semise")
    extract(tmp_path / "a.semise", target)
    assert {name: (target / name).read_bytes() for name in files} == {n: p.read_bytes() for n, p in files.items()}


def test_the_same_files_give_the_same_bytes_whatever_their_dates_and_order(files, tmp_path):
    write_archive(files, tmp_path / "a.semise")
    for path in files.values():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    write_archive(dict(reversed(files.items())), tmp_path / "b.semise")
    assert (tmp_path / "a.semise").read_bytes() == (tmp_path / "b.semise").read_bytes()


def packed(path, *members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a/../../evil.json", "..\\evil.json", "C:/evil.json"])
def test_nothing_is_written_outside(tmp_path, target, name):
    with pytest.raises(BundleError, match="plain relative file names"):
        extract(packed(tmp_path / "a.semise", ("ok.json", b"{}"), (name, b"{}")), target)
    assert list(target.iterdir()) == []
    assert not (tmp_path / "evil.json").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, target, kind):
    member = zipfile.ZipInfo("link.json")
    member.external_attr = (kind | 0o777) << 16
    with pytest.raises(BundleError, match="link or device"):
        extract(packed(tmp_path / "a.semise", (member, "/etc/passwd")), target)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.json", "A.json"])
def test_a_name_twice_is_refused(tmp_path, target, second):
    with pytest.raises(BundleError, match="every name once"):
        extract(packed(tmp_path / "a.semise", ("a.json", b"1"), (second, b"2")), target)


def test_a_bomb_is_refused_before_anything_is_written(tmp_path, target):
    bomb = packed(tmp_path / "a.semise", ("a.json", bytes(10_000_000)), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match="unpacks to about its own size"):
        extract(bomb, target)
    assert list(target.iterdir()) == []


def test_too_many_members_are_refused(tmp_path, target, monkeypatch):
    monkeypatch.setattr("semise_sdk.bundle.archive.MAX_MEMBERS", 1)
    with pytest.raises(BundleError, match="at most 1 files"):
        extract(packed(tmp_path / "a.semise", ("a.json", b"1"), ("b.json", b"2")), target)


def test_other_compressions_are_refused(tmp_path, target):
    with pytest.raises(BundleError, match=r"stored or deflated .*, found compression method 14: 'a\.json'"):
        extract(packed(tmp_path / "a.semise", ("a.json", b"1"), method=zipfile.ZIP_LZMA), target)


def test_an_encrypted_member_is_refused(tmp_path, target):
    path = packed(tmp_path / "a.semise", ("a.json", b"1"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="encrypted"):
        extract(path, target)


def test_a_damaged_archive_is_a_bundle_error(files, tmp_path, target):
    path = tmp_path / "a.semise"
    write_archive(files, path)
    whole = path.read_bytes()
    start = whole.index(files["golden/b.png"].read_bytes())
    for damaged in (b"", b"junk", whole[:-10], whole[: len(whole) // 2], whole[:start] + b"\0\0" + whole[start + 2 :]):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="found a damaged file"):
            extract(path, target)
        for leftover in [*target.rglob("*.*")]:
            leftover.unlink()


def test_a_file_in_a_folders_place_is_a_bundle_error(tmp_path, target):
    with pytest.raises(BundleError, match="could not unpack"):
        extract(packed(tmp_path / "a.semise", ("a.json", b"1"), ("a.json/b.json", b"2")), target)
