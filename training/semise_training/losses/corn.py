"""CORN (Shi, Cao and Raschka 2021, arXiv 2111.08851): each level asks those above the last a yes-or-no question."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from semise_training.losses.distance import full_precision


def corn_loss(conditional: Tensor, levels: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
    """Returns the mean cross-entropy of the questions "is it above level k, given that it is above level k - 1?".

    Question k is put to the images of level k or more, ``S_k``; the mean is over all ``sum_k |S_k|`` answers, each
    with the weight of its image's class.

    Args:
        conditional: Logits of the K - 1 conditional probabilities, ``[N, K - 1]``.
        levels: int ``[N]``, 0 to K - 1.
        class_weights: Weight of each class, ``[K]``; None for equal ones.
    """
    logits = full_precision(conditional)
    questions = torch.arange(logits.shape[1], device=logits.device)
    is_above = (levels[:, None] > questions).to(logits.dtype)
    asked = (levels[:, None] >= questions).to(logits.dtype)
    weights = asked if class_weights is None else asked * class_weights[levels][:, None]
    losses = binary_cross_entropy_with_logits(logits, is_above, reduction="none")
    return (losses * weights).sum() / weights.sum()
