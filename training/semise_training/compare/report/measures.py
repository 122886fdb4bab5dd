"""Every figure of a comparison from one model's answers, for many resamples at once."""

from collections.abc import Callable
from functools import partial

import numpy as np

from semise_sdk import metrics
from semise_sdk.metrics import resampled
from semise_sdk.metrics.resampled import RankTable, Times, Values
from semise_sdk.spec import Decoding
from semise_training.compare.cells.answers import DECODINGS, LOSSES, Answers, Loss

PAIR_BETA = 5.0
"""Steepness for the Brier score of pairs, the same for every system."""

AT_ONCE = 64
"""Resamples whose ranks are counted at once: for 4,000 images of 5 grades a table of one takes 160 kB."""

CLASS_METRICS = ("macro_f1", "maee", "recall", "kappa", "mae", "balanced_accuracy", "accuracy")
MASK_METRICS = ("iou", "dice", "pooled_iou", "pooled_dice")

Figures = dict[str, Values]


def severity_figures(answers: Answers, times: Times) -> Figures:
    """Returns the metrics of the severity score, ``[R]`` each for ``times [R, N]``; NaN where one is undefined."""
    levels, severity = answers.levels, answers.severity
    pairs = metrics.evaluation_pairs(levels)

    def figures(some: Times) -> Figures:
        table = RankTable.of(levels, severity, some)
        return {
            "kendall_tau": table.kendall_tau(),
            "c_index": table.c_index(),
            "auroc_healthy": resampled.auroc_healthy(levels, severity, some),
            "spearman": table.spearman(),
            "pair_accuracy": resampled.pair_accuracy(severity, pairs, some),
            "pair_brier": resampled.pair_brier(severity, pairs, some, beta=PAIR_BETA),
        }

    return _in_chunks(figures, times)


def class_figures(
    answers: Answers, times: Times, *, classes: int, loss: Loss = "weighted", decoding: Decoding = "argmax"
) -> Figures:
    """Returns the metrics of the decided grade, ``[S, R]`` each: one row per head seed."""
    figures = [
        _decided(resampled.confusion_matrices(answers.levels, decided, times, num_classes=classes))
        for decided in answers.heads[loss].decided[decoding]
    ]
    return {name: np.stack([of_seed[name] for of_seed in figures]) for name in CLASS_METRICS}


def probability_figures(answers: Answers, times: Times) -> Figures:
    """Returns the metrics of the probabilities that are kept, those of the weighted loss, ``[S, R]`` each."""
    per_mille = answers.heads["weighted"].per_mille
    if per_mille is None:
        return {}
    shares = [each / np.maximum(each.sum(axis=1, keepdims=True), 1) for each in per_mille]
    expected = [metrics.expected_class(each) for each in shares]
    taus = [_in_chunks(partial(_class_tau, answers, each), times) for each in expected]
    return {
        "kendall_tau_class": np.stack([tau["kendall_tau_class"] for tau in taus]),
        "ece": np.stack([resampled.ece(answers.levels, each, times) for each in shares]),
    }


def mask_figures(answers: Answers, times: Times) -> Figures:
    """Returns the metrics of the masks, ``[R]`` each; NaN where no image was segmented."""
    counts, held = answers.mask_counts.astype(np.float64), times[:, answers.mask_rows]
    each_iou, each_dice = _overlaps(counts)
    pooled_iou, pooled_dice = _overlaps(held @ counts)
    has_images = held.sum(axis=1) > 0
    return {
        "iou": resampled.mean_of_rows(each_iou, held),
        "dice": resampled.mean_of_rows(each_dice, held),
        "pooled_iou": np.where(has_images, pooled_iou, np.nan),
        "pooled_dice": np.where(has_images, pooled_dice, np.nan),
    }


def observed(answers: Answers) -> Times:
    """Returns the times ``[1, N]`` of the images as they are: every one once."""
    return np.ones((1, len(answers.levels)))


def summary(answers: Answers, *, classes: int) -> dict[str, object]:
    """Returns all figures of one model's answers as JSON data: of each head seed, and their mean."""
    times = observed(answers)
    return {
        "severity": {name: plain(value[0]) for name, value in severity_figures(answers, times).items()},
        "probabilities": _seeds_summary(probability_figures(answers, times)),
        "heads": {
            loss: {
                way: _seeds_summary(class_figures(answers, times, classes=classes, loss=loss, decoding=way))
                for way in DECODINGS
            }
            for loss in LOSSES
        },
        "masks": {name: plain(value[0]) for name, value in mask_figures(answers, times).items()},
    }


def plain(value: float) -> float | None:
    """Returns a figure as JSON has it: 6 decimals, None for NaN."""
    return None if np.isnan(value) else round(float(value), 6)


def _class_tau(answers: Answers, expected: Values, times: Times) -> Figures:
    return {"kendall_tau_class": RankTable.of(answers.levels, expected, times).kendall_tau()}


def _in_chunks(figures: Callable[[Times], Figures], times: Times) -> Figures:
    """Returns ``figures`` of so many resamples at once that tables of ranks and pairs fit into the memory."""
    parts = [figures(times[start : start + AT_ONCE]) for start in range(0, len(times), AT_ONCE)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _seeds_summary(figures: Figures) -> dict[str, dict[str, object]]:
    return {
        name: {"each": [plain(value) for value in rows[:, 0]], "mean": plain(rows[:, 0].mean())}
        for name, rows in figures.items()
    }


def _decided(confusions: Values) -> Figures:
    return {
        "macro_f1": resampled.macro_f1(confusions),
        "maee": resampled.maee(confusions),
        "recall": resampled.recall(confusions),
        "kappa": resampled.quadratic_kappa(confusions),
        "mae": resampled.mae(confusions),
        "balanced_accuracy": resampled.balanced_accuracy(confusions),
        "accuracy": resampled.accuracy(confusions),
    }


def _overlaps(counts: Values) -> tuple[Values, Values]:
    """Returns IoU and Dice of pixel counts ``[M, 3]``."""
    intersection, predicted, truth = counts.T
    return _share(intersection, predicted + truth - intersection), _share(2 * intersection, predicted + truth)


def _share(shared: Values, area: Values) -> Values:
    """Returns ``shared / area``; two empty masks agree."""
    return np.where(area == 0, 1.0, shared / np.maximum(area, 1))
