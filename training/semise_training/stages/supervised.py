"""Supervised fine-tuning: cross-entropy on a linear head, the baseline that needs no severity method."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from semise_training.data.pairing import unlabeled_batches
from semise_training.data.size import DataSize
from semise_training.sections import OptimizerConfig, SupervisedConfig
from semise_training.seeds import derived_seed
from semise_training.stages.classifier import class_weights
from semise_training.stages.upstream import Upstream, add_grade_head, build_optimizer, unordered_monitors


class Supervised:
    """Class-weighted cross-entropy of Linear(f(a(x))); the linear head is left behind, f is kept.

    The common classifier is trained on the frozen f afterwards, as for every other method.
    """

    name = "supervised"
    selection: str | None = None

    def __init__(self, upstream: Upstream, config: SupervisedConfig, optimizer: OptimizerConfig) -> None:
        self.upstream = upstream
        self.config = config
        self.epochs = config.epochs
        self.model = upstream.model
        self.train = upstream.dataset.parts["train"]
        self.head = add_grade_head(upstream, stage=self.name)
        self.optimizer = build_optimizer(upstream.model, optimizer)
        levels, classes = upstream.levels(self.train), upstream.dataset.classes
        self.class_weights = class_weights(levels, classes) if config.class_weighted else None

    @property
    def trained(self) -> nn.Module:
        """Encoder and linear head."""
        return self.model

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""
        return self.config.batches(len(self.train))

    def begin_epoch(self, epoch: int) -> None:
        """Sets the training mode."""
        self.model.train()

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Returns ``[B]`` images a batch as they come, of any grade: the class weights make up for their numbers."""
        seed, steps = derived_seed(self.upstream.seed, self.name), self.steps_per_epoch()
        return unlabeled_batches(self.train, batch_size=self.config.batch_size, seed=seed, epoch=epoch, batches=steps)

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the cross-entropy of a batch."""
        logits = self.head(self.model.features(self.upstream.augmented(batch, seed=seed))).float()
        loss = nn.functional.cross_entropy(logits, self.upstream.levels(batch), self.class_weights)
        return {"cross_entropy": loss}

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns the validation monitors; cross-entropy puts no grade farther than another."""
        return unordered_monitors(self.upstream, stage=self.name)


def views_per_batch(config: SupervisedConfig, size: DataSize) -> float:
    """Returns how many images a batch passes through f."""
    return min(config.batch_size, size.train_images)
