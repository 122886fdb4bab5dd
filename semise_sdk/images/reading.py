"""One image read onto its canvas, or why that cannot be."""

import logging
from dataclasses import dataclass

from semise_sdk.errors import ImageReadError, SpecError
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.images.record import AnyImage, Canvas
from semise_sdk.results import PASSED, Status, Verdict
from semise_sdk.spec import InputSpec

NO_MEMORY = "out_of_memory: expected to hold the image in memory, found too little; give it more, or a smaller image"


_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image on its canvas, and what the picture alone says of whether to score it."""

    file: str
    canvas: Canvas
    verdict: Verdict = PASSED


@dataclass(frozen=True, slots=True)
class FailedImage:
    """An image that could not be read or is not to be scored, and why."""

    file: str
    reason: str
    status: Status = "error"


Slot = ReadImage | FailedImage


def read_slot(image: AnyImage, spec: InputSpec) -> Slot:
    """Returns the image on its canvas, or why that cannot be: whatever is wrong with it stays with it."""
    try:
        return ReadImage(image.file, to_canvas(read_image(image.source, dicom=spec.dicom), spec))
    except ImageReadError as error:
        return FailedImage(image.file, error.reason)
    except SpecError as error:
        return FailedImage(image.file, f"does_not_fit: {error}")
    except MemoryError:
        return FailedImage(image.file, NO_MEMORY)
    except Exception as error:
        # A decoder met by a hostile file may raise anything; the other images of the batch are not to suffer.
        # Neither its text nor its traceback is logged: both may quote the file, and a file may hold a patient's name.
        _logger.warning("reading one image failed in an unforeseen way: %s", type(error).__name__)
        return FailedImage(image.file, f"unforeseen: {type(error).__name__} while reading; please report the file")
