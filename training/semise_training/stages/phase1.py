"""Phase 1: the encoder learns to tell healthy from anomalous (eq. 1), or every grade from the others."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semise_training.data.pairing import balanced_batches, sampled_pairs
from semise_training.losses import class_pair_loss, pair_margin_loss, supcon_loss
from semise_training.sections import OptimizerConfig, Phase1Config
from semise_training.seeds import derived_seed
from semise_training.stages.upstream import Upstream, batched, build_optimizer, unordered_monitors


class Phase1:
    """Pair margin loss, or Khosla's SupCon loss, between g(f(x)) of images that are similar when of the same kind."""

    name = "phase1"
    selection: str | None = None

    def __init__(self, upstream: Upstream, config: Phase1Config, optimizer: OptimizerConfig) -> None:
        self.upstream = upstream
        self.config = config
        self.epochs = config.epochs
        self.model = upstream.model
        self.optimizer = build_optimizer(upstream.model, optimizer)
        self.train = upstream.dataset.parts["train"]

    def _kinds(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        levels = self.upstream.dataset.levels[indices]
        return levels if self.config.pairs == "classes" else (levels > 0).astype(np.int64)

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
        """Yields ``[B]`` class-balanced images, or ``[P, 2]`` sampled pairs."""
        seed, steps, size = derived_seed(self.upstream.seed, self.name), self.steps_per_epoch(), self.config.batch_size
        if self.config.pairing == "inbatch":
            kinds = self._kinds(self.train)
            for rows in balanced_batches(kinds, batch_size=size, seed=seed, epoch=epoch, batches=steps):
                yield self.train[rows]
            return
        levels = self.upstream.dataset.levels[self.train]
        pairs = sampled_pairs(levels, count=steps * size, kind=self.config.pairs, seed=derived_seed(seed, epoch))
        yield from batched(self.train[pairs], size)

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the loss of a batch."""
        flat = batch.T.reshape(-1)
        projected = self.model.project(self.upstream.augmented(flat, seed=seed))
        kinds = torch.from_numpy(self._kinds(flat)).to(projected.device)
        if self.config.objective == "supcon":
            return {"supcon": supcon_loss(projected, kinds, temperature=self.config.temperature)}
        if batch.ndim == 1:
            ids = torch.from_numpy(flat).to(projected.device)
            return {"pairs": class_pair_loss(projected, kinds, margin=self.config.margin, image_ids=ids)}
        first, second = projected.chunk(2)
        kinds_first, kinds_second = kinds.chunk(2)
        return {"pairs": pair_margin_loss(first, second, kinds_first == kinds_second, margin=self.config.margin)}

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns the validation monitors; eq. 1 puts no grade farther than another."""
        return unordered_monitors(self.upstream, stage=self.name, of_projection=True)


def views_per_batch(config: Phase1Config) -> float:
    """Returns how many images a batch passes through f."""
    return config.batch_size * (2 if config.pairing == "sampled" else 1)
