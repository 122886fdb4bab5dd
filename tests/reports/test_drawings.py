import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semise_sdk.errors import ConfigError
from semise_sdk.images.record import NamedImage
from semise_sdk.reports.drawings import DrawingFolder

MASK = np.array([[0, 255]], np.uint8)


def placed(*files: str) -> list[str]:
    folder = DrawingFolder(Path("masks"))
    return [folder.place(file).as_posix() for file in files]


def test_folders_are_mirrored():
    assert placed("a/x.png", "b/x.png", "x.jpg") == ["masks/a/x.png", "masks/b/x.png", "masks/x.png"]


def test_files_that_differ_in_suffix_only_get_names_of_their_own():
    assert placed("x.png", "x.jpg", "x.tif") == ["masks/x.png", "masks/x_jpg.png", "masks/x_tif.png"]


def test_no_name_is_given_twice():
    names = placed(*["x.png"] * 150, "X.PNG", "x_png.png")
    assert len({name.casefold() for name in names}) == 152


@pytest.mark.parametrize("file", ["../../x.png", "/etc/x.png", "a/../../x.png", "..", "/", "C:/x.png"])
def test_no_name_leads_out_of_the_folder(file, tmp_path):
    path = DrawingFolder(tmp_path / "masks").place(file)
    assert Path(os.path.normpath(path)).is_relative_to(tmp_path / "masks")
    assert path.suffix == ".png"


LONG = ["x" * 255, "\u00e9" * 127, "\U0001f600" * 63, "x." + "y" * 253]


@pytest.mark.parametrize("file", [".hidden", "no_suffix", *LONG, "a.b.c.png", "ü/=cmd.png", os.fsdecode(b"\xff.png")])
def test_odd_names_can_be_written(file, tmp_path):
    folder = DrawingFolder(tmp_path / "masks")
    path = folder.write(NamedImage(file, tmp_path / "images" / "x"), MASK)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), MASK)


def test_long_names_that_are_cut_alike_are_written_apart(tmp_path):
    folder = DrawingFolder(tmp_path / "masks")
    names = [f"{start}{letter}" for start in ("\u00e9" * 126, "\u00e9" * 99 + "." + "\u00e9" * 26) for letter in "abc"]
    drawn = {folder.write(NamedImage(name, tmp_path / "images" / "x"), MASK) for name in names}
    assert len(drawn) == 6
    assert all(path.is_file() for path in drawn)


@pytest.mark.parametrize(
    ("file", "masks"), [("x.jpg", "images"), ("sub/x.jpg", "images"), ("x.jpg", "images/../images")]
)
def test_drawings_never_lie_beside_the_images(tmp_path, file, masks):
    image = tmp_path / "images" / file
    image.parent.mkdir(parents=True)
    (tmp_path / "a").mkdir()
    image.write_bytes(b"image")
    with pytest.raises(ConfigError, match="expected a folder of its own"):
        DrawingFolder(tmp_path / masks).write(NamedImage(file, image), MASK)
    assert [path for path in (tmp_path / "images").rglob("*") if path.is_file()] == [image]


@pytest.mark.parametrize("place", ["images", "images/sub", "images/new/deeper"])
def test_drawings_never_lie_among_images_that_are_not_read_yet(tmp_path, place):
    """Under --phi drop a mask was once called image-000001.png, and replaced an image of that name."""
    (tmp_path / "images" / "sub").mkdir(parents=True)
    with pytest.raises(ConfigError, match="outside of the images'"):
        DrawingFolder(tmp_path / place, [tmp_path / "images"])
    DrawingFolder(tmp_path / "masks", [tmp_path / "images"])


def test_drawings_of_files_may_lie_in_a_folder_beside_them_and_not_among_them(tmp_path):
    image = tmp_path / "x.png"
    image.write_bytes(b"image")
    with pytest.raises(ConfigError, match="outside of the images'"):
        DrawingFolder(tmp_path, [image])
    DrawingFolder(tmp_path / "masks", [image])


def test_numbered_drawings_replace_none_of_another_batch(tmp_path):
    DrawingFolder(tmp_path / "masks", is_new=True)
    (tmp_path / "masks").mkdir()
    DrawingFolder(tmp_path / "masks", is_new=True)
    (tmp_path / "masks" / "image-000001.png").write_bytes(b"of before")
    with pytest.raises(ConfigError, match="expected a new folder"):
        DrawingFolder(tmp_path / "masks", is_new=True)
