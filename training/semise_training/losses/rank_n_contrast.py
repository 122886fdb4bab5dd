"""Rank-N-Contrast (Zha et al. 2023, arXiv 2210.01189, eq. 2): the nearer two levels, the nearer the vectors."""

import torch
from torch import Tensor

from semise_training.losses.distance import cosine_similarities
from semise_training.losses.reduction import mean_where


def rank_n_contrast_loss(vectors: Tensor, levels: Tensor, *, temperature: float = 0.2) -> Tensor:
    """Returns how hard it is to tell an anchor's partner from all images whose level is at least as far away.

    ``mean over i != j of -log( exp(s_ij / t) / sum_{k in S_ij} exp(s_ik / t) )`` with
    ``S_ij = {k != i: |y_i - y_k| >= |y_i - y_j|}`` and ``s = cos``, as severity is a cosine distance (the paper leaves
    the similarity open and trains with a Euclidean one). Fewer than two images give a zero that still has a graph.

    Args:
        vectors: v, ``[B, D]``.
        levels: y, int ``[B]``.
        temperature: t.
    """
    similarities = cosine_similarities(vectors, vectors) / temperature
    gaps = (levels[:, None] - levels[None, :]).abs()
    others = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    # S_ij depends on j through the gap alone, and there are few gaps: one denominator for each instead of B.
    distinct = torch.unique(gaps)
    denominators = _log_sums(similarities, [others & (gaps >= gap) for gap in distinct])
    losses = denominators.gather(1, torch.searchsorted(distinct, gaps)) - similarities
    return mean_where(losses, others)


def _log_sums(similarities: Tensor, compared: list[Tensor]) -> Tensor:
    """Returns ``[B, G]``: the logarithm of each row's summed exponentials over each of G sets of columns."""
    # A finite floor: the gradient of an empty sum would be NaN, and a NaN times 0 stays one.
    floor = torch.finfo(similarities.dtype).min
    sums = [similarities.masked_fill(~kept, floor).logsumexp(dim=1) for kept in compared]
    return torch.stack(sums, dim=1) if sums else similarities
