"""Cosine geometry at full precision, whatever precision the network ran in."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    """Returns ``1 - cos`` of vectors ``[..., D]`` and ``[..., D]`` as ``[...]``, 0 to 2 up to rounding.

    The result is float32 (float64 for float64 vectors), also under autocast. A zero vector is at distance 1 from all.
    """
    return 1 - (unit_vectors(first) * unit_vectors(second)).sum(dim=-1)


def cosine_similarities(first: Tensor, second: Tensor) -> Tensor:
    """Returns the cosines ``[N, M]`` of every row of ``[N, D]`` with every row of ``[M, D]``, at full precision."""
    # Autocast would run this product in bf16, whose step near 1 is 0.004: as much as many severity differences.
    with torch.autocast(first.device.type, enabled=False):
        return unit_vectors(first) @ unit_vectors(second).T


def unit_vectors(vectors: Tensor) -> Tensor:
    """Returns ``[..., D]`` scaled to length 1, at full precision."""
    return normalize(full_precision(vectors), dim=-1, eps=1e-8)


def full_precision(values: Tensor) -> Tensor:
    """Returns half-precision values as float32 and all others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
