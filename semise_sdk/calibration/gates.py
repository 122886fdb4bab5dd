"""What is looked at before any score: is the picture usable, and is it of the kind that the model was calibrated on?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_sdk.calibration.conformal import upper_limit
from semise_sdk.calibration.quality import MEASURES, Limits, Picture, layout_correlation, limits_of
from semise_sdk.results import PASSED, Verdict
from semise_sdk.severity.reference_bank import ReferenceBank, has_direction

MAX_EMBEDDINGS = 512
REVIEW_SHARE, ABSTAIN_SHARE = 0.975, 0.99

_FARTHEST = 2.0  # of a cosine distance


CONSTANT = Verdict(
    "abstain", "quality_constant: expected a picture, found one colour all over: look at the file, or take it again"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QualityGate:
    """Limits to what a picture measures.

    Args:
        limits: Of each measure of ``MEASURES``.
        layout: The calibration images' mean thumbnail, ``float64 [256]``.
    """

    limits: Mapping[str, Limits]
    layout: NDArray[np.float64]

    def judge(self, picture: Picture) -> Verdict:
        """Returns the first reason not to score the picture, else the first to have it looked at, else ok."""
        values = {**picture.values, "layout": layout_correlation(picture.thumbnail, self.layout)}
        found = [_judged(name, values[name], limits) for name, limits in self.limits.items()]
        return next((one for status in ("abstain", "review") for one in found if one.status == status), PASSED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistanceGate:
    """How far in embedding space an image may lie from the calibration images.

    The distance is the mean cosine distance to the 5 nearest of them (deep nearest neighbours, Sun et al. 2022,
    arXiv 2204.06507).

    Args:
        bank: The calibration images' embeddings, at most ``MAX_EMBEDDINGS`` of them.
        review: Distance from which a person should look: within it are 97.5 of 100 images like them.
        abstain: Distance from which there is no score: within it are 99 of 100.
    """

    bank: ReferenceBank
    review: float
    abstain: float

    def distance(self, embedding: NDArray[np.float32]) -> float:
        """Returns the distance of an embedding ``[F]``, 0 to 2; 2 for one without a direction."""
        return float(self.bank.severity(embedding[None])[0]) if has_direction(embedding) else _FARTHEST

    def judge(self, embedding: NDArray[np.float32]) -> Verdict:
        """Returns whether the image of an embedding ``[F]`` is near enough to be scored."""
        distance = self.distance(embedding)
        if distance > self.abstain:
            return Verdict("abstain", _far(distance, self.abstain) + "let a person grade it")
        if distance > self.review:
            return Verdict("review", "near_" + _far(distance, self.review) + "let a person look")
        return PASSED


def fit_quality(pictures: Sequence[Picture]) -> QualityGate:
    """Returns the gate that calibration images set."""
    layout = np.stack([picture.thumbnail for picture in pictures]).mean(axis=0).round()
    values = {name: np.array([one.values[name] for one in pictures]) for name in MEASURES if name != "layout"}
    values["layout"] = np.array([layout_correlation(one.thumbnail, layout) for one in pictures])
    return QualityGate(limits={name: limits_of(values[name], MEASURES[name]) for name in MEASURES}, layout=layout)


def fit_distance(embeddings: NDArray[np.float32], groups: Sequence[str]) -> DistanceGate:
    """Returns the gate of calibration images: each is measured from the images of all other groups.

    Args:
        embeddings: ``[n, F]``, each with a direction; of at least 6 groups.
        groups: The group of each.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    kept = np.sort(np.random.default_rng(0).permutation(len(embeddings))[:MAX_EMBEDDINGS])
    distances = np.empty(len(embeddings))
    for group in np.unique(codes):
        others = kept[codes[kept] != group]
        mine = codes == group
        distances[mine] = ReferenceBank(embeddings[others], "knn").severity(embeddings[mine])
    return DistanceGate(
        bank=ReferenceBank(embeddings[kept], "knn"),
        review=upper_limit(distances, REVIEW_SHARE),
        abstain=upper_limit(distances, ABSTAIN_SHARE),
    )


def _judged(name: str, value: float, limits: Limits) -> Verdict:
    measure = MEASURES[name]
    scaled = measure.scaled(value)
    below, above = _ends(limits.abstain_low, limits.abstain_high)
    if not below <= scaled <= above:
        return Verdict("abstain", _unusual(name, value, limits, code=measure.low if scaled < below else measure.high))
    below, above = _ends(limits.review_low, limits.review_high)
    if not below <= scaled <= above:
        code = measure.low if scaled < below else measure.high
        return Verdict("review", "near_" + _unusual(name, value, limits, code=code))
    return PASSED


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return -np.inf if low is None else low, np.inf if high is None else high


def _unusual(name: str, value: float, limits: Limits, *, code: str) -> str:
    measure = MEASURES[name]
    low, high = limits.review_low, limits.review_high
    least = "" if low is None else f" from {measure.natural(low):.3g}"
    most = "" if high is None else f" up to {measure.natural(high):.3g}"
    return (
        f"{code}: expected {measure.name}{least}{most} as the calibration images have, found {value:.3g}: "
        "take the image again, or let a person grade it"
    )


def _far(distance: float, limit: float) -> str:
    return (
        f"out_of_distribution: expected an image like the calibration images, at a distance of at most {limit:.3g}, "
        f"found {distance:.3g}: "
    )
