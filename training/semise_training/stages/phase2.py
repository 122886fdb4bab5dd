"""Phase 2: NT-Xent on two views (eq. 2) beside the preference loss (eq. 3), with further terms that may join them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semise_sdk.severity.reference_bank import mean_direction
from semise_training.data.pairing import balanced_batches, sampled_pairs, unlabeled_batches
from semise_training.data.size import DataSize
from semise_training.loop.monitors import alignment, gradient_norms
from semise_training.losses import (
    CHANCE_PREFERENCE,
    chance_ntxent,
    class_pair_loss,
    cosine_distance,
    inbatch_preference_loss,
    ntxent_loss,
    preference_loss,
    rank_n_contrast_loss,
)
from semise_training.sections import OptimizerConfig, Phase2Config
from semise_training.seeds import derived_seed
from semise_training.stages.upstream import (
    GRADE_HEAD,
    Upstream,
    add_grade_head,
    batched,
    build_optimizer,
    validation_monitors,
)


@dataclass(frozen=True, slots=True)
class Projected:
    """g's outputs of one batch: the labeled images, both views of NT-Xent's images, and the references.

    ``features`` are f's of the labeled images.
    """

    features: Tensor
    labeled: Tensor
    first_view: Tensor
    second_view: Tensor
    references: Tensor


@dataclass(frozen=True, slots=True)
class Contrasted:
    """The images of a step's first view, and the ``places`` among them whose second view NT-Xent takes."""

    first: NDArray[np.int64]
    places: NDArray[np.int64]

    @property
    def second(self) -> NDArray[np.int64]:
        """The images of the second view."""
        return self.first[self.places]


class Phase2:
    """alpha * NT-Xent + (1 - alpha) * preference + class_pair_weight * eq. 1, and what else has a weight."""

    name = "phase2"
    selection: str | None = None

    def __init__(self, upstream: Upstream, config: Phase2Config, optimizer: OptimizerConfig) -> None:
        self.upstream = upstream
        self.config = config
        self.epochs = config.epochs
        self.model = upstream.model
        if config.cross_entropy_weight > 0:
            add_grade_head(upstream, stage=self.name)
        self.optimizer = build_optimizer(upstream.model, optimizer)
        self.train = upstream.dataset.parts["train"]
        self.reference: Tensor | None = None
        self.unlabeled: Iterator[NDArray[np.int64]] = iter(())
        self.first_batch: dict[str, object] = {}

    @property
    def trained(self) -> nn.Module:
        """Encoder, g and h."""
        return self.model

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""
        return self.config.batches(len(self.train))

    def begin_epoch(self, epoch: int) -> None:
        """Measures the mean healthy direction in eval mode, then sets the training mode."""
        if self.config.preference.reference == "mean":
            direction = mean_direction(self.upstream.healthy_vectors().reference)
            self.reference = torch.from_numpy(direction).float().to(self.upstream.compute.device)
        self.unlabeled = self._unlabeled_batches(epoch)
        self.first_batch = {}
        self.model.train()

    def _unlabeled_batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        indices = self.upstream.dataset.unlabeled
        if not len(indices) or self.config.alpha == 0 or not self.config.ntxent.takes_unlabeled:
            return iter(())
        seed, steps = derived_seed(self.upstream.seed, self.name, "unlabeled"), self.steps_per_epoch()
        return unlabeled_batches(indices, batch_size=self.config.batch_size, seed=seed, epoch=epoch, batches=steps)

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Yields ``[B]`` class-balanced images, or ``[P, 2]`` sampled pairs."""
        levels = self.upstream.dataset.levels[self.train]
        seed, steps, size = derived_seed(self.upstream.seed, self.name), self.steps_per_epoch(), self.config.batch_size
        if self.config.pairing == "inbatch":
            for rows in balanced_batches(levels, batch_size=size, seed=seed, epoch=epoch, batches=steps):
                yield self.train[rows]
            return
        ties, seed = self.config.preference.ties, derived_seed(seed, epoch)
        pairs = sampled_pairs(levels, count=steps * size, kind="preference", ties=ties, seed=seed)
        yield from batched(self.train[pairs], size)

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the weighted terms of phase 2."""
        labeled = batch.T.reshape(-1)
        contrasted = self._contrasted(labeled)
        projected = self._project(labeled, contrasted, pairs=len(batch), seed=seed)
        terms: dict[str, Tensor] = {}
        if len(contrasted.places) > 1:
            terms["ntxent"] = self.config.alpha * self._ntxent(projected, contrasted)
        if self.config.alpha < 1:
            terms["preference"] = (1 - self.config.alpha) * self._preference(projected, labeled)
        if self.config.class_pair_weight > 0:
            ids = torch.from_numpy(labeled).to(projected.labeled.device)
            terms["pairs"] = weighted_pairs(projected.labeled, self.upstream.levels(labeled), ids, self.config)
        if self.config.cross_entropy_weight > 0:
            terms["cross_entropy"] = self.config.cross_entropy_weight * self._cross_entropy(projected.features, labeled)
        if self.config.rank_n_contrast_weight > 0:
            contrast = self._rank_n_contrast(projected.labeled, labeled)
            terms["rank_n_contrast"] = self.config.rank_n_contrast_weight * contrast
        if not self.first_batch:
            self.first_batch = self._first_batch_figures(terms, projected)
        return terms

    def _contrasted(self, labeled: NDArray[np.int64]) -> Contrasted:
        """Returns the images of NT-Xent: the labeled ones in its scope, then the unlabeled ones."""
        if self.config.alpha == 0:
            return Contrasted(labeled, labeled[:0])
        in_scope = np.full(len(labeled), self.config.ntxent.takes_labeled)
        if self.config.ntxent.scope == "anomalous":
            in_scope = self.upstream.dataset.levels[labeled] > 0
        first = np.concatenate([labeled, next(self.unlabeled, labeled[:0])])
        return Contrasted(first, np.concatenate([np.flatnonzero(in_scope), np.arange(len(labeled), len(first))]))

    def _project(self, labeled: NDArray[np.int64], contrasted: Contrasted, *, pairs: int, seed: int) -> Projected:
        """Returns g's outputs of every image of a step from one encoder pass."""
        is_original = self.config.ntxent.views == "original_aug" and self.config.alpha > 0
        first, second = contrasted.first, contrasted.second
        references = self._reference_images(pairs, seed=seed)
        planes = [self.upstream.original(first) if is_original else self.upstream.augmented(first, seed=seed)]
        if len(second):
            planes.append(self.upstream.augmented(second, seed=derived_seed(seed, "second view")))
        if len(references):
            planes.append(self.upstream.original(references))
        features = self.model.features(torch.cat(planes))
        projected = self.model.projected(features)
        views, second_view, reference = torch.split(projected, [len(first), len(second), len(references)])
        places = torch.from_numpy(contrasted.places).to(views.device)
        return Projected(features[: len(labeled)], views[: len(labeled)], views[places], second_view, reference)

    def _reference_images(self, pairs: int, *, seed: int) -> NDArray[np.int64]:
        if self.config.preference.reference == "mean" or self.config.alpha == 1:
            return self.train[:0]
        healthy = self.upstream.dataset.healthy("train")
        count = pairs if self.config.pairing == "sampled" else 1
        return np.random.default_rng(derived_seed(seed, "reference")).choice(healthy, count)

    def _ntxent(self, projected: Projected, contrasted: Contrasted) -> Tensor:
        options = self.config.ntxent
        loss = ntxent_loss(
            self.model.contrast(projected.first_view),
            self.model.contrast(projected.second_view),
            temperature=options.temperature,
            norm=options.norm,
            ids=self._ids(contrasted.second),
        )
        return loss / chance_ntxent(len(contrasted.second), options.norm) if self.config.balance == "chance" else loss

    def _ids(self, indices: NDArray[np.int64]) -> Tensor | None:
        mask = self.config.ntxent.mask
        if mask == "none":
            return None
        ids = indices if mask == "image" else self.upstream.dataset.groups[indices]
        return torch.from_numpy(ids).to(self.upstream.compute.device)

    def _preference(self, projected: Projected, labeled: NDArray[np.int64]) -> Tensor:
        options = self.config.preference
        vectors = self.model.severity(projected.labeled)
        levels = self.upstream.levels(labeled)
        reference = self._reference_vectors(projected)
        if self.config.pairing == "inbatch":
            distances = cosine_distance(vectors, reference.expand_as(vectors))
            loss = inbatch_preference_loss(
                distances, levels, beta=options.beta, ties=options.ties, margin=options.margin
            )
        else:
            first, second = (cosine_distance(half, reference.expand_as(half)) for half in vectors.chunk(2))
            level_first, level_second = levels.chunk(2)
            outcome = 0.5 * (torch.sign(level_first - level_second).float() + 1)
            gap = (level_first - level_second).abs().float()
            loss = preference_loss(first, second, outcome, beta=options.beta, margin=options.margin, gap=gap)
        return loss / CHANCE_PREFERENCE if self.config.balance == "chance" else loss

    def _reference_vectors(self, projected: Projected) -> Tensor:
        """Returns pi_0: the mean healthy direction, or each pair's random healthy image."""
        if self.reference is not None:
            return self.reference[None]
        through_h = self.model.network.config.reference_head == "severity"
        vectors = self.model.severity(projected.references) if through_h else projected.references
        return vectors.detach() if self.config.preference.detach_reference else vectors

    def _cross_entropy(self, features: Tensor, labeled: NDArray[np.int64]) -> Tensor:
        # Batches hold every grade equally often: no class weights.
        return nn.functional.cross_entropy(
            self.model.extras[GRADE_HEAD](features).float(), self.upstream.levels(labeled)
        )

    def _rank_n_contrast(self, vectors: Tensor, labeled: NDArray[np.int64]) -> Tensor:
        severity, levels = self.model.severity(vectors), self.upstream.levels(labeled)
        return rank_n_contrast_loss(severity, levels, temperature=self.config.rank_n_contrast_temperature)

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns the first batch's figures and the validation monitors."""
        return {**self.first_batch, **validation_monitors(self.upstream, stage=self.name)}

    def _first_batch_figures(self, terms: dict[str, Tensor], projected: Projected) -> dict[str, object]:
        """Returns each term's gradient norm at the projection, and the alignment of the two views."""
        norms = gradient_norms(terms, list(self.model.network.projection.parameters()))
        figures: dict[str, object] = {"gradient_norms": {name: round(value, 6) for name, value in norms.items()}}
        if len(projected.second_view):
            first, second = projected.first_view.detach().float(), projected.second_view.detach().float()
            figures["alignment"] = round(alignment(first, second), 5)
        return figures


def weighted_pairs(vectors: Tensor, levels: Tensor, image_ids: Tensor, config: Phase2Config) -> Tensor:
    """Returns ``class_pair_weight`` times eq. 1 over all pairs of ``vectors [B, D]``, as phase 2 keeps it on."""
    classes = levels if config.class_pairs == "classes" else (levels > 0).long()
    loss = class_pair_loss(
        vectors,
        classes,
        margin=config.class_pair_margin,
        margin_per_level=config.class_pair_margin_per_level,
        image_ids=image_ids,
    )
    return config.class_pair_weight * loss


def views_per_batch(config: Phase2Config, size: DataSize) -> float:
    """Returns how many images a batch passes through f, a mean where NT-Xent takes the anomalous ones only."""
    is_sampled = config.pairing == "sampled"
    labeled = config.batch_size * (2 if is_sampled else 1)
    drawn = config.batch_size if is_sampled else 1
    references = drawn if config.preference.reference == "random" and config.alpha < 1 else 0
    if config.alpha == 0:
        return labeled + references
    if config.ntxent.scope == "anomalous":
        return labeled * (1 + _anomalous_share(config, size.images_per_level)) + references
    unlabeled = min(config.batch_size, size.unlabeled_images) if config.ntxent.takes_unlabeled else 0
    contrasted = unlabeled + (labeled if config.ntxent.takes_labeled else 0)
    return labeled + unlabeled + contrasted + references


def _anomalous_share(config: Phase2Config, images_per_level: tuple[int, ...]) -> float:
    """Returns the expected share of anomalous images in a batch; of three equal grades where nothing is known."""
    counts = np.array(images_per_level or (1, 1, 1), np.float64)
    drawn = counts > 0  # balanced batches hold every grade that there is equally often
    if config.pairing == "sampled":
        # Uniform over ordered pairs of different level, or of any two images.
        drawn = counts * (counts.sum() - (counts if config.preference.ties == "drop" else 1))
    return float(drawn[1:].sum() / drawn.sum())
