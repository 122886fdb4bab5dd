"""What is watched while training: the shape of the embedding, the order of severities, and what has gone wrong."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semise_sdk.errors import TrainingError
from semise_training.losses.distance import unit_vectors

COLLAPSE_THRESHOLD = 0.02


def rankme(embeddings: Tensor) -> float:
    """Returns the effective rank of embeddings ``[N, D]``, 1 to min(N, D); 0 if all are zero.

    The exponential of the entropy of the singular values' shares (Garrido et al. 2023, arXiv 2210.02885).
    """
    singular = torch.linalg.svdvals(embeddings.double())
    total = singular.sum()
    if total == 0:
        return 0.0
    # 1e-7 is the paper's; it keeps the logarithm of an absent direction finite.
    shares = singular / total + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


def alignment(first: Tensor, second: Tensor) -> float:
    """Returns how far two views ``[N, D]`` of the same images lie apart, 0 to 4; 0 is perfect.

    Mean squared distance of unit vectors (Wang and Isola 2020, arXiv 2005.10242, alpha = 2).
    """
    gaps = unit_vectors(first) - unit_vectors(second)
    return float(gaps.square().sum(dim=1).mean())


def uniformity(embeddings: Tensor) -> float:
    """Returns how evenly ``[N, D]`` covers the sphere, -8 to 0; lower is more even, 0 is a single point.

    ``log mean exp(-2 |x - y|^2)`` over pairs of unit vectors (Wang and Isola 2020, arXiv 2005.10242, t = 2).

    Raises:
        ValueError: fewer than two embeddings.
    """
    if len(embeddings) < 2:
        raise ValueError(f"expected at least 2 embeddings, found {len(embeddings)}")
    squared = torch.pdist(unit_vectors(embeddings)).square()
    return float(torch.logsumexp(-2 * squared, dim=0) - math.log(len(squared)))


def has_single_direction(embeddings: Tensor, *, threshold: float = COLLAPSE_THRESHOLD) -> bool:
    """Returns whether all embeddings ``[N, D]`` point the same way, so that nothing can be told apart.

    That is: the standard deviation of the unit vectors about their mean, 0 to 1, is below ``threshold``. It was 0.11
    or more for every untrained timm network tried and 0.7 for ImageNet weights, and rounding to bf16 makes 0.002.
    Rank is no criterion: two points, or a line from healthy to severe, is what the severity losses ask for. A single
    embedding says nothing: False.
    """
    if len(embeddings) < 2:
        return False
    directions = unit_vectors(embeddings.double())
    spread = (directions - directions.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    return bool(spread < threshold)


def severity_radius(distances: NDArray[np.floating], levels: NDArray[np.integer]) -> dict[int, float]:
    """Returns the mean distance to the healthy reference of each severity level, in ascending order of level."""
    return {int(level): float(distances[levels == level].mean()) for level in np.unique(levels)}


def is_monotone(radius: Mapping[int, float]) -> bool:
    """Returns whether every severity level lies farther from the reference than all lower ones."""
    in_order = [radius[level] for level in sorted(radius)]
    return all(nearer < farther for nearer, farther in itertools.pairwise(in_order))


def gradient_norms(terms: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> dict[str, float]:
    """Returns the length of each loss term's gradient on ``parameters``; the graph stays usable for backward.

    A term that does not depend on them has length 0. No gradient is accumulated into ``parameters``.
    """
    return {name: _gradient_norm(term, parameters) for name, term in terms.items()}


def raise_if_broken(loss_value: float, step: int, phase: str) -> None:
    """Checks that a loss is a finite number.

    Raises:
        TrainingError: it is NaN or infinite.
    """
    if not math.isfinite(loss_value):
        raise TrainingError(
            f"expected a finite loss, found {loss_value} at step {step} of {phase}: training diverged; lower the "
            "learning rate or train in fp32, and check the images with `semise data check`"
        )


def _gradient_norm(term: Tensor, parameters: Sequence[Tensor]) -> float:
    if not term.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    squares = [float(each.double().square().sum()) for each in gradients if each is not None]
    return math.sqrt(sum(squares))
