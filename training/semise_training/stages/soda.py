"""SODA: the encoder learns what another, noisy view of the image needs to be told to lose its noise."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from semise_training.data.pairing import unlabeled_batches
from semise_training.data.size import DataSize
from semise_training.diffusion.learner import SodaLearner
from semise_training.network.embedding import pixel_batches
from semise_training.sections import OptimizerConfig, SodaConfig
from semise_training.seeds import derived_seed
from semise_training.stages.upstream import Upstream, two_rate_optimizer, unordered_monitors


class Soda:
    """Noise prediction on a second view, guided by z of the first; no label is read.

    ``upstream.model.network.encoder``, which is measured and deployed, is the running average of the encoder that
    learns, as is usual for diffusion models; the learner, its denoiser and its count of updates are
    ``upstream.model.extras``, so that they are restored after a kill and never deployed.
    """

    name = "soda"
    selection: str | None = None

    def __init__(self, upstream: Upstream, config: SodaConfig, optimizer: OptimizerConfig) -> None:
        self.upstream = upstream
        self.config = config
        self.epochs = config.epochs
        self.model = upstream.model
        self.learner = self._new_learner()
        self.model.extras["learner"] = self.learner
        self.optimizer = self._averaging_optimizer(optimizer)
        self.images = np.concatenate([upstream.dataset.parts["train"], upstream.dataset.unlabeled])

    def _new_learner(self) -> SodaLearner:
        torch.manual_seed(derived_seed(self.upstream.seed, self.name, "learner"))
        learner = SodaLearner(
            self.model.network.encoder,
            latent_dim=self.config.latent_dim,
            channels=self.config.channels,
            multipliers=self.config.channel_multipliers,
            schedule=self.config.schedule,
            timesteps=self.config.timesteps,
            is_sectioned=self.config.section_drop > 0,
        )
        return learner.to(self.upstream.compute.device).to(memory_format=torch.channels_last)

    def _averaging_optimizer(self, config: OptimizerConfig) -> torch.optim.Optimizer:
        """Returns the optimiser, after whose every step the deployed encoder follows."""
        learner = self.learner
        heads = [*learner.bottleneck.parameters(), *learner.denoiser.parameters()]
        optimizer = two_rate_optimizer(learner.encoder.parameters(), heads, config)
        encoder, decay = self.model.network.encoder, self.config.average_decay
        optimizer.register_step_post_hook(lambda *_: learner.average_into(encoder, decay=decay))
        return optimizer

    @property
    def trained(self) -> nn.Module:
        """The learner: encoder, bottleneck and denoiser."""
        return self.learner

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""
        return self.config.batches(len(self.images))

    def begin_epoch(self, epoch: int) -> None:
        """Sets the training mode of the learner; the average takes over its statistics and measures none."""
        self.model.network.eval()
        self.learner.train()

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Returns ``[B]`` training images a batch, labeled or not, each once before any comes again."""
        seed, steps = derived_seed(self.upstream.seed, self.name, "order"), self.steps_per_epoch()
        return unlabeled_batches(self.images, batch_size=self.config.batch_size, seed=seed, epoch=epoch, batches=steps)

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the denoising loss of a batch."""
        config = self.config
        targets = self._targets(batch, seed=derived_seed(seed, "target"))
        draw = self.learner.draw(
            targets.shape, drop=config.latent_drop, drop_section=config.section_drop, seed=derived_seed(seed, "draw")
        )
        latent = self.learner.latent(self.upstream.augmented(batch, seed=seed))
        self.model.views += len(batch)  # the learner has an encoder of its own, whose passes the model does not see
        return {"denoising": self.learner.loss(latent, targets, draw)}

    def _targets(self, batch: NDArray[np.int64], *, seed: int) -> Tensor:
        """Returns a second view of each image, small and in -1 to 1."""
        return as_target(self.upstream.augmented(batch, seed=seed), self.config.target_size)

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns the validation monitors, and the loss on validation images; no grade is asked to lie farther.

        ``val_denoising`` and ``val_denoising_without_z`` say what z is worth to the denoiser: equal, the bottleneck
        carries nothing.
        """
        return {**unordered_monitors(self.upstream, stage=self.name), **self._validation_losses()}

    def _validation_losses(self) -> dict[str, object]:
        self.learner.eval()
        compute, validation = self.upstream.compute, self.upstream.dataset.parts["val"]
        sums = np.zeros(2)
        for place, pixels in enumerate(pixel_batches(self.upstream.dataset, validation, compute)):
            planes = pixels.float().permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            targets = as_target(planes, self.config.target_size)
            seed = derived_seed(self.upstream.seed, self.name, "validation", place)
            draw = self.learner.draw(targets.shape, drop=0.0, drop_section=0.0, seed=seed)
            with torch.inference_mode(), compute.autocast():
                latent = self.learner.latent(planes)
                pair = [self.learner.loss(latent, targets, each) for each in (draw, draw.without_latent())]
            sums += len(pixels) * np.array([float(loss) for loss in pair])
        with_z, without_z = (round(float(mean), 6) for mean in sums / len(validation))
        return {"val_denoising": with_z, "val_denoising_without_z": without_z}


def as_target(planes: Tensor, size: int) -> Tensor:
    """Returns planes ``[N, 3, H, W]`` of 0 to 255 as what the denoiser restores: area means, ``size`` px, -1 to 1."""
    return adaptive_avg_pool2d(planes, size) / 127.5 - 1


def views_per_batch(config: SodaConfig, size: DataSize) -> float:
    """Returns how many images a batch passes through f: one view each; their targets only the denoiser sees."""
    return min(config.batch_size, images(size))


def images(size: DataSize) -> int:
    """Returns how many images an epoch deals: labeled or not."""
    return size.train_images + size.unlabeled_images
