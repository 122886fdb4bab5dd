"""The running average of a network's weights, which is what is deployed."""

import torch
from torch import nn

WARM_UP = 10


def warmed_decay(decay: float, updates: int) -> float:
    """Returns the share that the average keeps at an update: ``min(decay, (1 + n) / (10 + n))`` after n updates.

    The cap lets the average of a run of a few hundred steps forget its start, which ``decay`` alone would not.
    """
    return min(decay, (1 + updates) / (WARM_UP + updates))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Moves ``average`` towards ``network``: ``decay * average + (1 - decay) * network``, tensor by tensor.

    BatchNorm's running statistics move alike, as they belong to the weights that they were measured with; counters are
    copied.
    """
    for mean, current in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(current, 1 - decay)
        else:
            mean.copy_(current)
