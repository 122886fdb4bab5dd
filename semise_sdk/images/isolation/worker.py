"""The process that reads images: asked over a pipe, it answers with pixels or with the reason why there are none."""

import json
import os
import sys
from typing import IO

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.isolation.answers import Request, canvas_header, display_header, failed_header
from semise_sdk.images.isolation.confinement import confine, ended_after, private_pipes
from semise_sdk.images.isolation.protocol import ProtocolError, receive, send
from semise_sdk.images.isolation.reader import InProcessReader
from semise_sdk.images.reading import NO_MEMORY, FailedImage
from semise_sdk.images.record import NamedImage


def main() -> None:
    """Answers requests until the parent closes its pipe; ``sys.argv[1]`` says how, in JSON."""
    setup = json.loads(sys.argv[1])
    requests, answers = private_pipes()
    confine(parent=setup["parent"], memory_bytes=setup["memory_bytes"])
    try:
        send(answers, {"status": "ready"})
        while (message := receive(requests)) is not None:
            with ended_after(setup["seconds"]):
                _answer(Request.of(message), answers)
            del message  # a large image is not to be held while the next one comes
    except MemoryError:
        send(answers, failed_header(NO_MEMORY))
    except (ProtocolError, OSError):  # the parent is gone, or not itself
        pass
    os._exit(0)  # nothing is worth tidying up, and a library that does may hang


def _answer(request: Request, answers: IO[bytes]) -> None:
    reader, image = InProcessReader(), NamedImage("", request.source)
    try:
        if request.ask == "display":
            picture = reader.display(image, request.spec)
            send(answers, display_header(picture), _bytes_of(picture))
            return
    except ImageReadError as error:
        send(answers, failed_header(error.reason))
        return
    slot = reader.read(image, request.spec)
    if isinstance(slot, FailedImage):
        send(answers, failed_header(slot.reason))
    else:
        send(answers, canvas_header(slot.canvas), _bytes_of(slot.canvas.pixels))


def _bytes_of(pixels: NDArray[np.uint8]) -> memoryview:
    return np.ascontiguousarray(pixels).data.cast("B")
