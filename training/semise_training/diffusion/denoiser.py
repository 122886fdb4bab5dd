"""eps_theta: a small U-Net that tells the noise in an image, guided by the timestep and by the latent z."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu

GROUPS = 8


class AdaptiveGroupNorm(nn.Module):
    """AdaGN: group normalisation scaled and shifted by the timestep, then by z."""

    def __init__(self, width: int, *, time_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, affine=False)
        self.of_time = nn.Linear(time_dim, 2 * width)
        self.of_latent = nn.Linear(latent_dim, 2 * width)

    def forward(self, features: Tensor, time: Tensor, latent: Tensor) -> Tensor:
        """Returns ``(1 + s_z(z)) [(1 + s_t(k)) GN(h) + b_t(k)] + b_z(z)``, as ``features``.

        Args:
            features: h, ``[N, C, H, W]``.
            time: Embedding of k, ``[N, time_dim]``.
            latent: z, ``[N, latent_dim]``; zeros where it is dropped.
        """
        time_scale, time_shift = self.of_time(time)[..., None, None].chunk(2, dim=1)
        latent_scale, latent_shift = self.of_latent(latent)[..., None, None].chunk(2, dim=1)
        timed = (1 + time_scale) * self.norm(features) + time_shift
        guided: Tensor = (1 + latent_scale) * timed + latent_shift
        return guided


class ResidualBlock(nn.Module):
    """``x + conv(silu(AdaGN(conv(silu(GN(x))))))``, with a 1x1 convolution on x where the width changes."""

    def __init__(self, before: int, width: int, *, time_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, before)
        self.first = nn.Conv2d(before, width, 3, padding=1)
        self.guided = AdaptiveGroupNorm(width, time_dim=time_dim, latent_dim=latent_dim)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(before, width, 1) if before != width else nn.Identity()

    def forward(self, features: Tensor, time: Tensor, latent: Tensor) -> Tensor:
        """Returns the block's features ``[N, width, H, W]``."""
        inner = self.first(silu(self.norm(features)))
        inner = self.second(silu(self.guided(inner, time, latent)))
        out: Tensor = self.shortcut(features) + inner
        return out


class RisingBlock(nn.Module):
    """A residual block on the way up, of what the deeper level found and what its own level was on the way down."""

    def __init__(self, deeper: int, width: int, *, time_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deeper, width, 1)
        self.block = ResidualBlock(2 * width, width, time_dim=time_dim, latent_dim=latent_dim)

    def forward(self, deeper: Tensor, skip: Tensor, time: Tensor, latent: Tensor) -> Tensor:
        """Returns the level's features ``[N, width, H, W]``; ``deeper`` has half its sides."""
        # The 1x1 convolution commutes with repeating pixels and costs a quarter before it.
        risen = interpolate(self.narrow(deeper), scale_factor=2.0, mode="nearest")
        features: Tensor = self.block(torch.cat([risen, skip], dim=1), time, latent)
        return features


class Denoiser(nn.Module):
    """A U-Net of one residual block a level on either side, halving the side from level to level, without attention.

    Its last layer starts at zero, so that the first prediction is no noise and the first loss the noise's variance, 1.

    Args:
        channels: Width of the first level, a multiple of 8.
        multipliers: Width of each level in units of ``channels``.
        latent_dims: Length of the latent that guides the blocks of each level.

    Example:
        >>> denoiser = Denoiser(channels=8, multipliers=(1, 2), latent_dims=(4, 4))
        >>> z = torch.zeros(2, 4)
        >>> denoiser(torch.zeros(2, 3, 16, 16), torch.tensor([0, 7]), (z, z)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(self, *, channels: int, multipliers: Sequence[int], latent_dims: Sequence[int]) -> None:
        super().__init__()
        self.channels = channels
        time_dim = 4 * channels
        self.time = nn.Sequential(nn.Linear(channels, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim), nn.SiLU())
        widths = [channels * multiplier for multiplier in multipliers]
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            ResidualBlock(before, width, time_dim=time_dim, latent_dim=latent_dim)
            for before, width, latent_dim in zip([widths[0], *widths[:-1]], widths, latent_dims, strict=True)
        )
        self.middle = ResidualBlock(widths[-1], widths[-1], time_dim=time_dim, latent_dim=latent_dims[-1])
        self.up = nn.ModuleList(
            RisingBlock(deeper, width, time_dim=time_dim, latent_dim=latent_dim)
            for deeper, width, latent_dim in zip(widths[1:], widths[:-1], latent_dims[:-1], strict=True)
        )
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.last = nn.Conv2d(widths[0], 3, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, noisy: Tensor, timesteps: Tensor, latents: Sequence[Tensor]) -> Tensor:
        """Returns the predicted noise, as ``noisy``.

        Args:
            noisy: x_t^k, ``[N, 3, H, W]``, sides divisible by 2 once per level but the first.
            timesteps: k of each image, int ``[N]``.
            latents: z as each level sees it, ``[N, latent_dim]`` each.
        """
        time = self.time(timestep_embedding(timesteps, self.channels))
        features = self.stem(noisy)
        skips: list[Tensor] = []
        for block, latent in zip(self.down, latents, strict=True):
            features = block(avg_pool2d(features, 2) if skips else features, time, latent)
            skips.append(features)
        features = self.middle(features, time, latents[-1])
        for block, skip, latent in reversed(list(zip(self.up, skips[:-1], latents[:-1], strict=True))):
            features = block(features, skip, time, latent)
        predicted: Tensor = self.last(silu(self.norm(features)))
        return predicted


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Returns cosines and sines of k at ``width / 2`` wavelengths from 2 pi to 20,000 pi, ``[N, width]``.

    The position encoding of Vaswani et al. 2017 (arXiv 1706.03762), as Ho et al. 2020 give k to their U-Net.
    """
    half = width // 2
    exponents = torch.arange(half, device=timesteps.device) / max(half - 1, 1)
    angles = timesteps[:, None] * torch.exp(-math.log(10_000) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)
