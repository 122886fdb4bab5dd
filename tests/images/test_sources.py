import itertools
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.errors import DataError
from semise_sdk.images.record import NamedImage
from semise_sdk.images.sources import describe, named_image, named_images

ARRAY = np.zeros((2, 2), np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.png", "sub/c.png"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(images):
    return [image.file for image in named_images(images)]


def test_a_folder_names_its_files_relative_to_itself(folder):
    assert names(folder) == names(str(folder)) == ["a.png", "b.png", "sub/c.png"]
    assert [image.source for image in named_images(folder)][-1] == folder / "sub" / "c.png"


def test_a_file_alone_is_named_by_its_name(folder):
    assert names(folder / "a.png") == ["a.png"]


def test_files_of_an_iterable_keep_the_path_they_were_given_by(folder):
    given = [str(folder / "a.png"), folder / "sub" / "c.png"]
    assert names(given) == [str(folder / "a.png"), str(folder / "sub" / "c.png")]
    assert names(iter(given)) == names(given)


def test_a_mixed_iterable_is_flat_and_in_order(folder):
    mixed = [b"x", folder, ARRAY, bytearray(b"y"), NamedImage("renamed.png", folder / "a.png"), memoryview(b"z")]
    assert names(mixed) == [
        "bytes[0]", "a.png", "b.png", "sub/c.png", "array[2]", "bytes[3]", "renamed.png", "bytes[5]",
    ]  # fmt: skip
    assert [type(image.source) for image in named_images(mixed)][-1] is bytes


@pytest.mark.parametrize("one", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_are_one_image_not_an_iterable_of_numbers(one):
    assert [image.source for image in named_images(one)] == [b"x"]


def test_an_array_is_one_image(folder):
    assert names(np.zeros((4, 4, 3), np.uint8)) == ["array[0]"]


def test_a_path_with_nothing_behind_it(folder):
    with pytest.raises(DataError, match="found nothing at"):
        named_images(folder / "missing.png")
    # among others it stays in, and is for the reader to report
    assert names([folder / "missing.png", folder / "a.png"])[0] == str(folder / "missing.png")


@pytest.mark.parametrize("wrong", [3, None, 1.5])
def test_what_is_no_image_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="expected a path, bytes or an array"):
        names([b"x", wrong])


@pytest.mark.parametrize(
    ("source", "file"), [("x/y", "x/y"), (b"", "bytes[0]"), (ARRAY, "array[0]"), (NamedImage("f", Path("x")), "f")]
)
def test_one_image_has_its_name_and_a_folder_is_not_entered(source, file, folder):
    assert named_image(source).file == file
    assert named_image(folder).source == folder
    with pytest.raises(TypeError, match="expected a path, bytes or an array"):
        named_image(3)


def test_an_endless_iterable_is_taken_one_by_one(folder):
    first = list(itertools.islice(named_images(itertools.repeat(folder / "a.png")), 3))
    assert len(first) == 3


@pytest.mark.parametrize(
    ("images", "text"),
    [("x/y", "x/y"), (Path("x"), "x"), (b"", "bytes"), (ARRAY, "array"), ([b""], "images"),
     (NamedImage("f", Path("x")), "f")],
)  # fmt: skip
def test_images_are_described_in_a_few_words(images, text):
    assert describe(images) == text


def test_a_named_image_of_pixels_can_be_compared_and_kept_in_a_set():
    one, other = NamedImage("a", np.zeros((2, 2))), NamedImage[Path]("a", Path("a"))
    assert len({one, other, one}) == 2
    assert one != NamedImage("a", one.source)
