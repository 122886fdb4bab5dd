"""Every figure of a comparison from one model's answers, for many resamples at once."""

from functools import partial

import numpy as np

from semise_sdk import metrics
from semise_sdk.metrics.bootstrap import Figures, Times, blocks, once, over
from semise_sdk.spec import Decoding
from semise_training.compare.cells.answers import DECODINGS, LOSSES, Answers, Loss

PAIR_BETA = 5.0
"""Steepness for the Brier score of pairs, the same for every system."""

CLASS_METRICS = ("macro_f1", "maee", "recall", "kappa", "mae", "balanced_accuracy", "accuracy")
MASK_METRICS = ("iou", "dice", "pooled_iou", "pooled_dice")


def severity_figures(answers: Answers, times: Times) -> Figures:
    """Returns the metrics of the severity score, ``[R]`` each for ``times [R, N]``; NaN where one is undefined."""
    pairs = metrics.evaluation_pairs(answers.levels)
    measure = partial(metrics.severity_figures, answers.levels, answers.severity, pairs=pairs, beta=PAIR_BETA)
    return over(measure, blocks(times))


def class_figures(
    answers: Answers, times: Times, *, classes: int, loss: Loss = "weighted", decoding: Decoding = "argmax"
) -> Figures:
    """Returns the metrics of the decided grade, ``[S, R]`` each: one row per head seed."""
    return _stacked(
        [
            over(partial(metrics.grade_figures, answers.levels, decided, num_classes=classes), blocks(times))
            for decided in answers.heads[loss].decided[decoding]
        ]
    )


def probability_figures(answers: Answers, times: Times) -> Figures:
    """Returns the metrics of the probabilities that are kept, those of the weighted loss, ``[S, R]`` each."""
    per_mille = answers.heads["weighted"].per_mille
    if per_mille is None:
        return {}
    shares = [each / np.maximum(each.sum(axis=1, keepdims=True), 1) for each in per_mille]
    return _stacked(
        [over(partial(metrics.probability_figures, answers.levels, each), blocks(times)) for each in shares]
    )


def mask_figures(answers: Answers, times: Times) -> Figures:
    """Returns the metrics of the masks, ``[R]`` each; NaN where no image was segmented."""
    return over(partial(metrics.mask_figures, answers.mask_counts), blocks(times[:, answers.mask_rows]))


def observed(answers: Answers) -> Times:
    """Returns the times ``[1, N]`` of the images as they are: every one once."""
    return once(answers.levels)


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


def _seeds_summary(figures: Figures) -> dict[str, dict[str, object]]:
    return {
        name: {"each": [plain(value) for value in rows[:, 0]], "mean": plain(rows[:, 0].mean())}
        for name, rows in figures.items()
    }


def _stacked(of_seeds: list[Figures]) -> Figures:
    return {name: np.stack([figures[name] for figures in of_seeds]) for name in of_seeds[0]}
