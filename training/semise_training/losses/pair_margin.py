"""Eq. 1, the pair margin loss of phase 1 (Hadsell, Chopra and LeCun 2006) on cosine distance."""

import torch
from torch import Tensor
from torch.nn.functional import relu

from semise_training.losses.distance import cosine_distance, cosine_similarities
from semise_training.losses.reduction import mean_where

MAX_COSINE_DISTANCE = 2.0


def pair_margin_loss(u: Tensor, v: Tensor, similar: Tensor, *, margin: float = 1.0) -> Tensor:
    """Returns eq. 1, ``1/2 mean(y D^2 + (1 - y) relu(m - D)^2)`` with ``D = 1 - cos(u, v)``.

    Args:
        u: First vectors ``[P, D]``.
        v: Second vectors ``[P, D]``.
        similar: y, bool ``[P]``; True draws the pair together.
        margin: m, the distance beyond which a dissimilar pair costs nothing; 1 makes it orthogonal.
    """
    penalties = _penalties(cosine_distance(u, v), similar, margin)
    return mean_where(penalties, torch.ones_like(similar))


def class_pair_loss(
    vectors: Tensor,
    classes: Tensor,
    *,
    margin: float = 1.0,
    margin_per_level: float = 0.0,
    image_ids: Tensor | None = None,
) -> Tensor:
    """Returns eq. 1 over all B (B - 1) / 2 pairs of a batch, similar meaning of the same class.

    Similar and dissimilar pairs weigh one half each, whatever their numbers, as in the paper's half-and-half draw; a
    batch with pairs of one kind only gives eq. 1 of those, one without pairs a zero that still has a graph.

    Args:
        vectors: ``[B, D]``.
        classes: int ``[B]``; ``levels > 0`` for healthy against anomalous, the levels themselves for n classes.
        margin: m of pairs of neighbouring classes.
        margin_per_level: What m grows by for each further level between the two, up to the largest distance, 2.
        image_ids: int ``[B]``; two views of one image are no pair.
    """
    first, second = torch.triu_indices(len(vectors), len(vectors), offset=1, device=vectors.device)
    distances = 1 - cosine_similarities(vectors, vectors)[first, second]
    gaps = (classes[first].long() - classes[second].long()).abs()
    similar = gaps == 0
    margins = (margin + margin_per_level * (gaps - 1)).clamp(max=MAX_COSINE_DISTANCE)
    penalties = _penalties(distances, similar, margins)
    counted = torch.ones_like(similar) if image_ids is None else image_ids[first] != image_ids[second]
    kinds = torch.stack([similar & counted, ~similar & counted])
    means = torch.stack([mean_where(penalties, kind) for kind in kinds])
    return mean_where(means, kinds.any(dim=1))


def _penalties(distances: Tensor, similar: Tensor, margin: float | Tensor) -> Tensor:
    return 0.5 * torch.where(similar, distances, relu(margin - distances)).square()
