"""What one run of a model says of images, kept small enough to compare hundreds of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import DataError
from semise_sdk.predictor import Predictor
from semise_sdk.results import Analysis
from semise_sdk.system.progress import Reporter

MAP_SIDE = 64
REFERENCES = 16


@dataclass(frozen=True, slots=True, eq=False)
class PackedMask:
    """A mask ``[H, W]`` at one bit a pixel: a check holds the masks of hundreds of images."""

    bits: NDArray[np.uint8]
    shape: tuple[int, int]

    @classmethod
    def pack(cls, mask: NDArray[np.uint8]) -> "PackedMask":
        """Returns a mask of 0 and non-zero, packed."""
        return cls(np.packbits(mask != 0), (mask.shape[0], mask.shape[1]))

    def unpack(self) -> NDArray[np.bool_]:
        """Returns the mask ``bool [H, W]``."""
        height, width = self.shape
        return np.unpackbits(self.bits, count=height * width).reshape(self.shape).astype(np.bool_)


@dataclass(slots=True, eq=False)
class Answers:
    """What one run said of N images, in order; lists of what the model does not answer stay empty.

    Args:
        severity: One per image, 0 to 2, as ``rank`` gives it: by encoder.onnx.
        analyzed_severity: The same as ``analyze`` gives it: by unet.onnx where there is one.
        grades: Label of each image.
        probabilities: ``[K]`` of each image.
        masks: Mask of each image at the source's size.
        maps: Severity map of each image, thinned to at most :data:`MAP_SIDE` a side.
        embeddings: ``[F]`` of each image.
        reference_vectors: ``[D]`` of the first images: what they would contribute as references.
    """

    severity: list[float] = field(default_factory=list)
    analyzed_severity: list[float] = field(default_factory=list)
    grades: list[str] = field(default_factory=list)
    probabilities: list[Sequence[float]] = field(default_factory=list)
    masks: list[PackedMask] = field(default_factory=list)
    maps: list[NDArray[np.float32]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    reference_vectors: list[NDArray[np.float32]] = field(default_factory=list)


def ask(predictor: Predictor, images: Sequence[Path], *, reporter: Reporter, label: str) -> Answers:
    """Returns everything but the embeddings that ``predictor`` says of the images, once by each graph.

    Raises:
        DataError: it cannot answer one of them.
    """
    answers = Answers()
    reporter.start(f"parity: {label}", 2 * len(images))
    for row in predictor.iter_severity(images):
        answers.severity.append(_answered(row.severity, row.file, row.reason))
        reporter.step("")
    for analysis in predictor.iter_analyze(images):
        answers.analyzed_severity.append(_answered(analysis.severity, analysis.file, analysis.reason))
        _add(answers, analysis)
        reporter.step("")
    return answers


def ask_vectors(predictor: Predictor, images: Sequence[Path], answers: Answers) -> None:
    """Adds to ``answers`` the embedding of every image, and the reference vectors of the first few."""
    answers.embeddings = [row.embedding for row in predictor.iter_embed(images) if row.embedding is not None]
    answers.reference_vectors = list(predictor.reference_bank(images[:REFERENCES]).vectors)


def _add(answers: Answers, analysis: Analysis) -> None:
    if analysis.grade is not None:
        answers.grades.append(analysis.grade)
        answers.probabilities.append(analysis.probabilities)
    if analysis.mask is not None:
        answers.masks.append(PackedMask.pack(analysis.mask))
    if analysis.severity_map is not None:
        answers.maps.append(thinned(analysis.severity_map))


def _answered(severity: float | None, file: str, reason: str) -> float:
    if severity is None:
        raise DataError(
            f"could not check the export on {file}: {reason}; correct the file, or leave it out and train again"
        )
    return severity


def thinned(severity_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns every n-th row and column of a map ``[H, W]``, at most :data:`MAP_SIDE` a side."""
    down, across = (-(-side // MAP_SIDE) for side in severity_map.shape)
    return severity_map[::down, ::across].copy()
