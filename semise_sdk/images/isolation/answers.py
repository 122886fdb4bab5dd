"""Requests and answers as messages, and back; the parent believes nothing of an answer that it has not checked."""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.isolation.protocol import Message, ProtocolError
from semise_sdk.images.preprocess import geometry_for
from semise_sdk.images.readers import MAX_PIXELS
from semise_sdk.images.record import Canvas
from semise_sdk.spec import InputSpec
from semise_sdk.system.json_fields import JsonSource, shown

Ask = Literal["canvas", "display"]
Picture = NDArray[np.uint8]

MAX_ANSWER_BYTES = 3 * MAX_PIXELS
"""The largest answer: a picture in colour."""

_MAX_REASON = 2000
_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """An image, what it is wanted as, and the spec that says how."""

    ask: Ask
    source: Path | bytes
    spec: InputSpec

    @property
    def name(self) -> str:
        """The image's name in messages, printable whatever the file is called."""
        return repr("<bytes>" if isinstance(self.source, bytes) else self.source.name)

    def message(self) -> Message:
        """Returns the request as a message: the image's bytes, or its path's.

        The path is made absolute, because this process may change its folder and the other one does not.

        Raises:
            ImageReadError: ``not_found`` for a name that no file can have.
        """
        if isinstance(self.source, bytes):
            return Message(self._header("bytes"), self.source)
        try:
            return Message(self._header("path"), os.fsencode(_absolute(self.source)))
        except UnicodeEncodeError as error:
            raise ImageReadError(
                "not_found", f"{self.name}: expected a file name, found one with characters that none has"
            ) from error

    @classmethod
    def of(cls, message: Message) -> "Request":
        """Returns the request in a message from the parent."""
        is_bytes = message.text("source") == "bytes"
        source = message.payload if is_bytes else Path(os.fsdecode(message.payload))
        ask: Ask = "display" if message.text("ask") == "display" else "canvas"
        return cls(ask, source, _spec_of(message.text("spec")))

    def _header(self, source: str) -> Mapping[str, object]:
        return {"ask": self.ask, "source": source, "spec": _text_of(self.spec)}


def canvas_header(canvas: Canvas) -> Mapping[str, object]:
    """Returns the header of the answer whose payload is the canvas's pixels: the source's size gives the geometry."""
    geometry = canvas.geometry
    return {"status": "canvas", "height": geometry.source_height, "width": geometry.source_width}


def canvas_of(message: Message, spec: InputSpec) -> Canvas:
    """Returns the canvas in an answer; raises ProtocolError where there is none of ``spec``."""
    geometry = geometry_for(*_size(message), spec)
    return Canvas(_pixels(message, (spec.height, spec.width, 3)), geometry)


def display_header(picture: Picture) -> Mapping[str, object]:
    """Returns the header of the answer whose payload is a picture ``uint8 [H, W, 3]``."""
    return {"status": "display", "height": picture.shape[0], "width": picture.shape[1]}


def display_of(message: Message) -> Picture:
    """Returns the picture in an answer, ``uint8 [H, W, 3]``; raises ProtocolError where there is none."""
    return _pixels(message, (*_size(message), 3))


def failed_header(reason: str) -> Mapping[str, object]:
    """Returns the header of the answer that an image cannot be read."""
    return {"status": "failed", "reason": reason[:_MAX_REASON]}


def checked(message: Message) -> Message:
    """Returns an answer that holds pixels.

    Raises:
        ImageReadError: it says why there are none.
        ProtocolError: it is no answer.
    """
    status = message.text("status")
    if status in ("canvas", "display"):
        return message
    code, _, sentence = message.text("reason").partition(": ")
    if status != "failed" or not _CODE.fullmatch(code):
        raise ProtocolError("expected pixels or a reason, found neither")
    raise ImageReadError(code, sentence[:_MAX_REASON])


def _absolute(path: Path) -> Path:
    try:
        return Path.cwd() / path
    except OSError:  # the folder is gone, and so is all that lay in it
        return path


def _pixels(message: Message, shape: tuple[int, int, int]) -> Picture:
    expected = shape[0] * shape[1] * shape[2]
    if len(message.payload) != expected:
        raise ProtocolError(f"expected {expected:,} bytes of pixels, found {len(message.payload):,}")
    return np.frombuffer(message.payload, np.uint8).reshape(shape)


def _size(message: Message) -> tuple[int, int]:
    height, width = message.number("height"), message.number("width")
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ProtocolError(
            f"expected the size of an image of at most {MAX_PIXELS:,} pixels, found {shown(height)} x {shown(width)}"
        )
    return height, width


@functools.lru_cache(maxsize=8)
def _text_of(spec: InputSpec) -> str:
    return json.dumps(dataclasses.asdict(spec))


@functools.lru_cache(maxsize=8)
def _spec_of(text: str) -> InputSpec:
    return JsonSource("the spec", ProtocolError).parse(text).of(InputSpec)
