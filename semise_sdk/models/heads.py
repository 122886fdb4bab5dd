"""g, h and the grade classifier: the small networks on top of the encoder's pooled feature."""

from torch import Tensor, nn


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


def projection_head(feature_dim: int, vector_dim: int) -> nn.Linear:
    """Returns g of the paper: ``Linear(F, D)``."""
    return nn.Linear(feature_dim, vector_dim)


def grade_classifier(feature_dim: int, hidden: tuple[int, int], classes: int) -> nn.Sequential:
    """Returns the paper's classifier: Linear-ReLU-Linear-ReLU-Dropout(0.3)-Linear, ``[N, F] -> [N, K]``."""
    first, second = hidden
    return nn.Sequential(
        nn.Linear(feature_dim, first),
        nn.ReLU(inplace=True),
        nn.Linear(first, second),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Linear(second, classes),
    )
