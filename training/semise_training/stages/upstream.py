"""What the stages that learn a representation share: images, batches, the optimiser of encoder and heads, monitors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semise_sdk.errors import TrainingError
from semise_sdk.metrics import auroc_healthy, evaluation_pairs, kendall_tau, pair_accuracy
from semise_sdk.severity.reference_bank import MAX_REFERENCES, ReferenceBank
from semise_training.augment import Augmenter
from semise_training.data.dataset import Dataset
from semise_training.loop import monitors
from semise_training.network.device import Compute
from semise_training.network.embedding import Vectors, embed, to_device
from semise_training.network.model import TrainingModel
from semise_training.sections import OptimizerConfig
from semise_training.seeds import derived_seed

# Its place among the extras, the same in every stage that trains one.
GRADE_HEAD = "grade"


@dataclass(frozen=True, slots=True)
class Upstream:
    """What a representation-learning stage works on."""

    model: TrainingModel
    dataset: Dataset
    augmenter: Augmenter
    compute: Compute
    seed: int

    def augmented(self, indices: NDArray[np.int64], *, seed: int) -> Tensor:
        """Returns augmented float planes ``[N, 3, H, W]`` of the images at ``indices``."""
        planes: Tensor = self.augmenter(to_device(self.dataset.canvases, indices, self.compute), seed=seed)
        return planes

    def original(self, indices: NDArray[np.int64]) -> Tensor:
        """Returns float planes ``[N, 3, H, W]`` of the images as they are."""
        pixels = to_device(self.dataset.canvases, indices, self.compute)
        return pixels.float().permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def levels(self, indices: NDArray[np.int64]) -> Tensor:
        """Returns the severity levels of the images at ``indices`` on the training device."""
        return torch.from_numpy(self.dataset.levels[indices]).to(self.compute.device)

    def healthy_vectors(self, *, full_precision: bool = False) -> Vectors:
        """Returns the vectors of at most MAX_REFERENCES healthy training images, in eval mode."""
        healthy = self.dataset.healthy("train")
        chosen = np.random.default_rng(self.seed).permutation(healthy)[:MAX_REFERENCES]
        compute = self.compute.full_precision() if full_precision else self.compute
        return embed(self.model.network, self.dataset, np.sort(chosen), compute=compute)


@torch.no_grad()
def centre_projection(upstream: Upstream) -> None:
    """Centres g on the mean feature of the training images, unlabeled ones too, as f is now, in eval mode."""
    images = np.concatenate([upstream.dataset.parts["train"], upstream.dataset.unlabeled])
    vectors = embed(upstream.model.network, upstream.dataset, images, compute=upstream.compute.full_precision())
    mean = torch.from_numpy(vectors.embedding.mean(axis=0))
    upstream.model.network.projection.get_buffer("centre").copy_(mean)


def add_grade_head(upstream: Upstream, *, stage: str) -> nn.Linear:
    """Returns a linear grade classifier on f, new among the model's extras, whose start the stage's name decides."""
    torch.manual_seed(derived_seed(upstream.seed, stage, "head"))
    head = nn.Linear(upstream.model.network.encoder.feature_dim, upstream.dataset.classes)
    upstream.model.extras[GRADE_HEAD] = head.to(upstream.compute.device)
    return head


def build_optimizer(model: TrainingModel, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Returns the optimiser of encoder, heads and extras; each group remembers its base rate for the schedule."""
    network = model.network
    heads = [*network.projection.parameters(), *network.severity.parameters(), *model.extras.parameters()]
    if model.ntxent_head is not None:
        heads += list(model.ntxent_head.parameters())
    return two_rate_optimizer(network.encoder.parameters(), heads, config)


def two_rate_optimizer(
    encoder: Iterable[nn.Parameter], heads: Iterable[nn.Parameter], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Returns the optimiser of an encoder at ``config.lr`` and of what is on top of it at ``config.head_lr``."""
    groups = [
        {"params": list(encoder), "lr": config.lr, "base_lr": config.lr},
        {"params": list(heads), "lr": config.head_lr, "base_lr": config.head_lr},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay)


def batched(rows: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yields full batches of ``rows``; the rest, too small to contrast in, is left out."""
    for start in range(0, len(rows) - batch_size + 1, batch_size):
        yield rows[start : start + batch_size]


def validation_monitors(upstream: Upstream, *, stage: str, of_projection: bool = False) -> dict[str, object]:
    """Returns how the score stands on validation images (method: section 7).

    ``of_projection`` measures on g's outputs, which phase 1 trains while h is still at its start.

    Raises:
        TrainingError: the network diverged, or gives all validation images the same vector.
    """
    validation = embed(
        upstream.model.network, upstream.dataset, upstream.dataset.parts["val"], compute=upstream.compute
    )
    healthy = upstream.healthy_vectors()
    scored, references = (
        (validation.projected, healthy.projected) if of_projection else (validation.severity, healthy.reference)
    )
    if monitors.has_single_direction(torch.from_numpy(scored)):
        raise TrainingError(
            f"{stage}: the encoder collapsed, all validation images get the same vector: "
            "lower the learning rate, raise the batch size or choose another preset"
        )
    rankme = round(monitors.rankme(torch.from_numpy(validation.embedding)), 3)
    return {"rankme": rankme, **_severity_figures(upstream, scored, references)}


def unordered_monitors(upstream: Upstream, *, stage: str, of_projection: bool = False) -> dict[str, object]:
    """Returns the same but ``monotone_radius``, for a loss that puts no grade farther from healthy than another."""
    figures = validation_monitors(upstream, stage=stage, of_projection=of_projection)
    return {name: figure for name, figure in figures.items() if name != "monotone_radius"}


def _severity_figures(
    upstream: Upstream, scored: NDArray[np.float32], references: NDArray[np.float32]
) -> dict[str, object]:
    levels = upstream.dataset.levels[upstream.dataset.parts["val"]]
    distances = ReferenceBank(references).severity(scored)
    radius = monitors.severity_radius(distances, levels)
    return {
        "uniformity": round(monitors.uniformity(torch.from_numpy(scored)), 4) if len(scored) > 1 else None,
        "kendall_tau": kendall_tau(levels, distances),
        "auroc_healthy": auroc_healthy(levels, distances),
        "pair_accuracy": pair_accuracy(distances, evaluation_pairs(levels, seed=upstream.seed)),
        "radius": {str(level): round(value, 5) for level, value in radius.items()},
        "monotone_radius": monitors.is_monotone(radius),
    }
