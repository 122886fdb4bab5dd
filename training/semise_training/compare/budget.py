"""The budget: as many epochs as let every system see the same number of images."""

import math

from semise_training.config import Phase1Config, Phase2Config, TrainConfig


def within_budget(config: TrainConfig, *, views: int, train_images: int, unlabeled_images: int = 0) -> TrainConfig:
    """Returns the configuration with its epochs scaled, in proportion, to pass about ``views`` images.

    0 changes nothing; every phase that has epochs keeps at least one.

    Args:
        config: The configuration.
        views: Images, repeats and augmented views counted, that the stages before the heads may pass.
        train_images: Labeled training images.
        unlabeled_images: Unlabeled training images.
    """
    if not views:
        return config
    phase1 = config.phase1.epochs * _phase1_views(config.phase1, train_images)
    phase2 = config.phase2.epochs * _phase2_views(config.phase2, train_images, unlabeled_images)
    if not phase1 + phase2:
        return config
    scale = views / (phase1 + phase2)
    return config.model_copy(
        update={
            "phase1": config.phase1.model_copy(update={"epochs": _scaled(config.phase1.epochs, scale)}),
            "phase2": config.phase2.model_copy(update={"epochs": _scaled(config.phase2.epochs, scale)}),
        }
    )


def _scaled(epochs: int, scale: float) -> int:
    return max(1, round(epochs * scale)) if epochs else 0


def _phase1_views(config: Phase1Config, images: int) -> int:
    return _steps(config, images) * _labeled_per_step(config)


def _phase2_views(config: Phase2Config, images: int, unlabeled: int) -> int:
    per_step = _labeled_per_step(config)
    if config.alpha > 0:
        extra = min(config.batch_size, unlabeled) if config.ntxent.scope == "all+unlabeled" else 0
        per_step = 2 * (per_step + extra)
    return _steps(config, images) * per_step


def _steps(config: Phase1Config | Phase2Config, images: int) -> int:
    if config.pairing == "sampled":
        return max(1, config.pairs_per_epoch // config.batch_size)
    return math.ceil(images / config.batch_size)


def _labeled_per_step(config: Phase1Config | Phase2Config) -> int:
    return config.batch_size * (2 if config.pairing == "sampled" else 1)
