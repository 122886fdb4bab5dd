"""From a classifier's probabilities to a grade, its set, and whether a person should look."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_sdk.calibration.model import GradeSets
from semise_sdk.metrics.classification import decide
from semise_sdk.results import PASSED, Verdict
from semise_sdk.spec import Decoding

WIDE = 2
"""Neighbouring grades that a set may hold and still say something: two people often differ by one grade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What is said of an image's grade.

    Args:
        probabilities: Of each level, calibrated where there are sets.
        level: The decided level; None where nothing was graded.
        possible: The levels of the grade set, ascending neighbours; empty without sets.
        verdict: Whether a person should look.
    """

    probabilities: tuple[float, ...] = ()
    level: int | None = None
    possible: tuple[int, ...] = ()
    verdict: Verdict = PASSED


def grade_of(raw: NDArray[np.float64], sets: GradeSets | None, *, decoding: Decoding) -> Grade:
    """Returns the grade of one image from the classifier's own probabilities ``[K]``."""
    probabilities = raw if sets is None else sets.probabilities(raw)
    level = int(decide(probabilities[None], decoding=decoding)[0])
    possible = () if sets is None else tuple(sets.levels(probabilities).tolist())
    return Grade(
        probabilities=tuple(probabilities.tolist()),
        level=level,
        possible=possible,
        verdict=PASSED if sets is None else _unclear(possible, level, sets.labels),
    )


def _unclear(possible: tuple[int, ...], decided: int, labels: tuple[str, ...]) -> Verdict:
    span = f"{labels[possible[0]]} to {labels[possible[-1]]}" if len(possible) > 1 else labels[possible[0]]
    if len(possible) > WIDE or len(possible) == len(labels) > 1:
        reason = f"wide_set: expected a grade and at most one neighbour to be possible, found {span}"
        return Verdict("review", f"{reason}: let a person grade it")
    if decided not in possible:
        reason = f"unclear_grade: expected the decided grade {labels[decided]} to be a likely one, found {span}"
        return Verdict("review", f"{reason}: let a person grade it")
    return PASSED
