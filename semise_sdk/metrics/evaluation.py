"""The evaluation report: every metric of the project with its interval, from plain arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from semise_sdk import metrics
from semise_sdk.errors import DataError
from semise_sdk.metrics import (
    Estimate,
    Groups,
    decide,
    estimates,
    grade_figures,
    mask_counts,
    mask_figures,
    probability_figures,
    severity_figures,
)
from semise_sdk.metrics.bootstrap import Figures, Times
from semise_sdk.spec import Decoding

__all__ = ["METRICS", "EvaluationReport", "Observations", "evaluate", "mask_counts"]

FiguresOf = Callable[[Times], Figures]

METRICS = (
    "macro_f1",
    "recall",
    "maee",
    "mae",
    "kappa",
    "spearman",
    "kendall_tau",
    "c_index",
    "balanced_accuracy",
    "auroc_healthy",
    "ece",
    "iou",
    "dice",
    "kendall_tau_class",
    "pooled_iou",
    "pooled_dice",
    "pair_accuracy",
    "pair_brier",
    "accuracy",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observations:
    """What a model said of labelled images, beside the truth; leave unlabelled and failed images out.

    Args:
        levels: True severity levels, integers ``[N]`` of 0 to ``num_classes`` - 1, 0 healthy.
        groups: Group of each of the N rows, such as the patient; rows of a group are resampled together.
        num_classes: K, the number of severity levels.
        severity: Severity score ``[N]``, or None.
        probabilities: Classifier's probabilities ``[N, K]``, or None.
        mask_counts: ``[M, 3]`` of :func:`mask_counts`, one row per image that has a true mask, or None.
        mask_groups: Group of each of those M rows.

    Raises:
        DataError: a level lies outside the model's scale.
        ValueError: shapes do not agree or numbers are not finite.
    """

    levels: NDArray[np.integer]
    groups: Groups
    num_classes: int
    severity: NDArray[np.floating] | None = None
    probabilities: NDArray[np.floating] | None = None
    mask_counts: NDArray[np.integer] | None = None
    mask_groups: Groups = ()

    def __post_init__(self) -> None:
        n = len(self.groups)
        _check_shape("levels", self.levels, (n,))
        _check_shape("severity", self.severity, (n,))
        _check_shape("probabilities", self.probabilities, (n, self.num_classes))
        _check_shape("mask_counts", self.mask_counts, (len(self.mask_groups), 3))
        _check_sums(self.probabilities)
        if n and not (self.levels.min() >= 0 and self.levels.max() < self.num_classes):
            raise DataError(
                f"expected severity levels 0 to {self.num_classes - 1}, found {self.levels.min()} to "
                f"{self.levels.max()}; evaluate on images labelled on the model's own scale"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationReport:
    """Every metric of ``METRICS`` with its 95 % interval; one that is undefined has value None and n 0.

    ``kendall_tau``, ``spearman``, ``c_index``, ``auroc_healthy`` and the ``pair_*`` metrics are of the severity
    score; ``kendall_tau_class`` is of the classifier's expected class.

    Args:
        estimates: One estimate per name in ``METRICS``.
        confusion: ``[K, K]`` counts, rows true and columns decided levels; None without a classifier.
        majority_fraction: Share of the level decided most often; None without a classifier.
        collapsed: True when one level is decided for all images though their true levels differ.

    Example:
        >>> levels = np.array([0, 1, 2, 2])
        >>> report = evaluate(Observations(levels=levels, groups="abcd", num_classes=3, severity=levels / 10))
        >>> report["c_index"].value, report["macro_f1"].value
        (1.0, None)
    """

    estimates: Mapping[str, Estimate]
    confusion: NDArray[np.int64] | None
    majority_fraction: float | None
    collapsed: bool

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def to_json(self) -> dict[str, dict[str, float | int | None]]:
        """Returns ``{metric: {"value", "low", "high", "n"}}`` in the order of ``METRICS``."""
        return {name: self.estimates[name].to_json() for name in METRICS}


def evaluate(
    observations: Observations,
    *,
    decoding: Decoding = "argmax",
    beta: float = 5.0,
    repeats: int = 1000,
    seed: int = 0,
) -> EvaluationReport:
    """Returns every metric that the observations allow, with 95 % intervals clustered by group.

    Args:
        observations: Truth and predictions.
        decoding: How probabilities become a class: the most probable one, or the one of least expected MAEE.
        beta: Steepness of the preference loss, for the Brier score of pairs.
        repeats: Bootstrap resamples.
        seed: Seed of the resamples and of the evaluation pairs.
    """
    found = dict.fromkeys(METRICS, Estimate.undefined())
    of_rows = partial(_together, _row_metrics(observations, decoding=decoding, beta=beta, seed=seed))
    found |= estimates(of_rows, observations.groups, repeats=repeats, seed=seed)
    if observations.mask_counts is not None:
        of_masks = partial(mask_figures, observations.mask_counts)
        found |= estimates(of_masks, observations.mask_groups, repeats=repeats, seed=seed)
    return _report(found, observations, decoding=decoding)


def _row_metrics(observations: Observations, *, decoding: Decoding, beta: float, seed: int) -> list[FiguresOf]:
    levels, severity, probabilities = observations.levels, observations.severity, observations.probabilities
    found: list[FiguresOf] = []
    if severity is not None:
        pairs = metrics.evaluation_pairs(levels, seed=seed)
        found.append(partial(severity_figures, levels, severity, pairs=pairs, beta=beta))
    if probabilities is not None:
        decided = decide(probabilities, decoding=decoding)
        found.append(partial(grade_figures, levels, decided, num_classes=observations.num_classes))
        found.append(partial(probability_figures, levels, probabilities))
    return found


def _together(parts: Sequence[FiguresOf], times: Times) -> Figures:
    return {name: values for part in parts for name, values in part(times).items()}


def _report(found: Mapping[str, Estimate], observations: Observations, *, decoding: Decoding) -> EvaluationReport:
    frozen = MappingProxyType(dict(found))
    if observations.probabilities is None:
        return EvaluationReport(estimates=frozen, confusion=None, majority_fraction=None, collapsed=False)
    levels, decided = observations.levels, decide(observations.probabilities, decoding=decoding)
    return EvaluationReport(
        estimates=frozen,
        confusion=metrics.confusion_matrix(levels, decided, num_classes=observations.num_classes),
        majority_fraction=metrics.majority_fraction(decided),
        collapsed=metrics.is_collapsed(decided) and not metrics.is_collapsed(levels),
    )


def _check_shape(name: str, values: NDArray[np.generic] | None, shape: tuple[int, ...]) -> None:
    if values is None:
        return
    if values.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, found {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite {name}, found NaN or infinity; leave those rows out")


def _check_sums(probabilities: NDArray[np.floating] | None) -> None:
    if probabilities is None or not probabilities.size:
        return
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero((probabilities < 0).any(axis=1) | (np.abs(sums - 1) > 1e-3))
    if wrong.size:
        row, least = wrong[0], probabilities[wrong[0]].min()
        raise ValueError(
            f"expected probabilities of 0 to 1 whose rows sum to 1, found row {row} with sum {sums[row]:g} and least "
            f"value {least:g}; apply softmax first"
        )
