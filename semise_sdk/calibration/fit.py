"""From what a model says of held-out images to its calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_sdk.calibration.conformal import grade_sets, true_scores, upper_limit
from semise_sdk.calibration.gates import DistanceGate, QualityGate, fit_distance, fit_quality
from semise_sdk.calibration.model import MIN_GROUPS, MIN_IMAGES, Calibration, GradeSets, Healthy
from semise_sdk.calibration.quality import Picture
from semise_sdk.calibration.temperature import fit_temperature, tempered
from semise_sdk.errors import ConfigError
from semise_sdk.metrics import Estimate, estimate
from semise_sdk.results import Verdict
from semise_sdk.severity.reference_bank import ReferenceBank

UNLABELED = -1
FOLDS = 10
LOWEST_ALPHA, HIGHEST_ALPHA = 0.01, 0.5
DEFAULT_ALPHA = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """What a bare model says of n held-out images.

    Args:
        levels: True levels ``[n]``, ``UNLABELED`` where there is none.
        groups: Group of each, such as the patient.
        probabilities: The classifier's own ``[n, K]``; None without a classifier.
        embeddings: ``float32 [n, F]``, each with a direction.
        severity_vectors: ``float32 [n, D]``, each with a direction.
        pictures: What their pictures measure.
    """

    levels: NDArray[np.int64]
    groups: Sequence[str]
    probabilities: NDArray[np.float64] | None
    embeddings: NDArray[np.float32]
    severity_vectors: NDArray[np.float32]
    pictures: Sequence[Picture]

    def __len__(self) -> int:
        return len(self.groups)

    def only(self, rows: NDArray[np.intp]) -> "Observed":
        """Returns some of the images."""
        return Observed(
            levels=self.levels[rows],
            groups=[self.groups[row] for row in rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            embeddings=self.embeddings[rows],
            severity_vectors=self.severity_vectors[rows],
            pictures=[self.pictures[row] for row in rows],
        )


def fit_calibration(
    observed: Observed, *, bank: ReferenceBank, labels: Sequence[str], source: str, alpha: float = DEFAULT_ALPHA
) -> Calibration:
    """Returns the calibration that held-out images give: the gates, then all else on the images that pass them.

    Args:
        observed: What the model says of them.
        bank: The bundle's own references.
        labels: Names of the grades.
        source: Which images they are, in a few words.
        alpha: Share of images whose grade set may miss the true grade, 0.01 to 0.5.

    Raises:
        ConfigError: ``alpha`` is out of its range.
    """
    check_alpha(alpha)
    quality, distance = _fit_gates(observed)
    scored = observed.only(np.flatnonzero([v.status != "abstain" for v in _verdicts(observed, quality, distance)]))
    vectors = scored.severity_vectors[scored.levels == 0]
    return Calibration(
        source=source,
        images=len(observed),
        groups=len(set(observed.groups)),
        sets=_fit_sets(scored, labels=labels, alpha=alpha),
        quality=quality,
        distance=distance,
        healthy=Healthy(vectors=vectors, severities=np.sort(bank.severity(vectors)) if len(vectors) else np.zeros(0)),
    )


def check_alpha(alpha: float) -> None:
    """Raises ConfigError for an alpha out of its range."""
    if not LOWEST_ALPHA <= alpha <= HIGHEST_ALPHA:
        raise ConfigError(f"expected an alpha of {LOWEST_ALPHA} to {HIGHEST_ALPHA}, found {alpha:g}")


def _fit_gates(observed: Observed) -> tuple[QualityGate | None, DistanceGate | None]:
    if not _is_enough(observed):
        return None, None
    return fit_quality(observed.pictures), fit_distance(observed.embeddings, observed.groups)


def _verdicts(observed: Observed, quality: QualityGate | None, distance: DistanceGate | None) -> list[Verdict]:
    gated = Calibration(source="", images=0, groups=0, quality=quality, distance=distance, healthy=_NOBODY)
    found = []
    for picture, embedding in zip(observed.pictures, observed.embeddings, strict=True):
        of_picture = gated.judge_picture(picture)
        found.append(of_picture if of_picture.status == "abstain" else gated.judge_embedding(embedding))
    return found


def _fit_sets(observed: Observed, *, labels: Sequence[str], alpha: float) -> GradeSets | None:
    graded = observed.only(np.flatnonzero(observed.levels != UNLABELED))
    if graded.probabilities is None or not _is_enough(graded) or len(set(graded.levels.tolist())) < 2:
        return None
    held = _held_out_sets(graded.probabilities, graded.levels, graded.groups, alpha=alpha)
    if held is None:
        return None
    covered = held[np.arange(len(graded)), graded.levels]
    temperature, threshold = _fit_threshold(graded.probabilities, graded.levels, alpha=alpha)
    return GradeSets(
        temperature=temperature,
        alpha=alpha,
        threshold=threshold,
        coverage=coverage_of(covered, graded.groups),
        of_grade={
            label: coverage_of(covered[graded.levels == level], _of_level(graded, level))
            for level, label in enumerate(labels)
        },
        mean_size=float(held.sum(axis=1).mean()),
        groups=len(set(graded.groups)),
    )


def coverage_of(covered: NDArray[np.bool_], groups: Sequence[str]) -> Estimate:
    """Returns the share of images ``[n]`` that are covered, with its 95 % interval from resampled groups.

    Resampling knows no doubt where all images are covered, or none: there the end inside is that of the exact binomial
    interval over the groups (Clopper and Pearson 1934).
    """
    found = estimate(lambda rows: float(covered[rows].mean()) if len(rows) else None, groups)
    if found.value not in (0, 1) or found.low is None:
        return found
    least = 0.025 ** (1 / len(set(groups)))
    return Estimate(found.value, least if found.value else 0.0, 1.0 if found.value else 1 - least, found.n)


def _of_level(observed: Observed, level: int) -> list[str]:
    return [group for group, own in zip(observed.groups, observed.levels, strict=True) if own == level]


def _fit_threshold(
    probabilities: NDArray[np.float64], levels: NDArray[np.int64], *, alpha: float
) -> tuple[float, float]:
    temperature = fit_temperature(probabilities, levels)
    return temperature, upper_limit(true_scores(tempered(probabilities, temperature), levels), 1 - alpha)


def _held_out_sets(
    probabilities: NDArray[np.float64], levels: NDArray[np.int64], groups: Sequence[str], *, alpha: float
) -> NDArray[np.bool_] | None:
    """Returns the set ``[n, K]`` of each image by what the images of other groups give, in 10 folds of groups.

    None where the images outside of a fold are too few for ``alpha``: their sets would hold every grade, and what they
    cover would say nothing of the sets that all images give.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    fold_of_group = np.random.default_rng(0).permutation(codes.max() + 1) % FOLDS
    sets = np.zeros(probabilities.shape, np.bool_)
    for fold in range(FOLDS):
        inside = fold_of_group[codes] == fold
        temperature, threshold = _fit_threshold(probabilities[~inside], levels[~inside], alpha=alpha)
        if not np.isfinite(threshold):
            return None
        sets[inside] = grade_sets(tempered(probabilities[inside], temperature), threshold)
    return sets


def _is_enough(observed: Observed) -> bool:
    return len(observed) >= MIN_IMAGES and len(set(observed.groups)) >= MIN_GROUPS


_NOBODY = Healthy(vectors=None, severities=np.zeros(0))
