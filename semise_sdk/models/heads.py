"""g, h and the grade classifier: the small networks on top of the encoder's pooled feature."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from semise_sdk.spec import ClassifierHead


class SeverityHead(nn.Module):
    """h of the paper, 256-256-256 on g's output.

    With ``residual`` it is ``h(u) = u + MLP(u)`` whose last layer starts at zero, so that phase 2 starts from
    the geometry that phase 1 found; without, the paper's plain MLP.
    """

    def __init__(self, width: int, *, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.mlp = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width), nn.ReLU(inplace=True)
        )
        self.last = nn.Linear(width, width)
        if residual:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, projected: Tensor) -> Tensor:
        """Returns the severity vectors ``[..., D]`` of g's outputs ``[..., D]``."""
        moved: Tensor = self.last(self.mlp(projected))
        return projected + moved if self.residual else moved


class CentredLinear(nn.Linear):
    """A linear layer on ``x - centre``; ``centre [F]`` is measured, not learned, and starts at zero.

    An encoder's features share a large mean. On them as they are the cosines of all vectors begin near 1, where the
    losses on angles have no gradient, and every step moves all vectors alike.
    """

    centre: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("centre", torch.zeros(in_features))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        # Runs and bundles of before there was a centre hold none: theirs is zero.
        state_dict.setdefault(f"{prefix}centre", torch.zeros_like(self.centre))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, features: Tensor) -> Tensor:
        """Returns ``[..., out_features]`` of ``[..., in_features]``."""
        return super().forward(features - self.centre)


def projection_head(feature_dim: int, vector_dim: int) -> CentredLinear:
    """Returns g of the paper: ``Linear(F, D)``, on features that may be centred."""
    return CentredLinear(feature_dim, vector_dim)


def grade_classifier(
    feature_dim: int, hidden: tuple[int, int], classes: int, *, head: ClassifierHead = "softmax"
) -> nn.Sequential:
    """Returns the paper's classifier: Linear-ReLU-Linear-ReLU-Dropout(0.3)-Linear, ``[N, F] -> [N, K]``.

    With ``corn`` the last Linear gives K - 1 conditional logits, and a :class:`CornLogits` follows it.
    """
    first, second = hidden
    layers = [
        nn.Linear(feature_dim, first),
        nn.ReLU(inplace=True),
        nn.Linear(first, second),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
    ]
    if head == "softmax":
        return nn.Sequential(*layers, nn.Linear(second, classes))
    return nn.Sequential(*layers, nn.Linear(second, classes - 1), CornLogits())


class CornLogits(nn.Module):
    """Turns the K - 1 conditional logits of CORN into K class logits (Shi, Cao and Raschka 2021, arXiv 2111.08851).

    Conditional logit k is that of ``P(y > k | y > k - 1)``. The class logits are log-probabilities, so that softmax
    gives the probabilities back; ``inverse_temperature`` scales them.
    """

    inverse_temperature: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inverse_temperature", torch.ones(1))

    def forward(self, conditional: Tensor) -> Tensor:
        """Returns the class logits ``[N, K]`` of conditional logits ``[N, K - 1]``; finite for finite ones."""
        goes_on, stops = -_softplus(-conditional), -_softplus(conditional)
        # log P(y = k) = log P(y > k - 1) + log P(stops at k): nothing precedes the first, nothing stops the last.
        before, last = pad(torch.cumsum(goes_on, dim=1), (1, 0)), pad(stops, (0, 1))
        return (before + last) * self.inverse_temperature


def conditional_logits(classifier: nn.Sequential, embedding: Tensor) -> Tensor:
    """Returns the K - 1 conditional logits ``[N, K - 1]`` of a ``corn`` classifier, before its :class:`CornLogits`."""
    logits: Tensor = classifier[:-1](embedding)
    return logits


def _softplus(values: Tensor) -> Tensor:
    # Spelt out: engines differ in where their own softplus overflows, and this form has no such place.
    return torch.relu(values) + torch.log(1 + torch.exp(-values.abs()))
