"""How far two runs of one model over the same images agree, in the units that its users read."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_export.gate.answers import Answers, PackedMask
from semise_export.limits import ParityThresholds
from semise_sdk.metrics import c_index, dice, kendall_tau, mask_counts, pooled_dice


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Figures of two runs over the same images; None where the model, or the ranking, gives none.

    Args:
        images: N.
        kendall_tau: tau-b of the severities.
        c_index: Share of the reference's ordered pairs that keep their order, ties 0.5.
        rank_displacement: Largest difference between an image's two ranks; ties in order of the images in both.
        class_flips: Images whose grade differs.
        probability_error: Largest difference of one probability.
        dice: Mean Dice of the two masks of each image.
        pooled_dice: Dice over all pixels.
        task_c_index: C-index of the candidate's ranking against the true grades.
        task_c_index_torch: The same of the reference's.
        severity_error: Largest absolute difference of one severity.
        severity_error_mean: Mean of the same.
        map_error: Largest mean difference of one severity map.
        embedding_error: Largest cosine distance between the two embeddings of one image.
        reference_error: The same between the two vectors that one image contributes as reference.
    """

    images: int
    kendall_tau: float | None
    c_index: float | None
    rank_displacement: int
    class_flips: int | None
    probability_error: float | None
    dice: float | None
    pooled_dice: float | None
    task_c_index: float | None
    task_c_index_torch: float | None
    severity_error: float
    severity_error_mean: float
    map_error: float | None
    embedding_error: float | None
    reference_error: float | None

    @property
    def task_loss(self) -> float | None:
        """How far the C-index against the true grades lies below the reference's; None without grades."""
        if self.task_c_index is None or self.task_c_index_torch is None:
            return None
        return self.task_c_index_torch - self.task_c_index

    def problems(self, limits: ParityThresholds) -> tuple[str, ...]:
        """Returns one sentence for each figure beyond its limit, or for answers that are missing."""
        moved, flipped = max(1, int(limits.displacement * self.images)), limits.class_flips * self.images
        return (
            *_below("Kendall tau of the ranking", self.kendall_tau, limits.kendall_tau),
            *_below("C-index of the ranking", self.c_index, limits.c_index),
            *_above(f"worst rank displacement of {self.images} images", self.rank_displacement, moved),
            *_above(f"class flips of {self.images} images", self.class_flips, flipped),
            *_above("largest probability error", self.probability_error, limits.probability_error),
            *_below("mean Dice against torch's masks", self.dice, limits.dice),
            *_below("pooled Dice against torch's masks", self.pooled_dice, limits.pooled_dice),
            *_above("loss of C-index against the true grades", self.task_loss, limits.task_c_index),
            *_above("largest severity error", self.severity_error, limits.severity_error),
            *_above("largest severity map error", self.map_error, limits.map_error),
            *_above("largest embedding error", self.embedding_error, limits.embedding_error),
            *_above("largest reference vector error", self.reference_error, limits.embedding_error),
        )

    def to_json(self) -> dict[str, float | int | None]:
        """Returns the figures by name."""
        return dataclasses.asdict(self)


def agreement(reference: Answers, candidate: Answers, levels: Sequence[int | None] | None = None) -> Agreement:
    """Returns how far ``candidate`` agrees with ``reference``.

    Args:
        reference: What torch says of the images.
        candidate: What another run says of them.
        levels: True grade of each image as a number that rises with severity, None where it has none.

    Raises:
        ValueError: there are no images, the two are about different numbers of them, or a severity is not finite.
    """
    truth, found = np.array(reference.severity), np.array(candidate.severity)
    if not truth.size or truth.shape != found.shape:
        raise ValueError(f"expected severities of the same images, found {truth.size} and {found.size}")
    order = np.unique(truth, return_inverse=True)[1]
    errors = np.abs(truth - found)
    counts = _mask_counts(reference.masks, candidate.masks)
    return Agreement(
        images=truth.size,
        kendall_tau=kendall_tau(order, found),
        c_index=c_index(order, found),
        rank_displacement=int(np.abs(ranks(truth) - ranks(found)).max()),
        class_flips=class_flips(reference, candidate),
        probability_error=_largest_difference(reference.probabilities, candidate.probabilities),
        dice=dice(counts),
        pooled_dice=pooled_dice(counts),
        task_c_index=_task_c_index(levels, found),
        task_c_index_torch=_task_c_index(levels, truth),
        severity_error=float(errors.max()),
        severity_error_mean=float(errors.mean()),
        map_error=_map_error(reference.maps, candidate.maps),
        embedding_error=_vector_error(reference.embeddings, candidate.embeddings),
        reference_error=_vector_error(reference.reference_vectors, candidate.reference_vectors),
    )


def ranks(severity: NDArray[np.floating]) -> NDArray[np.intp]:
    """Returns the rank of each image, 1 the most severe, ties in order of the images.

    Example:
        >>> ranks(np.array([0.1, 0.7, 0.1])).tolist()
        [2, 1, 3]
    """
    order = np.argsort(-severity, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(1, order.size + 1)
    return rank


def class_flips(reference: Answers, candidate: Answers) -> int | None:
    """Returns how many images changed their grade; None without a classifier."""
    if not reference.grades and not candidate.grades:
        return None
    return sum(one != other for one, other in zip(reference.grades, candidate.grades, strict=True))


def _task_c_index(levels: Sequence[int | None] | None, severity: NDArray[np.floating]) -> float | None:
    graded = [index for index, level in enumerate(levels or ()) if level is not None]
    return c_index(np.array([(levels or ())[index] for index in graded], np.intp), severity[graded])


def _mask_counts(reference: list[PackedMask], candidate: list[PackedMask]) -> NDArray[np.int64]:
    pairs = zip(reference, candidate, strict=True)
    return np.array([mask_counts(other.unpack(), one.unpack()) for one, other in pairs], np.int64).reshape(-1, 3)


def _largest_difference(reference: list[Sequence[float]], candidate: list[Sequence[float]]) -> float | None:
    if not reference and not candidate:
        return None
    return float(np.abs(np.array(reference) - np.array(candidate)).max())


def _map_error(reference: list[NDArray[np.float32]], candidate: list[NDArray[np.float32]]) -> float | None:
    pairs = zip(reference, candidate, strict=True)
    return max((float(np.abs(one - other).mean()) for one, other in pairs), default=None)


def _vector_error(reference: list[NDArray[np.float32]], candidate: list[NDArray[np.float32]]) -> float | None:
    pairs = zip(reference, candidate, strict=True)
    return max((_cosine_distance(one, other) for one, other in pairs), default=None)


def _cosine_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Returns 1 - cos, 0 to 2; 0 for two zero vectors, 1 for one."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if lengths == 0:
        return 0.0 if np.array_equal(first, second) else 1.0
    return max(0.0, 1.0 - float(first @ second) / lengths)


def _above(what: str, value: float | None, limit: float) -> tuple[str, ...]:
    # written so that NaN fails
    is_fine = value is None or value <= limit
    return () if is_fine else (f"{what} {value:.6g} is above {limit:.6g}",)


def _below(what: str, value: float | None, limit: float) -> tuple[str, ...]:
    is_fine = value is None or value >= limit
    return () if is_fine else (f"{what} {value:.6g} is below {limit:.6g}",)
