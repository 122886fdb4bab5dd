"""How the losses of pairs become one number."""

from torch import Tensor


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """Returns the mean of ``values`` where ``counted``; where nothing is, a zero that still has a graph.

    Nothing is selected, only weighted by 0 or 1: a selection would make a GPU wait for its size.
    """
    weights = counted.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)
