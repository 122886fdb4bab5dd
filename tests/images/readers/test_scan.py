"""A folder is walked lazily, completely and in the same order every time."""

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from semise_sdk.errors import DataError, ImageReadError
from semise_sdk.images.readers import find_images, read_image, scan_images
from semise_sdk.images.record import FoundImage


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def files(found: Iterator[FoundImage]) -> list[str]:
    return [image.file for image in found]


def test_a_folder_is_sorted_by_name_at_each_level(tmp_path: Path) -> None:
    plant(tmp_path, "b.png", "a/2.png", "a/10.png", "a/deep/x.jpg", "c", "B.png", "notes.txt")
    (tmp_path / "nothing").mkdir()
    found = list(find_images(tmp_path))
    assert files(iter(found)) == ["B.png", "a/10.png", "a/2.png", "a/deep/x.jpg", "b.png", "c", "notes.txt"]
    assert all(image.source == tmp_path / image.file for image in found)
    assert files(find_images(str(tmp_path))) == files(iter(found))


def test_hidden_names_are_left_out_unless_named(tmp_path: Path) -> None:
    plant(tmp_path, ".DS_Store", ".git/a.png", "seen.png")
    assert files(find_images(tmp_path)) == ["seen.png"]
    assert files(find_images(tmp_path / ".DS_Store")) == [".DS_Store"]
    assert files(find_images(tmp_path / ".git")) == ["a.png"]


def test_names_are_relative_to_the_argument_that_found_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "one/a.png", "two/a.png")
    monkeypatch.chdir(tmp_path)
    assert files(find_images(["two", tmp_path / "one", "one/a.png", "."])) == [
        "a.png",
        "a.png",
        "a.png",
        "one/a.png",
        "two/a.png",
    ]
    assert [(found.file, found.source) for found in find_images("one/a.png")] == [("a.png", Path("one/a.png"))]


def test_an_empty_folder_and_no_source_find_nothing(tmp_path: Path) -> None:
    assert list(find_images(tmp_path)) == []
    assert list(find_images([])) == []


def test_a_missing_path_is_said_before_anything_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "a.png")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    for missing in (tmp_path / "typo", tmp_path / "broken", "nul\0l"):
        with pytest.raises(DataError, match="expected an image or a folder of images, found nothing at '") as caught:
            find_images([tmp_path, missing])
        assert "\n" not in str(caught.value)
    lazily = find_images(iter([tmp_path / "a.png", tmp_path / "typo"]))
    assert next(lazily).file == "a.png"
    with pytest.raises(DataError):
        next(lazily)


def test_links_in_a_circle_end_and_each_folder_is_entered_once(tmp_path: Path) -> None:
    plant(tmp_path, "a/one.png", "b/two.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "linked.png").symlink_to(tmp_path / "a" / "one.png")
    assert files(find_images(tmp_path)) == ["a/one.png", "a/to_b/two.png", "itself", "linked.png"]


def test_irregular_entries_are_yielded_and_reading_them_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone")
    reasons = {}
    for image in find_images(tmp_path):
        with pytest.raises(ImageReadError) as caught:
            read_image(image.source)
        reasons[image.file] = caught.value.code
    assert reasons == {"dangling.png": "not_found", "pipe": "not_a_file"}


def test_a_folder_that_cannot_be_opened_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a.png", "locked/b.png", "z.png")
    scan = os.scandir

    def refuse(folder: Path) -> object:
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert files(find_images(tmp_path)) == ["a.png", "locked", "z.png"]
    with pytest.raises(DataError, match=r"expected a folder that can be opened, found .*locked': Permission denied"):
        list(find_images(tmp_path / "locked"))


def test_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    names = [b"plain.png", b"\xff\xfe.png", "löß 漢.png".encode(), b"line\nbreak.png", b"-rf", b"a" * 255]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(b"x")
    found = list(find_images(tmp_path))
    assert sorted(os.fsencode(image.file) for image in found) == sorted(names)
    assert all(image.source.exists() for image in found)


def test_folders_nested_deeper_than_the_call_stack(tmp_path: Path) -> None:
    depth = 400
    (tmp_path / ("d/" * depth)).mkdir(parents=True)
    (tmp_path / ("d/" * depth) / "x.png").write_bytes(b"x")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        found = files(find_images(tmp_path))
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["d/" * depth + "x.png"]


def test_the_walk_is_lazy(tmp_path: Path) -> None:
    plant(tmp_path, "a.png", "b/late.png")
    found = find_images(tmp_path)
    assert next(found).file == "a.png"
    plant(tmp_path, "b/later.png")
    assert files(found) == ["b/late.png", "b/later.png"]


def test_a_scan_finds_the_same_files_under_the_same_names(tmp_path: Path) -> None:
    plant(tmp_path, "b.png", "a/2.png", "a/10.png", "a/deep/x.jpg", "c", ".hidden", "d/.git/x", "z/y/x/w.png")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "aa").symlink_to(tmp_path / "z", target_is_directory=True)  # entered first, so z is left out
    (tmp_path / "z" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    for source in (tmp_path, str(tmp_path), [tmp_path / "a", tmp_path / "b.png", tmp_path]):
        assert sorted(files(scan_images(source))) == sorted(files(find_images(source)))
        assert {found.source for found in scan_images(source)} == {found.source for found in find_images(source)}
    with pytest.raises(DataError):
        list(scan_images(tmp_path / "gone"))


def test_a_folder_that_cannot_be_opened_is_scanned_as_it_is_found(tmp_path: Path, monkeypatch) -> None:
    plant(tmp_path, "open/a.png", "shut/b.png")
    real = os.scandir

    def refuse(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert sorted(files(scan_images(tmp_path))) == sorted(files(find_images(tmp_path))) == ["open/a.png", "shut"]
    with pytest.raises(DataError, match="expected a folder that can be opened"):
        list(scan_images(tmp_path / "shut"))
