"""Equal budgets: how long each method trains so that all pass the same number of images through the encoder."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from semise_sdk.errors import ConfigError
from semise_training.config import TrainConfig
from semise_training.data.size import DataSize
from semise_training.methods import UpstreamStage, find_method
from semise_training.sections import StageConfig

NEAR_ENOUGH = 0.02
"""Totals that miss the budget by less than this share count as equal."""

MISS_COST = 20.0
"""How much a further miss weighs against a shift between the phases or an unusual length of epochs."""

TRIED = 25
"""How many lengths of each stage are combined with those of the others."""


@dataclass(frozen=True, slots=True)
class _Length:
    """How long a stage might train, and how far that is from its share of the budget and from its usual epochs."""

    epochs: int
    batches: int
    views: float
    distance: float


def total_views(config: TrainConfig, size: DataSize) -> float:
    """Returns how many images the method of ``config`` passes through f in training, a mean where that varies."""
    stages = find_method(config.method).upstream
    return sum(stage.settings(config).epochs * stage.views_per_epoch(config, size) for stage in stages)


def fit_budget(
    config: TrainConfig,
    *,
    views: int,
    train_images: int,
    unlabeled_images: int = 0,
    images_per_level: Sequence[int] = (),
) -> TrainConfig:
    """Returns ``config`` with epochs whose image views come as near as possible to ``views``.

    An image view is one image passed through f in training. The stages of a method keep their shares of the total;
    epochs stay about one pass over the images, or keep their number where pairs are sampled. A method without a stage
    to train stays as it is.

    Args:
        config: The configuration whose method is to be fitted.
        views: The budget.
        train_images: Number of labeled training images.
        unlabeled_images: Number of unlabeled ones.
        images_per_level: Number of training images of each level, healthy first. Needed for exactness where NT-Xent
            takes anomalous images only; three equal grades are assumed without it.

    Raises:
        ConfigError: the budget is less than one batch of each stage.
    """
    size = DataSize(
        train_images=train_images, unlabeled_images=unlabeled_images, images_per_level=tuple(images_per_level)
    )
    stages = [stage for stage in find_method(config.method).upstream if stage.views_per_epoch(config, size)]
    stages = [stage for stage in stages if stage.settings(config).epochs]
    if not stages:
        return config
    least = sum(stage.views_per_batch(config, size) for stage in stages)
    if views < least:
        raise ConfigError(
            f"expected a budget of {math.ceil(least)} image views or more, one batch of each stage of {config.method}, "
            f"found {views}: raise it or lower the batch sizes"
        )
    scale = views / total_views(config, size)
    choices = [_lengths(stage, config, size, scale) for stage in stages]
    return _resized(config, stages, min(itertools.product(*choices), key=lambda lengths: _cost(lengths, views)))


def _lengths(stage: UpstreamStage, config: TrainConfig, size: DataSize, scale: float) -> list[_Length]:
    """Returns lengths near ``scale`` times the configured one, the nearest first."""
    settings, images, per_batch = stage.settings(config), stage.images(size), stage.views_per_batch(config, size)
    wanted = max(1.0, scale * settings.epochs * settings.batches(images))
    usual = min(settings.usual_epochs(wanted, images=images), round(wanted))
    lengths = []
    for epochs in range(max(1, usual // 2), 2 * usual + 1):
        for batches in {max(1, math.floor(wanted / epochs)), math.ceil(wanted / epochs)}:
            distance = abs(math.log(epochs * batches / wanted)) + abs(math.log(epochs / usual))
            lengths.append(_Length(epochs, batches, epochs * batches * per_batch, distance))
    return sorted(lengths, key=lambda length: length.distance)[:TRIED]


def _cost(lengths: Sequence[_Length], views: int) -> float:
    miss = abs(sum(length.views for length in lengths) / views - 1)
    return MISS_COST * max(0.0, miss - NEAR_ENOUGH) + sum(length.distance for length in lengths)


def _resized(config: TrainConfig, stages: Sequence[UpstreamStage], lengths: Sequence[_Length]) -> TrainConfig:
    sections: dict[str, StageConfig] = {
        stage.section: stage.settings(config).resized(epochs=length.epochs, batches=length.batches)
        for stage, length in zip(stages, lengths, strict=True)
    }
    return config.model_copy(update=sections)
