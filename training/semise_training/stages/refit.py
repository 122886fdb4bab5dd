"""The refit: g and h learned anew on the features of the finished f, where a step costs next to nothing."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from semise_sdk.models.heads import SeverityHead, projection_head
from semise_training.data.pairing import balanced_batches
from semise_training.losses import cosine_distance, inbatch_preference_loss
from semise_training.sections import Phase2Config, RefitConfig
from semise_training.seeds import derived_seed
from semise_training.stages.classifier import all_views
from semise_training.stages.phase2 import weighted_pairs
from semise_training.stages.upstream import Upstream, centre_projection, validation_monitors


class Refit:
    """(1 - alpha) * preference + class_pair_weight * eq. 1 of phase 2, on cached features of the frozen f.

    On a few hundred images the passes that f can afford are a few dozen steps, too few for g and h; and what they
    learned on an f that still moved may not fit the one it became. Where it does, it stays: the g and h that rank the
    validation images better are kept.
    """

    name = "refit"
    selection: str | None = None

    def __init__(self, upstream: Upstream, config: RefitConfig, phase2: Phase2Config) -> None:
        self.upstream = upstream
        self.config = config
        self.phase2 = phase2
        self.epochs = config.epochs
        self.model = upstream.model
        self.train = upstream.dataset.parts["train"]
        network = upstream.model.network
        self.heads = nn.ModuleList([network.projection, network.severity])
        # Among the extras the heads of before are in every checkpoint, and are not deployed.
        self.earlier = self.model.extras["earlier heads"] = copy.deepcopy(self.heads)
        group = {"params": list(self.heads.parameters()), "lr": config.lr, "base_lr": config.lr}
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW([group], weight_decay=config.weight_decay)

    @property
    def trained(self) -> nn.Module:
        """The model, of which only g and h learn."""
        return self.model

    @cached_property
    def features(self) -> Tensor:
        """The features ``[V, n, F]`` of the frozen f, the classifiers' own; computed once, after f was restored."""
        return all_views(self.upstream, self.train, augmented_views=self.config.augmented_views)

    @cached_property
    def levels(self) -> Tensor:
        """Severity levels ``[n]``."""
        return self.upstream.levels(self.train)

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""
        return math.ceil(len(self.train) / self.config.batch_size)

    def begin_epoch(self, epoch: int) -> None:
        """Starts g and h anew at the first epoch, centred where the heads are; f stays in eval mode."""
        if epoch == 0:
            restart_heads(self.upstream)
        self.model.eval()

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Yields ``[B, 2]``: the row of an image, class-balanced, and which of its cached views."""
        seed, steps = derived_seed(self.upstream.seed, self.name), self.steps_per_epoch()
        random = np.random.default_rng(derived_seed(seed, epoch, "views"))
        levels = self.upstream.dataset.levels[self.train]
        for rows in balanced_batches(levels, batch_size=self.config.batch_size, seed=seed, epoch=epoch, batches=steps):
            yield np.stack([rows, random.integers(1 + self.config.augmented_views, size=len(rows))], axis=1)

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the two terms of a batch, both on the severity vectors."""
        rows, views = torch.from_numpy(batch.T.copy()).to(self.levels.device)
        vectors, levels = self._vectors(self._dropped(self.features[views, rows], seed=seed)), self.levels[rows]
        options, share = self.phase2.preference, 1 - self.phase2.alpha
        distances = cosine_distance(vectors, self._reference().expand_as(vectors))
        preference = inbatch_preference_loss(
            distances, levels, beta=options.beta, ties=options.ties, margin=options.margin
        )
        terms = {"preference": share * preference}
        if self.phase2.class_pair_weight > 0:
            terms["pairs"] = weighted_pairs(vectors, levels, rows, self.phase2)
        return terms

    def _dropped(self, features: Tensor, *, seed: int) -> Tensor:
        """Returns features ``[B, F]`` with a random part of them at the centre of g, where they say nothing."""
        if self.config.dropout == 0:
            return features
        generator = torch.Generator().manual_seed(derived_seed(seed, "dropout"))
        kept = (torch.rand(features.shape, generator=generator) >= self.config.dropout).to(features.device)
        centre = self.model.network.projection.get_buffer("centre")
        return centre + kept * (features - centre) / (1 - self.config.dropout)

    def _vectors(self, features: Tensor) -> Tensor:
        return self.model.severity(self.model.projected(features))

    @torch.no_grad()
    def _reference(self) -> Tensor:
        """Returns pi_0 ``[1, D]``, the mean healthy direction of this step."""
        healthy = normalize(self._vectors(self.features[0, self.levels == 0]), dim=1)
        return normalize(healthy.mean(dim=0, keepdim=True), dim=1)

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns the validation monitors after the last epoch, as an epoch takes less time than they do.

        Where the earlier g and h rank the validation images better they come back: ``is_kept`` is False.
        """
        if epoch + 1 < self.epochs:
            return {}
        refitted, heads = self._monitors(), copy.deepcopy(self.heads.state_dict())
        self.heads.load_state_dict(self.earlier.state_dict())
        earlier = self._monitors()
        is_kept = _validation_tau(refitted) >= _validation_tau(earlier)
        if is_kept:
            self.heads.load_state_dict(heads)
        tau = {"refitted": refitted["kendall_tau"], "earlier": earlier["kendall_tau"]}
        return {**(refitted if is_kept else earlier), "is_kept": is_kept, "tau": tau}

    def _monitors(self) -> dict[str, object]:
        deployed = replace(self.upstream, compute=self.upstream.compute.full_precision())
        return validation_monitors(deployed, stage=self.name)


def _validation_tau(monitors: Mapping[str, object]) -> float:
    """Returns the validation Kendall tau; its least value where it is undefined."""
    tau = monitors["kendall_tau"]
    return tau if isinstance(tau, float) else -1.0


def restart_heads(upstream: Upstream) -> None:
    """Gives g and h the weights of an untrained model; chance decides by torch's global state."""
    network = upstream.model.network
    config, is_centred = network.config, bool(network.projection.get_buffer("centre").any())
    network.projection.load_state_dict(projection_head(config.feature_dim, config.vector_dim).state_dict())
    network.severity.load_state_dict(SeverityHead(config.vector_dim, residual=config.residual_head).state_dict())
    if is_centred:
        centre_projection(upstream)
