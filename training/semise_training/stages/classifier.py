"""The grade classifier on cached features of the frozen encoder."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semise_sdk.metrics import macro_f1, maee, majority_fraction
from semise_sdk.models.heads import conditional_logits
from semise_training.config import ClassifierConfig
from semise_training.losses import corn_loss
from semise_training.network.embedding import embed
from semise_training.network.model import TrainingModel
from semise_training.seeds import derived_seed
from semise_training.stages.upstream import Upstream


@dataclass(frozen=True, slots=True)
class HeadFeatures:
    """What classifiers are trained and selected on, on the training device; computed once for any number of them.

    Args:
        training: f's frozen features ``[V, n, F]``: of the images as they are, then of augmented views.
        levels: Severity ``[n]`` of the training images.
        validation: Features ``[m, F]`` of the validation images.
        validation_levels: Severity ``[m]`` of the validation images.
    """

    training: Tensor
    levels: Tensor
    validation: Tensor
    validation_levels: NDArray[np.int64]


class ClassifierStage:
    """Class-weighted cross-entropy or CORN on f's frozen features; weights come from the training labels only.

    ``features``, ``classifier`` and ``seed`` are computed from ``upstream``, its network's own, and its own, unless
    they are given.
    """

    name = "classifier"
    selection: str | None = "macro_f1"

    def __init__(
        self,
        upstream: Upstream,
        config: ClassifierConfig,
        *,
        features: HeadFeatures | None = None,
        classifier: nn.Sequential | None = None,
        seed: int | None = None,
    ) -> None:
        self.config = config
        self.epochs = config.epochs
        self.seed = upstream.seed if seed is None else seed
        self.model = upstream.model
        self.classifier = upstream.model.network.classifier if classifier is None else classifier
        self.trained: nn.Module = self.classifier
        self.optimizer = single_group_adamw(self.trained, lr=config.lr, weight_decay=config.weight_decay)
        self.classes = upstream.dataset.classes
        self.device = upstream.compute.device
        cached = head_features(upstream, augmented_views=config.augmented_views) if features is None else features
        self.features, self.levels = cached.training, cached.levels
        self.val_features, self.val_levels = cached.validation, cached.validation_levels
        self.class_weights = class_weights(self.levels, self.classes) if config.class_weighted else None

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""
        return math.ceil(len(self.levels) / self.config.batch_size)

    def begin_epoch(self, epoch: int) -> None:
        """Sets the classifier's training mode; the rest stays frozen in eval mode."""
        self.model.eval()
        self.trained.train()

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Yields ``[B, 2]``: the row of an image and which of its cached views."""
        random = np.random.default_rng(derived_seed(self.seed, self.name, epoch, "order"))
        rows = random.permutation(len(self.levels))
        views = random.integers(len(self.features), size=len(rows))
        pairs = np.stack([rows, views], axis=1)
        for start in range(0, len(rows), self.config.batch_size):
            yield pairs[start : start + self.config.batch_size]

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the cross-entropy of a batch, or its CORN loss."""
        rows, views = torch.from_numpy(batch.T.copy()).to(self.device)
        features, levels = self.features[views, rows], self.levels[rows]
        if self.config.head == "corn":
            conditional = conditional_logits(self.classifier, features)
            return {"corn": corn_loss(conditional, levels, class_weights=self.class_weights)}
        logits = self.trained(features).float()
        return {"cross_entropy": nn.functional.cross_entropy(logits, levels, self.class_weights)}

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns macro-F1, MAEE and the majority fraction on validation data."""
        self.trained.eval()
        with torch.inference_mode():
            predicted = self.trained(self.val_features).argmax(dim=1).cpu().numpy()
        return {
            "macro_f1": macro_f1(self.val_levels, predicted, num_classes=self.classes),
            "maee": maee(self.val_levels, predicted),
            "majority_fraction": majority_fraction(predicted),
        }


def class_weights(levels: Tensor, classes: int) -> Tensor:
    """Returns the weight ``[K]`` of each class: N / (K n), so that every class counts the same in the loss."""
    counts = torch.bincount(levels, minlength=classes).float()
    return counts.sum() / (classes * counts.clamp(min=1))


def head_features(upstream: Upstream, *, augmented_views: int) -> HeadFeatures:
    """Returns the features of the training images, also augmented, and of the validation images, as f is deployed."""
    train, val = upstream.dataset.parts["train"], upstream.dataset.parts["val"]
    return HeadFeatures(
        training=all_views(upstream, train, augmented_views=augmented_views),
        levels=upstream.levels(train),
        validation=_clean_features(upstream, val),
        validation_levels=upstream.dataset.levels[val],
    )


def all_views(upstream: Upstream, indices: NDArray[np.int64], *, augmented_views: int) -> Tensor:
    """Returns ``[1 + augmented_views, n, F]``: fp32 features of the images as they are, then of augmented views."""
    seeds = [derived_seed(upstream.seed, "classifier view", view) for view in range(augmented_views)]
    augmented = [augmented_features(upstream, indices, seed=seed) for seed in seeds]
    return torch.stack([_clean_features(upstream, indices), *augmented])


def _clean_features(upstream: Upstream, indices: NDArray[np.int64]) -> Tensor:
    # A classifier chosen on bf16 features was seen to lose 8 points of macro-F1 on those of the deployed encoder.
    compute = upstream.compute.full_precision()
    vectors = embed(upstream.model.network, upstream.dataset, indices, compute=compute)
    return torch.from_numpy(vectors.embedding).to(upstream.compute.device)


def augmented_features(upstream: Upstream, indices: NDArray[np.int64], *, seed: int, batch: int = 32) -> Tensor:
    """Returns the frozen encoder's features ``[n, F]`` of augmented views of the images at ``indices``."""
    network, compute = upstream.model.network.eval(), upstream.compute.full_precision()
    features = []
    for start in range(0, len(indices), batch):
        planes = upstream.augmented(indices[start : start + batch], seed=derived_seed(seed, start))
        with torch.inference_mode(), compute.autocast():
            features.append(network.encoder.features(planes).embedding.float())
    return torch.cat(features)


def single_group_adamw(module: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Returns AdamW over a module, with the base rate that the schedule scales."""
    group = {"params": list(module.parameters()), "lr": lr, "base_lr": lr}
    return torch.optim.AdamW([group], weight_decay=weight_decay)


def frozen_model(model: TrainingModel) -> None:
    """Switches gradients off for everything but the classifier and the U-Net decoder."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("network.classifier.", "network.unet.")))
