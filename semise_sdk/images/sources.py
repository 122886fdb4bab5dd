"""What a user may hand in as images: paths, bytes, arrays (grey or RGB), or any iterable of them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.images.readers import find_images
from semise_sdk.images.record import AnyImage, NamedImage

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.generic] | AnyImage
Images = Source | Iterable[Source]


def named_images(images: Images) -> Iterator[AnyImage]:
    """Yields every image that ``images`` names, lazily.

    A folder gives each of its files, named relative to it; a file alone its own name. Of an iterable, a file keeps
    the path it was given by, bytes and arrays are named ``bytes[i]`` and ``array[i]`` by their place, and a path
    where nothing is stays in: reading it says so.

    Raises:
        DataError: ``images`` is a path, and nothing is there.
        TypeError: an element is no image.
    """
    if isinstance(images, str | os.PathLike):
        return find_images(images)
    if isinstance(images, NamedImage | bytes | bytearray | memoryview | np.ndarray):
        return _element(images, 0)
    return (image for index, element in enumerate(images) for image in _element(element, index))


def named_image(source: Source) -> AnyImage:
    """Returns the one image that ``source`` names; a folder is none, which reading it says.

    Raises:
        TypeError: it is no image.
    """
    return next(_element(single(source), 0))


def single(source: Source) -> Source:
    """Returns what is read as one image, whatever it is: a folder stays one, which cannot be read."""
    return NamedImage(os.fspath(source), Path(source)) if isinstance(source, str | os.PathLike) else source


def describe(images: Images) -> str:
    """Returns what ``images`` is in a few words, for a result's header."""
    match images:
        case str() | os.PathLike():
            return os.fspath(images)
        case NamedImage():
            return images.file
        case bytes() | bytearray() | memoryview():
            return "bytes"
        case np.ndarray():
            return "array"
    return "images"


def _element(source: Source, index: int) -> Iterator[AnyImage]:
    match source:
        case NamedImage():
            yield source
        case bytes() | bytearray() | memoryview():
            yield NamedImage(f"bytes[{index}]", bytes(source))
        case np.ndarray():
            yield NamedImage(f"array[{index}]", source)
        case str() | os.PathLike():
            path = Path(source)
            if path.is_dir():
                yield from find_images(path)
            else:
                yield NamedImage(os.fspath(source), path)
        case _:
            raise TypeError(f"expected a path, bytes or an array as image, found {type(source).__name__}")
