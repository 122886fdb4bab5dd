"""Eq. 2, NT-Xent (Chen et al. 2020, arXiv 2002.05709), with false negatives masked."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from semise_training.losses.distance import cosine_similarities

NTXentNorm = Literal["simclr", "paper"]


def ntxent_loss(
    first: Tensor,
    second: Tensor,
    *,
    temperature: float = 0.2,
    norm: NTXentNorm = "simclr",
    ids: Tensor | None = None,
) -> Tensor:
    """Returns eq. 2: how hard it is to tell each view's partner from all other views of the batch.

    ``-log( exp(cos(z_i, z_i') / t) / sum_k exp(cos(z_i, z_k) / t) )``, k over the other 2N - 1 views. ``simclr``
    averages over all 2N anchors; ``paper`` is eq. 2 as printed, the sum over the N anchors of ``first`` divided by 2N.
    No pair at all gives a zero that still has a graph.

    Args:
        first: z, one view of each image, ``[N, D]``.
        second: z', the other view of each image, ``[N, D]``.
        temperature: t.
        norm: Which anchors count.
        ids: int ``[N]`` of the image, patient or lesion; views of the anchor's own id leave its denominator, but for
            its partner. None: every row is an image of its own.

    Raises:
        ValueError: the two views differ in shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected two views of one shape, found {tuple(first.shape)} and {tuple(second.shape)}")
    views = torch.cat([first, second])
    logits = cosine_similarities(views, views) / temperature
    count = len(first)
    partner = torch.arange(2 * count, device=first.device).roll(count)
    logits = logits.masked_fill(_not_compared(partner, ids), -torch.inf)
    losses = cross_entropy(logits, partner, reduction="none")
    counted = losses if norm == "simclr" else losses[:count]
    return counted.sum() / max(2 * count, 1)


def chance_ntxent(n_pairs: int, norm: NTXentNorm = "simclr") -> float:
    """Returns eq. 2 of views that all look alike: ``log(2N - 1)``, half of it in the paper's norm.

    Raises:
        ValueError: fewer than two pairs, where there is nothing to tell apart and the chance value is 0.
    """
    if n_pairs < 2:
        raise ValueError(f"expected at least 2 pairs, found {n_pairs}: NT-Xent of one pair is always 0")
    return math.log(2 * n_pairs - 1) * (1.0 if norm == "simclr" else 0.5)


def _not_compared(partner: Tensor, ids: Tensor | None) -> Tensor:
    itself = torch.eye(len(partner), dtype=torch.bool, device=partner.device)
    if ids is None:
        return itself
    owner = torch.cat([ids, ids])
    return (owner[:, None] == owner[None, :]) & ~itself[partner]
