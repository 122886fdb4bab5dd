"""What a bundle's answers are held against: probabilities, grade sets, gates and percentiles from held-out images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_sdk.calibration.conformal import grade_sets
from semise_sdk.calibration.gates import CONSTANT, DistanceGate, QualityGate
from semise_sdk.calibration.quality import Picture
from semise_sdk.calibration.temperature import tempered
from semise_sdk.metrics import Estimate
from semise_sdk.results import PASSED, Verdict
from semise_sdk.severity.reference_bank import ReferenceBank

MIN_IMAGES = 100
"""Fewer say too little of how often a set holds the true grade; what rests on them is left out."""
MIN_GROUPS = 10
NEEDED = f"{MIN_IMAGES} images of {MIN_GROUPS} groups are needed"
MIN_HEALTHY = 20
"""A percentile among fewer healthy images would be coarser than 5 points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeSets:
    """Calibrated probabilities, and conformal sets of grades.

    Args:
        temperature: What the classifier's logits are divided by.
        alpha: Share of images whose set may miss the true grade.
        threshold: Highest score of a grade in a set.
        coverage: Share of the calibration images whose set held their grade, each by a calibration on the images of
            other groups, with its 95 % interval by group.
        of_grade: The same of each grade's own images, by label.
        mean_size: Mean number of grades in those sets.
        groups: Groups that the images belong to.
    """

    temperature: float
    alpha: float
    threshold: float
    coverage: Estimate
    of_grade: dict[str, Estimate]
    mean_size: float
    groups: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the grades in severity order."""
        return tuple(self.of_grade)

    def probabilities(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the calibrated probabilities ``[K]`` of the classifier's own."""
        return tempered(raw, self.temperature)

    def levels(self, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
        """Returns the neighbouring levels, ascending, that calibrated probabilities ``[K]`` leave possible."""
        return np.flatnonzero(grade_sets(probabilities[None], self.threshold)[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Healthy:
    """Held-out healthy images, none of which the model learned from.

    Args:
        vectors: Their severity vectors ``float32 [n, D]``, from which their severities follow for any reference; None
            where only ``severities`` are known (schema 1).
        severities: Their severities against the bundle's own references, ascending.
    """

    vectors: NDArray[np.float32] | None
    severities: NDArray[np.float64]

    def against(self, bank: ReferenceBank, *, is_own: bool) -> NDArray[np.float64] | None:
        """Returns their severities measured from ``bank``, ascending; None where they are not known or too few.

        ``is_own`` says that ``bank`` is the bundle's own: of schema 1 no other will do.
        """
        if len(self.severities) < MIN_HEALTHY:
            return None
        if self.vectors is not None:
            return np.sort(bank.severity(self.vectors))
        return self.severities if is_own else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What held-out images say of a model's answers.

    Args:
        source: Which images, in a few words.
        images: How many.
        groups: Groups that they belong to; 0 where that is not known.
        sets: Calibrated probabilities and grade sets; None with fewer than 100 graded images, with too few for their
            alpha, or without a classifier.
        quality: Limits to what a picture measures; None with fewer than 100 images.
        distance: Limit to how unlike the calibration images an image may be; None with fewer than 100 images.
        healthy: The healthy ones among them.
        gates_constant: Whether an image of one colour is refused; every calibration but those of schema 1 does.
    """

    source: str
    images: int
    groups: int
    sets: GradeSets | None = None
    quality: QualityGate | None = None
    distance: DistanceGate | None = None
    healthy: Healthy
    gates_constant: bool = True

    @property
    def is_calibrated(self) -> bool:
        """True when the gates are set: there were enough images."""
        return self.quality is not None

    def judge_picture(self, picture: Picture) -> Verdict:
        """Returns whether a picture may be scored, by itself."""
        if picture.is_constant and self.gates_constant:
            return CONSTANT
        return PASSED if self.quality is None else self.quality.judge(picture)

    def judge_embedding(self, embedding: NDArray[np.float32]) -> Verdict:
        """Returns whether the image of an embedding ``[F]`` is of the kind that the model was calibrated on."""
        return PASSED if self.distance is None else self.distance.judge(embedding)

    def facts(self) -> dict[str, str]:
        """Returns what a user should know of it, in words by name."""
        # of schema 1 the groups are not known
        images = f"{self.images} images" + (f" of {self.groups} groups" if self.groups else "")
        too_few = "none: too few graded images of two grades, or no classifier"
        if not self.is_calibrated:
            too_few = f"not calibrated: {images}, at least {NEEDED}"
        return {
            "calibrated on": f"{images}: {self.source}",
            "grade sets": too_few if self.sets is None else _sets_text(self.sets),
            "gates": "quality and distance" if self.is_calibrated else too_few,
            "percentile": _percentile_text(self.healthy),
        }


NO_CALIBRATION = "none: no grade sets, percentiles or gates; semise calibrate BUNDLE DATA adds them"


def percentile_of(severity: float, healthy: NDArray[np.float64]) -> float:
    """Returns the share of ascending healthy severities below ``severity``, equal ones by half, 0 to 100.

    Example:
        >>> percentile_of(0.2, np.array([0.1, 0.2, 0.3, 0.4]))
        37.5
    """
    below, up_to = np.searchsorted(healthy, severity, side="left"), np.searchsorted(healthy, severity, side="right")
    return float(50 * (below + up_to) / len(healthy))


def _sets_text(sets: GradeSets) -> str:
    interval = ""
    if sets.coverage.low is not None and sets.coverage.high is not None:
        interval = f" [{100 * sets.coverage.low:.1f}, {100 * sets.coverage.high:.1f}]"
    held = 100 * (sets.coverage.value or 0)
    return (
        f"aim {100 * (1 - sets.alpha):g} %, hold {held:.1f} %{interval} of {sets.coverage.n} images, "
        f"{sets.mean_size:.2f} grades each; temperature {sets.temperature:.3g}"
    )


def _percentile_text(healthy: Healthy) -> str:
    n = len(healthy.severities)
    return f"among {n} held-out healthy images" if n >= MIN_HEALTHY else f"none: {n} of {MIN_HEALTHY} healthy images"
