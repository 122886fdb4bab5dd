"""The process that reads images: asked over a pipe, it answers with pixels or with the reason why there are none."""

import json
import os
import sys
from typing import IO

import numpy as np

from semise_sdk.errors import ImageReadError, SpecError
from semise_sdk.inputs import NamedImage
from semise_sdk.isolation.answers import Request, canvas_header, display_header, failed_header
from semise_sdk.isolation.confinement import confine, ended_after, private_pipes
from semise_sdk.isolation.protocol import ProtocolError, receive, send
from semise_sdk.overlay import display_pixels
from semise_sdk.readers import read_image
from semise_sdk.tasks import NO_MEMORY, FailedImage, read_slot


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
    if request.ask == "display":
        _show(request, answers)
        return
    slot = read_slot(NamedImage("", request.source), request.spec)
    if isinstance(slot, FailedImage):
        send(answers, failed_header(slot.reason))
    else:
        send(answers, canvas_header(slot.canvas), np.ascontiguousarray(slot.canvas.pixels).data.cast("B"))


def _show(request: Request, answers: IO[bytes]) -> None:
    try:
        picture = display_pixels(read_image(request.source, dicom=request.spec.dicom), request.spec)
    except ImageReadError as error:
        send(answers, failed_header(error.reason))
    except SpecError as error:
        send(answers, failed_header(f"does_not_fit: {error}"))
    else:
        send(answers, display_header(picture), np.ascontiguousarray(picture).data.cast("B"))
