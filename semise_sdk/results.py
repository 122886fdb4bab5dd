"""The answers of the runtime: frozen, typed, one per input whatever happened to it."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semise_sdk.spec import Precision

Status = Literal["ok", "review", "abstain", "error"]
"""``review``: scored, but a person should look; ``abstain``: a gate refused to score it; ``error``: could not be read.

The reason is ``code: sentence`` for all three, and empty for ``ok``.
"""

INTENDED_USE = "Research use only. Not for diagnostic use."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of an image: a status, and the reason where that is not ok."""

    status: Status = "ok"
    reason: str = ""


PASSED = Verdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswer:
    """What every answer that grades an image has.

    Args:
        file: The image's name.
        status: What became of the image.
        reason: ``code: sentence``; empty where there is nothing to say.
        probabilities: Of each grade in the order of the model's labels, summing to 1, calibrated where the bundle is.
        grade_set: Neighbouring grades that hold the true one as often as the calibration says; empty without.
    """

    file: str
    status: Status = "ok"
    reason: str = ""
    probabilities: tuple[float, ...] = ()
    grade_set: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Severity(ImageAnswer):
    """One image's severity: the cosine distance to the healthy reference, 0 to 2; None when it could not be scored.

    Args:
        severity: The severity, rounded to 6 decimals.
        grade: The decided grade, where the model has a classifier.
        percentile: Share of held-out healthy images that are less severe, 0 to 100, from the same reference.
        severity_low: Lower end of the 95 % interval over which healthy images stand for healthy (see
            :mod:`semise_sdk.severity.resamples`); None where the bank is one image.
        severity_high: Upper end.
        resampled: What each resample of the bank adds to the severity, ``float16 [201]`` (see
            :func:`semise_sdk.severity.difference.measured_severity`), which makes the severities of two images paired;
            None where the bank is one image, and in a ranking.
    """

    severity: float | None = None
    grade: str | None = None
    percentile: float | None = None
    severity_low: float | None = None
    severity_high: float | None = None
    resampled: NDArray[np.float16] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedImage(Severity):
    """One row of a ranking; rank 1 is the most severe, None for an image that could not be scored.

    ``tie`` is the rank that the image shares with those that the bank does not tell from it, as in a competition: 1, 2,
    2, 2, 5 (see :func:`semise_sdk.severity.ranks.shared_places`).
    """

    rank: int | None
    tie: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Images from most to least severe: above them those that need a human, below them those that cannot be read.

    Args:
        rows: The ranked images.
        reference: What the severity was measured from: a file, a folder or ``bundle``.
        backend: Backend and device that ran, such as ``onnxruntime:CPUExecutionProvider``.
        precision: What the graphs computed in.
    """

    rows: tuple[RankedImage, ...]
    reference: str
    backend: str
    precision: Precision = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification(ImageAnswer):
    """One image's grade, ``label``; None when it could not be scored."""

    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """One image's mask, ``uint8 [H, W]`` of 0 and 255 at the source's upright size, and its share of the area."""

    file: str
    mask: NDArray[np.uint8] | None = None
    area_fraction: float | None = None
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """One image's pooled encoder feature, ``float32 [F]``."""

    file: str
    embedding: NDArray[np.float32] | None = None
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis(Severity):
    """Everything the model says of one image, from one pass.

    Args:
        mask: As in :class:`Segmentation`.
        area_fraction: As in :class:`Segmentation`.
        severity_map: The cosine distance to the reference at each place, ``float32 [H, W]`` of 0 to 2 at the source's
            upright size: an aid to explanation, not a localisation.
        nearest_reference: The place in the reference bank of the healthy image that lies nearest, known where a map
            was asked for.
    """

    mask: NDArray[np.uint8] | None = None
    area_fraction: float | None = None
    severity_map: NDArray[np.float32] | None = None
    nearest_reference: int | None = None

    # Arrays have no one answer to ==, so an analysis equals itself only, unlike the severity that it extends.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def to_severity(self) -> Severity:
        """Returns what it says of the severity, to be ranked."""
        return Severity(**severity_fields(self))


def severity_fields(answer: Severity) -> dict[str, Any]:
    """Returns the fields of :class:`Severity` by name, of it or of an answer that extends it."""
    return {each.name: getattr(answer, each.name) for each in fields(Severity)}
