"""The answers of the runtime: frozen, typed, one per input whatever happened to it."""

from dataclasses import dataclass, field
from typing import Literal

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
class Severity:
    """One image's severity: the cosine distance to the healthy reference, 0 to 2; None when it could not be scored.

    Args:
        file: The image's name.
        severity: The severity, rounded to 6 decimals.
        grade: The decided grade, where the model has a classifier.
        status: What became of the image.
        reason: ``code: sentence``; empty where there is nothing to say.
        probabilities: Of each grade in the order of the model's labels, calibrated where the bundle is.
        grade_set: Neighbouring grades that hold the true one as often as the calibration says; empty without.
        percentile: Share of held-out healthy images that are less severe, 0 to 100, from the same reference.
        severity_low: Lower end of the 95 % interval over which healthy images stand for healthy (see
            :mod:`semise_sdk.severity.resamples`); None where the bank is one image.
        severity_high: Upper end.
        resampled: What each resample of the bank adds to the severity (see
            :class:`semise_sdk.severity.difference.MeasuredSeverity`), which makes the severities of two images paired.
    """

    file: str
    severity: float | None = None
    grade: str | None = None
    status: Status = "ok"
    reason: str = ""
    probabilities: tuple[float, ...] = ()
    grade_set: tuple[str, ...] = ()
    percentile: float | None = None
    severity_low: float | None = None
    severity_high: float | None = None
    resampled: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedImage:
    """One row of a ranking; rank 1 is the most severe, None for an image that could not be scored.

    ``tie`` is the rank that the image shares with those that the bank does not tell from it, as in a competition: 1, 2,
    2, 2, 5 (see :func:`semise_sdk.severity.ranks.shared_places`). The other fields are those of :class:`Severity`.
    """

    rank: int | None
    file: str
    severity: float | None
    grade: str | None
    status: Status
    reason: str
    probabilities: tuple[float, ...] = ()
    grade_set: tuple[str, ...] = ()
    percentile: float | None = None
    severity_low: float | None = None
    severity_high: float | None = None
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
class Classification:
    """One image's grade: ``probabilities`` in the order of the model's labels, summing to 1.

    ``grade_set`` are the neighbouring grades that hold the true one as often as the calibration says; empty without.
    """

    file: str
    label: str | None = None
    probabilities: tuple[float, ...] = ()
    status: Status = "ok"
    reason: str = ""
    grade_set: tuple[str, ...] = ()


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
class Analysis:
    """Everything the model says of one image, from one pass.

    ``severity_map`` is the cosine distance to the reference at each place, ``float32 [H, W]`` of 0 to 2 at the
    source's upright size: an aid to explanation, not a localisation. ``nearest_reference`` is the place in the
    reference bank of the healthy image that lies nearest, known where a map was asked for. ``grade_set`` and
    ``percentile`` are as in :class:`Severity`.
    """

    file: str
    severity: float | None = None
    grade: str | None = None
    probabilities: tuple[float, ...] = ()
    mask: NDArray[np.uint8] | None = None
    area_fraction: float | None = None
    severity_map: NDArray[np.float32] | None = None
    status: Status = "ok"
    reason: str = ""
    grade_set: tuple[str, ...] = ()
    percentile: float | None = None
    severity_low: float | None = None
    severity_high: float | None = None
    resampled: str = field(default="", repr=False)
    nearest_reference: int | None = None

    def to_severity(self) -> Severity:
        """Returns what it says of the severity, to be ranked."""
        return Severity(
            file=self.file,
            severity=self.severity,
            grade=self.grade,
            status=self.status,
            reason=self.reason,
            probabilities=self.probabilities,
            grade_set=self.grade_set,
            percentile=self.percentile,
            severity_low=self.severity_low,
            severity_high=self.severity_high,
            resampled=self.resampled,
        )
