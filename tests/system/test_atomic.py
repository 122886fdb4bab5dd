import os
import sys
import threading
from pathlib import Path

import pytest

from semise_sdk.errors import OutputError
from semise_sdk.system.atomic import atomic_file, atomic_folder, clear_unfinished, write_bytes


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def interrupted_write(path: Path, error: BaseException) -> None:
    with atomic_file(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists() or path.read_bytes() == b"old"
        raise error


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "new" / "folder" / "a.csv"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["a.csv"]


def test_the_old_content_stays_until_the_block_ends_and_when_it_fails(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        interrupted_write(path, ZeroDivisionError())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.csv"]


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(tmp_path / "a.csv", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_what_cannot_be_written_is_one_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"could not write .*a\.csv"):
        write_bytes(tmp_path / "file" / "a.csv", b"x")


@pytest.mark.parametrize("name", ["x" * 255, "\u00e9" * 127, "\U0001f600" * 63])
def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path, name):
    write_bytes(tmp_path / name, b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"new")]


def test_a_full_disk_is_an_output_error_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="No space left"), atomic_file(path):
        raise OSError(28, "No space left on device")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.csv"]


def test_a_broken_pipe_is_no_output_error(tmp_path):
    with pytest.raises(BrokenPipeError), atomic_file(tmp_path / "a.csv"):
        raise BrokenPipeError


def test_a_pipe_is_written_directly(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    write_bytes(path, b"through")
    reader.join(timeout=10)
    assert received == [b"through"]
    assert names(tmp_path) == ["pipe"]


def test_writers_of_the_same_file_never_mix(tmp_path):
    path = tmp_path / "a.bin"
    contents = [bytes([value]) * 10_000 for value in range(8)]
    threads = [threading.Thread(target=write_bytes, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["a.bin"]


def test_only_what_killed_writers_left_is_cleared(tmp_path):
    others = ("a.tmp", ".a.tmp", ".a.csv.0123abcd", ".b.csv.0123abcd.tmp", "deep/b")
    for name in (".a.csv.0123abcd.tmp", "deep/.b\nc.0123abcd.tmp", *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    clear_unfinished(tmp_path / "a.csv", tmp_path / "deep", tmp_path / "none")
    assert sorted(names(tmp_path)) == [".a.csv.0123abcd", ".a.tmp", ".b.csv.0123abcd.tmp", "a.tmp", "deep"]
    assert names(tmp_path / "deep") == ["b"]


def fill(folder: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_folder(folder) as building:
        (building / "a.txt").write_text(text)
        assert building.parent == folder.parent
        if error is not None:
            raise error


def test_a_folder_replaces_the_old_one_when_the_block_ends_well(tmp_path):
    place = tmp_path / "deep" / "bundle"
    fill(place, "one")
    fill(place, "two")
    assert (place / "a.txt").read_text() == "two"
    assert names(place.parent) == ["bundle"]


def test_a_folder_is_replaced_where_two_cannot_be_swapped(tmp_path, monkeypatch):
    monkeypatch.setattr("semise_sdk.system.atomic._exchange", lambda one, other: False)
    fill(tmp_path / "bundle", "one")
    fill(tmp_path / "bundle", "two")
    assert (tmp_path / "bundle" / "a.txt").read_text() == "two"
    assert names(tmp_path) == ["bundle"]


@pytest.mark.skipif(sys.platform != "linux", reason="two folders are swapped in one step on Linux alone")
def test_there_is_a_folder_at_every_moment_while_one_replaces_another(tmp_path, monkeypatch):
    place = tmp_path / "bundle"
    fill(place, "one")
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("moved away before the new one is there"))
    fill(place, "two")
    assert (place / "a.txt").read_text() == "two"
    assert names(tmp_path) == ["bundle"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    fill(tmp_path / "versions" / "1", "one")
    (tmp_path / "bundle").symlink_to(tmp_path / "versions" / "1")
    fill(tmp_path / "bundle", "two")
    assert (tmp_path / "bundle" / "a.txt").read_text() == "two"
    assert (tmp_path / "versions" / "1" / "a.txt").read_text() == "one"
    assert sorted(names(tmp_path)) == ["bundle", "versions"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_an_old_folder_stays_when_the_block_fails(tmp_path, error):
    place = tmp_path / "bundle"
    fill(place, "old")
    with pytest.raises(type(error)):
        fill(place, "half", error)
    assert (place / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["bundle"]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not create"):
        fill(tmp_path / "file" / "bundle", "x")


def test_an_old_folder_comes_back_when_the_new_one_cannot_be_moved(tmp_path, monkeypatch):
    place = tmp_path / "bundle"
    fill(place, "old")
    rename = Path.rename
    monkeypatch.setattr("semise_sdk.system.atomic._exchange", lambda one, other: False)

    def refuse(self, target):
        if self.name.endswith(".building"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="could not put a folder at"):
        fill(place, "new")
    assert (place / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["bundle"]
