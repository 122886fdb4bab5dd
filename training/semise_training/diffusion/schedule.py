"""How much of an image is left at each timestep of the diffusion."""

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["cosine", "inverted"]

# Keeps the first steps from being too fine to see (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17).
COSINE_OFFSET = 0.008


def alpha_bars(schedule: Schedule, timesteps: int) -> Tensor:
    """Returns the share of the image's variance left at each timestep, float32 ``[T]``, falling, inside 0 to 1.

    With u in 0 to 1 at T inner places, ``cosine`` is ``cos^2((u + s) / (1 + s) * pi / 2)``, 1 at u = 0 (Nichol and
    Dhariwal 2021, eq. 17). ``inverted`` is our reading of SODA's schedule, which turns the cosine curve round to spend
    more steps on medium noise: the inverse function of ``cos^2(u * pi / 2)``, ``2 / pi * arccos(sqrt(u))``.

    Raises:
        ValueError: no timestep.
    """
    if timesteps < 1:
        raise ValueError(f"expected 1 timestep or more, found {timesteps}")
    u = torch.arange(1, timesteps + 1, dtype=torch.float64) / (timesteps + 1)
    if schedule == "inverted":
        return (2 / math.pi * u.sqrt().arccos()).float()
    start = math.cos(COSINE_OFFSET / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
    return (((u + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos().square() / start).float()


def noised(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Returns ``sqrt(a) x + sqrt(1 - a) eps``, which keeps a variance of 1 (Ho et al. 2020, arXiv 2006.11239, eq. 4).

    Args:
        clean: x, ``[N, C, H, W]``.
        noise: eps, standard normal, as ``clean``.
        alpha_bar: a of each image, ``[N]``.
    """
    left = alpha_bar[:, None, None, None]
    return left.sqrt() * clean + (1 - left).sqrt() * noise
