"""Vectors of whole parts of the data set, in eval mode: for references, monitors and cached features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semise_sdk.errors import TrainingError
from semise_sdk.models.network import SemiSeNetwork
from semise_training.data.dataset import Dataset
from semise_training.network.device import Compute, in_full_precision

BATCH = 32


@dataclass(frozen=True, slots=True)
class Vectors:
    """float32 vectors of n images.

    Args:
        embedding: f's pooled features ``[n, F]``.
        projected: g's outputs ``[n, D]``, which phase 1 trains.
        severity: severity vectors ``[n, D]``.
        reference: what each contributes as a reference ``[n, D]``.
    """

    embedding: NDArray[np.float32]
    projected: NDArray[np.float32]
    severity: NDArray[np.float32]
    reference: NDArray[np.float32]


def embed(network: SemiSeNetwork, dataset: Dataset, indices: NDArray[np.int64], *, compute: Compute) -> Vectors:
    """Returns the vectors of the images at ``indices`` without augmentation; leaves the network in eval mode.

    Raises:
        TrainingError: they are not finite.
    """
    network.eval()
    batches = [_embed_batch(network, pixels, compute) for pixels in pixel_batches(dataset, indices, compute)]
    vectors = Vectors(*(np.concatenate(column) for column in zip(*batches, strict=True)))
    if not (np.isfinite(vectors.embedding).all() and np.isfinite(vectors.severity).all()):
        raise TrainingError("the network's outputs are not finite, training diverged: lower the learning rate")
    return vectors


def pixel_batches(dataset: Dataset, indices: NDArray[np.int64], compute: Compute) -> Iterator[Tensor]:
    """Yields uint8 batches ``[B, H, W, 3]`` on the training device."""
    for start in range(0, len(indices), BATCH):
        yield to_device(dataset.canvases, indices[start : start + BATCH], compute)


def to_device(images: NDArray[np.uint8], indices: NDArray[np.int64], compute: Compute) -> Tensor:
    """Returns the uint8 images at ``indices`` on the training device."""
    # A memory map gives read-only views; fancy indexing copies, which torch needs.
    return torch.from_numpy(np.ascontiguousarray(images[indices])).to(compute.device, non_blocking=True)


def _embed_batch(network: SemiSeNetwork, pixels: Tensor, compute: Compute) -> list[NDArray[np.float32]]:
    with torch.inference_mode(), compute.autocast():
        embedding = network.encoder(pixels).embedding.float()
    with torch.inference_mode(), in_full_precision(embedding):
        projected = network.projection(embedding)
        severity = network.severity(projected)
    reference = severity if network.config.reference_head == "severity" else projected
    return [vectors.cpu().numpy() for vectors in (embedding, projected, severity, reference)]
