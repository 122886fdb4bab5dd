"""What SODA trains: the encoder, the linear bottleneck z and the denoiser that z guides."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from semise_sdk.models.encoder import Encoder
from semise_training.diffusion.average import update_average, warmed_decay
from semise_training.diffusion.denoiser import Denoiser
from semise_training.diffusion.schedule import Schedule, alpha_bars, noised


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance decides of a batch.

    Args:
        timesteps: k of each image, int ``[N]``.
        noise: eps, as the targets.
        kept: m, which sections of each z stay, ``[N, S]`` of 0 and 1; S is 1 where z is whole.
    """

    timesteps: Tensor
    noise: Tensor
    kept: Tensor

    def without_latent(self) -> "Draw":
        """Returns the same draw with z dropped for every image."""
        return Draw(self.timesteps, self.noise, torch.zeros_like(self.kept))


class SodaLearner(nn.Module):
    """f, ``z = W f(x)`` and ``eps_theta(x_k, k, m z)`` (Hudson et al. 2023, arXiv 2311.17901).

    z guides every residual block whole. With ``is_sectioned`` it is SODA's layer modulation: cut into one section a
    level, each of which may be dropped alone.

    Args:
        encoder: f; a copy of it is trained, the original stays to become the running average.
        latent_dim: Length of z.
        channels: Width of the denoiser's first level.
        multipliers: Width of its levels in units of ``channels``.
        schedule: Noise schedule.
        timesteps: T.
        is_sectioned: Whether each level sees a section of z of its own.
    """

    alpha_bar: Tensor
    updates: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        latent_dim: int,
        channels: int,
        multipliers: Sequence[int],
        schedule: Schedule,
        timesteps: int,
        is_sectioned: bool = False,
    ) -> None:
        super().__init__()
        self.levels = len(multipliers)
        self.encoder = copy.deepcopy(encoder)
        self.bottleneck = nn.Linear(encoder.feature_dim, latent_dim)
        self.sections = self.levels if is_sectioned else 1
        lengths = [len(part) for part in torch.arange(latent_dim).tensor_split(self.sections)]
        latent_dims = lengths if is_sectioned else lengths * self.levels
        self.denoiser = Denoiser(channels=channels, multipliers=multipliers, latent_dims=latent_dims)
        self.register_buffer("alpha_bar", alpha_bars(schedule, timesteps), persistent=False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def latent(self, planes: Tensor) -> Tensor:
        """Returns z ``[N, latent_dim]`` of source views, float planes ``[N, 3, H, W]`` in 0 to 255."""
        latent: Tensor = self.bottleneck(self.encoder.features(planes).embedding)
        return latent

    def draw(self, shape: Sequence[int], *, drop: float, drop_section: float, seed: int) -> Draw:
        """Returns the timesteps, noise and mask of targets of ``shape`` ``[N, 3, H, W]``; the same on every device.

        Args:
            shape: Shape of the targets.
            drop: Probability that an image's z is dropped whole.
            drop_section: Probability that one section of it is dropped.
            seed: Chooses all of them.
        """
        generator = torch.Generator().manual_seed(seed)
        count, device = shape[0], self.alpha_bar.device
        timesteps = torch.randint(len(self.alpha_bar), (count,), generator=generator)
        noise = torch.randn(*shape, generator=generator)
        kept = torch.rand(count, 1, generator=generator) >= drop
        kept = kept & (torch.rand(count, self.sections, generator=generator) >= drop_section)
        return Draw(timesteps.to(device), noise.to(device), kept.float().to(device))

    def loss(self, latent: Tensor, targets: Tensor, draw: Draw) -> Tensor:
        """Returns ``mean (eps - eps_theta(x_k, k, m z))^2``, about 1 at the start.

        Args:
            latent: z of the source views, ``[N, latent_dim]``.
            targets: x, the target views, ``[N, 3, H, W]`` in -1 to 1.
            draw: k, eps and m.
        """
        noisy = noised(targets, draw.noise, self.alpha_bar[draw.timesteps])
        predicted = self.denoiser(noisy, draw.timesteps, self._guides(latent, draw.kept))
        return mse_loss(predicted.float(), draw.noise)

    def _guides(self, latent: Tensor, kept: Tensor) -> list[Tensor]:
        """Returns m z as each level sees it."""
        sections = latent.tensor_split(self.sections, dim=1)
        masked = [section * kept[:, [index]] for index, section in enumerate(sections)]
        return masked if self.sections > 1 else masked * self.levels

    def average_into(self, encoder: nn.Module, *, decay: float) -> None:
        """Moves ``encoder``, the running average, towards the trained encoder; counts the update."""
        update_average(encoder, self.encoder, decay=warmed_decay(decay, int(self.updates)))
        self.updates += 1
