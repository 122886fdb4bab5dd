"""What a model says of a batch of images, and how that becomes the answer of each task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semise_sdk.calibration import Calibration, Grade, grade_of, look, percentile_of
from semise_sdk.images.postprocess import softmax
from semise_sdk.images.reading import FailedImage, ReadImage, Slot
from semise_sdk.images.record import Canvas, Geometry
from semise_sdk.inference.graphs import Graphs
from semise_sdk.results import PASSED, Severity, Status, Verdict
from semise_sdk.severity.difference import measured_severity
from semise_sdk.severity.reference_bank import ReferenceBank, has_direction
from semise_sdk.spec import Decoding

NO_ANSWER = "no_answer: expected finite numbers from the network, found NaN, infinity or zeros alone; look at the image"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Needs:
    """What a task asks of the network.

    Args:
        bank: References to measure severity from; None for no severity.
        grade: Whether to grade.
        mask: Whether to draw a mask.
        places: Whether to measure the severity of each place.
        calibration: What the answers are judged by; None for the bare network's.
        healthy: Severities of held-out healthy images from ``bank``, ascending; None where they are not known.
        decoding: How probabilities become a grade.
        canvas: Whether to keep the image's canvas.
    """

    bank: ReferenceBank | None = None
    grade: bool = False
    mask: bool = False
    places: bool = False
    calibration: Calibration | None = None
    healthy: NDArray[np.float64] | None = None
    decoding: Decoding = "argmax"
    canvas: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """What the network said of one image, or why it said nothing.

    Args:
        answer: Its severity and grade, where asked for; only the reason where there is none.
        embedding: Pooled feature ``[F]``.
        severity_vector: What its severity is measured by, ``[D]``.
        reference_vector: What it contributes as a reference, ``[D]``.
        logits: Mask logits ``[h, w]`` on the canvas, where asked for.
        places: Severity ``[h, w]`` of each place of the last feature map, where asked for.
        geometry: Where the image lies on the canvas; None where there is no answer.
        nearest: Place in the bank of the reference nearest to it, where places were asked for.
        canvas: What the network saw, where asked for.
    """

    answer: Severity
    embedding: NDArray[np.float32] | None = None
    severity_vector: NDArray[np.float32] | None = None
    reference_vector: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None
    places: NDArray[np.float32] | None = None
    geometry: Geometry | None = None
    nearest: int | None = None
    canvas: Canvas | None = None


def looked_at(slot: Slot, calibration: Calibration | None) -> Slot:
    """Returns what a calibration's quality gate lets through, with its verdict; a failed image stays as it is."""
    if calibration is None or isinstance(slot, FailedImage):
        return slot
    verdict = calibration.judge_picture(look(slot.canvas))
    if verdict.status == "abstain":
        return FailedImage(slot.file, verdict.reason, verdict.status)
    return ReadImage(slot.file, slot.canvas, verdict)


def measure(slots: Sequence[Slot], *, needs: Needs, graphs: Graphs, labels: Sequence[str]) -> list[Measurement]:
    """Returns what the network says of each image, from one pass over those that could be read.

    Args:
        slots: The images.
        needs: What is asked of the network.
        graphs: The network.
        labels: The grades' names in severity order.

    Raises:
        BackendError: the engine failed.
    """
    readable = [slot for slot in slots if isinstance(slot, ReadImage)]
    measured = iter(_measure(readable, needs=needs, graphs=graphs, labels=labels) if readable else ())
    return [
        _unscored(slot.file, slot.status, slot.reason) if isinstance(slot, FailedImage) else next(measured)
        for slot in slots
    ]


def _measure(images: Sequence[ReadImage], *, needs: Needs, graphs: Graphs, labels: Sequence[str]) -> list[Measurement]:
    pixels = np.stack([image.canvas.pixels for image in images])
    outputs = dict(graphs.get("unet" if needs.mask else "encoder").run({"pixels": pixels}))
    if needs.grade:
        outputs |= graphs.get("classifier").run({"embedding": outputs["embedding"]})
    arrays = {name: np.asarray(values, np.float32) for name, values in outputs.items()}
    return [
        _measurement(image, {name: values[index] for name, values in arrays.items()}, needs, labels)
        for index, image in enumerate(images)
    ]


def _measurement(
    image: ReadImage, outputs: dict[str, NDArray[np.float32]], needs: Needs, labels: Sequence[str]
) -> Measurement:
    used = [outputs["embedding"], *(outputs[name] for name in ("logits", "mask_logits") if name in outputs)]
    if needs.places:
        used.append(outputs["severity_map_vectors"])
    has_answer = all(np.isfinite(values).all() for values in used) and has_direction(outputs["severity_vector"])
    if not has_answer:
        return _unscored(image.file, "error", NO_ANSWER)
    unlike = PASSED if needs.calibration is None else needs.calibration.judge_embedding(outputs["embedding"])
    if unlike.status == "abstain":
        return _unscored(image.file, unlike.status, unlike.reason)
    bank = needs.bank
    return Measurement(
        answer=_answer(image, outputs, needs, labels, unlike=unlike),
        embedding=outputs["embedding"],
        severity_vector=outputs["severity_vector"],
        reference_vector=outputs["reference_vector"],
        logits=outputs.get("mask_logits"),
        places=bank.severity_map(outputs["severity_map_vectors"][None])[0] if bank and needs.places else None,
        geometry=image.canvas.geometry,
        nearest=bank.nearest(outputs["severity_vector"]) if bank and needs.places else None,
        canvas=image.canvas if needs.canvas else None,
    )


def _answer(
    image: ReadImage, outputs: dict[str, NDArray[np.float32]], needs: Needs, labels: Sequence[str], *, unlike: Verdict
) -> Severity:
    """Returns the answer of an image that is near enough to be scored; ``unlike`` says how near."""
    bank, sets = needs.bank, None if needs.calibration is None else needs.calibration.sets
    measured = (
        Severity(file=image.file)
        if bank is None
        else measured_severity(bank, outputs["severity_vector"], file=image.file)
    )
    severity = measured.severity
    grade = grade_of(softmax(outputs["logits"]), sets, decoding=needs.decoding) if needs.grade else Grade()
    verdict = next((one for one in (image.verdict, unlike, grade.verdict) if one.status != "ok"), PASSED)
    return replace(
        measured,
        status=verdict.status,
        reason=verdict.reason,
        percentile=None if severity is None or needs.healthy is None else percentile_of(severity, needs.healthy),
        probabilities=grade.probabilities,
        grade=None if grade.level is None else labels[grade.level],
        grade_set=tuple(labels[level] for level in grade.possible),
    )


def _unscored(file: str, status: Status, reason: str) -> Measurement:
    return Measurement(answer=Severity(file=file, status=status, reason=reason))
