"""The folder of PNGs that a command writes: one per image, each under a name of its own."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import ConfigError
from semise_sdk.images.record import FoundImage
from semise_sdk.reports.overlay import encode_png
from semise_sdk.system.atomic import write_bytes

# A file's name may have 255 bytes, and here it is both, two underscores, a number and .png.
_LONGEST_STEM, _LONGEST_SUFFIX = 200, 40


class DrawingFolder:
    """A folder of PNGs that mirrors the folders of the images.

    ``a/x.png`` and ``b/x.png`` keep their folders; ``x.png`` and ``x.jpg`` become ``x.png`` and ``x_jpg.png``.

    Args:
        folder: Where the PNGs go.
        inputs: The files and folders that the images come from; what is drawn must not lie among them.
        is_new: Whether the folder must be empty: names that are numbers would replace those of another batch.

    Raises:
        ConfigError: the folder is, or lies in, one of the images, or must be empty and is not.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path] = (), *, is_new: bool = False) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        place = folder.resolve()
        if any(_is_among(place, given.resolve()) for given in inputs):
            raise ConfigError(f"expected a folder for drawings outside of the images', found {folder}: name another")
        if is_new and folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"expected a new folder for numbered drawings, found files in {folder}: name another")

    def write(self, found: FoundImage, pixels: NDArray[np.uint8], *, description: str = "") -> Path:
        """Writes one image's PNG and returns its path.

        Raises:
            ConfigError: it would lie beside the image itself, and could replace one of the images.
            OutputError: it cannot be written.
        """
        path = self.place(found.file)
        # A link among the inputs may lead to where none of them lies.
        if path.parent.resolve() == found.source.parent.resolve():
            raise ConfigError(f"expected a folder of its own for drawings, found the images' own: {path.parent}")
        write_bytes(path, encode_png(pixels, description))
        return path

    def place(self, file: str) -> Path:
        """Returns a path inside the folder for the image named ``file``, another one for each call."""
        folders, stem, suffix = _parts(file)
        names = [stem, f"{stem}_{suffix}", *(f"{stem}_{suffix}_{number}" for number in range(2, 100))]
        for name in names:
            if self._take((*folders, f"{name}.png")):
                return self.folder.joinpath(*folders, f"{name}.png")
        return self._numbered(folders, stem)

    def _numbered(self, folders: tuple[str, ...], stem: str) -> Path:
        number = len(self._taken)
        while not self._take((*folders, f"{stem}_{number}.png")):
            number += 1
        return self.folder.joinpath(*folders, f"{stem}_{number}.png")

    def _take(self, parts: tuple[str, ...]) -> bool:
        key = "/".join(parts).casefold()  # some file systems do not tell cases apart
        if key in self._taken:
            return False
        self._taken.add(key)
        return True


def _is_among(place: Path, source: Path) -> bool:
    """Returns whether a folder is, or lies in, a folder of images, or holds a file that was given by itself."""
    return source in (place, *place.parents) if source.is_dir() else place == source.parent


def _parts(file: str) -> tuple[tuple[str, ...], str, str]:
    """Returns the folders, stem and suffix of a name; nothing in them leads out of a folder."""
    path = PurePosixPath(PurePath(file).as_posix())
    *folders, name = [part for part in path.parts if part not in ("/", "..") and not part.endswith(":")] or ["image"]
    stem, _, suffix = name.rpartition(".")
    return tuple(folders), _cut(stem or name, _LONGEST_STEM), _cut(suffix.lower(), _LONGEST_SUFFIX) or "image"


def _cut(name: str, most: int) -> str:
    """Returns the beginning of a name that has at most ``most`` bytes, without a part of a character."""
    while len(os.fsencode(name)) > most:
        name = name[:-1]
    return name
