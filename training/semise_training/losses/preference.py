"""Eq. 3, the preference loss: of two images, the more severe one lies farther from the healthy reference."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from semise_training.losses.distance import full_precision
from semise_training.losses.reduction import mean_where

CHANCE_PREFERENCE = math.log(2)
"""The preference loss of equal distances: what guessing costs."""

Ties = Literal["drop", "half"]


def preference_loss(
    distances_i: Tensor,
    distances_j: Tensor,
    outcome: Tensor,
    *,
    beta: float = 5.0,
    margin: float = 0.0,
    gap: Tensor | None = None,
) -> Tensor:
    """Returns eq. 3 read as ``BCE_with_logits(l, y)``, ``l = beta (d_i - d_j)``.

    That is the Bradley-Terry negative log-likelihood of strengths ``beta d``. With a margin it is
    ``softplus(-(s l - gamma |y_i - y_j|))``, s = 1 where i is the more severe and -1 where j is.

    Args:
        distances_i: Cosine distances to the reference ``[P]``.
        distances_j: Cosine distances to the reference ``[P]``.
        outcome: y ``[P]``: 1 where i is the more severe, 0 where j is, 0.5 where they tie.
        beta: Steepness; 1 is the paper's, whose loss cannot fall below 0.127 as distances differ by at most 2.
        margin: gamma, how far the logit must be ahead per level of difference.
        gap: ``|y_i - y_j|`` ``[P]``, the difference in levels; needed with a margin.

    Raises:
        ValueError: a margin without a gap.
    """
    losses = _losses(distances_i, distances_j, outcome, beta=beta, margin=margin, gap=gap)
    return mean_where(losses, torch.ones_like(losses))


def inbatch_preference_loss(
    distances: Tensor, levels: Tensor, *, beta: float = 5.0, ties: Ties = "drop", margin: float = 0.0
) -> Tensor:
    """Returns eq. 3 averaged over all pairs of a batch: B (B - 1) / 2 comparisons for B forward passes.

    A batch without a pair to compare gives a zero that still has a graph.

    Args:
        distances: Cosine distances to the reference ``[B]``.
        levels: Severity levels ``[B]``.
        beta: Steepness.
        ties: ``drop`` leaves pairs of equal level out; ``half`` draws their distances together.
        margin: gamma, how far the logit must be ahead per level of difference.
    """
    first, second = torch.triu_indices(len(distances), len(distances), offset=1, device=distances.device)
    difference = levels[first] - levels[second]
    outcome = 0.5 * (difference.sign() + 1)
    losses = _losses(distances[first], distances[second], outcome, beta=beta, margin=margin, gap=difference.abs())
    return mean_where(losses, difference != 0 if ties == "drop" else torch.ones_like(losses))


def _losses(
    distances_i: Tensor, distances_j: Tensor, outcome: Tensor, *, beta: float, margin: float, gap: Tensor | None
) -> Tensor:
    if margin and gap is None:
        raise ValueError("expected the gap in levels of each pair with a margin, found None: give gap=|y_i - y_j|")
    logits = beta * (full_precision(distances_i) - full_precision(distances_j))
    lead = margin * gap if gap is not None else torch.zeros_like(logits)
    won = outcome.to(logits.dtype)
    return won * softplus(lead - logits) + (1 - won) * softplus(lead + logits)
