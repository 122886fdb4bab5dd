"""SimCLR: NT-Xent on two augmented views of every training image, whether it has a label or not."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semise_training.data.pairing import unlabeled_batches
from semise_training.data.size import DataSize
from semise_training.losses import ntxent_loss
from semise_training.sections import OptimizerConfig, SimCLRConfig
from semise_training.seeds import derived_seed
from semise_training.stages.upstream import Upstream, build_optimizer, validation_monitors


class SimCLR:
    """NT-Xent (eq. 2, SimCLR's norm) between h(g(f(a(x)))) and h(g(f(a'(x)))); labels are not looked at."""

    name = "simclr"
    selection: str | None = None

    def __init__(self, upstream: Upstream, config: SimCLRConfig, optimizer: OptimizerConfig) -> None:
        self.upstream = upstream
        self.config = config
        self.epochs = config.epochs
        self.model = upstream.model
        self.optimizer = build_optimizer(upstream.model, optimizer)
        self.train = np.concatenate([upstream.dataset.parts["train"], upstream.dataset.unlabeled])

    @property
    def trained(self) -> nn.Module:
        """Encoder, g and h."""
        return self.model

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""
        return self.config.batches(len(self.train))

    def begin_epoch(self, epoch: int) -> None:
        """Sets the training mode."""
        self.model.train()

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Returns ``[B]`` images a batch, none twice in a batch, so that NT-Xent has no false negative to mask."""
        seed, steps = derived_seed(self.upstream.seed, self.name), self.steps_per_epoch()
        return unlabeled_batches(self.train, batch_size=self.config.batch_size, seed=seed, epoch=epoch, batches=steps)

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns NT-Xent of a batch."""
        seeds = (seed, derived_seed(seed, "second view"))
        planes = torch.cat([self.upstream.augmented(batch, seed=each) for each in seeds])
        first, second = self.model.contrast(self.model.project(planes)).chunk(2)
        return {"ntxent": ntxent_loss(first, second, temperature=self.config.temperature)}

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns the validation monitors."""
        return validation_monitors(self.upstream, stage=self.name)


def images(size: DataSize) -> int:
    """Returns how many images an epoch deals: all of the training part, with and without label."""
    return size.train_images + size.unlabeled_images


def views_per_batch(config: SimCLRConfig, size: DataSize) -> float:
    """Returns how many images a batch passes through f: two views of each of its images."""
    return 2 * min(config.batch_size, images(size))
