"""The supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, eq. 2: ``L_out``)."""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from semise_training.losses.distance import cosine_similarities
from semise_training.losses.reduction import mean_where


def supcon_loss(vectors: Tensor, classes: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Returns how hard it is to tell the other images of an anchor's class from all other images of the batch.

    ``mean_i -1/|P(i)| sum_{p in P(i)} log( exp(cos(z_i, z_p) / t) / sum_{a != i} exp(cos(z_i, z_a) / t) )`` over the
    anchors i that have a positive, P(i) being the others of its class. With two views of each image, each image a
    class of its own, it is SimCLR's NT-Xent. A batch without positives gives a zero that still has a graph.

    Args:
        vectors: z, ``[B, D]``.
        classes: int ``[B]``.
        temperature: t.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    positive = (classes[:, None] == classes[None, :]) & ~itself
    # A finite floor: -inf would make NaN of 0 * log p where an image is compared with itself.
    logits = (cosine_similarities(vectors, vectors) / temperature).masked_fill(itself, -1e9)
    log_shares = log_softmax(logits, dim=1)
    counts = positive.sum(dim=1)
    losses = -(log_shares * positive).sum(dim=1) / counts.clamp(min=1)
    return mean_where(losses, counts > 0)
