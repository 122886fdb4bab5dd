"""The table of methods: which stages learn the representation before the heads are trained on it."""

from collections.abc import Callable
from dataclasses import dataclass

from semise_sdk.errors import ConfigError
from semise_training.config import OptimizerConfig, TrainConfig
from semise_training.loop import Stage
from semise_training.stages.phase1 import Phase1
from semise_training.stages.phase2 import Phase2
from semise_training.stages.soda import Soda
from semise_training.stages.upstream import Upstream

StageFactory = Callable[[Upstream, TrainConfig], Stage]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to learn the representation.

    Args:
        summary: One line for ``--help`` and tables.
        upstream: Factories of its stages, in order.
        identity: True when the severity is measured on f's own features, without g and h.
        optimizer: Which part of the configuration says how the stages' rates move and gradients are clipped.
    """

    summary: str
    upstream: tuple[StageFactory, ...]
    identity: bool = False
    optimizer: Callable[[TrainConfig], OptimizerConfig] = lambda config: config.optimizer


def _phase1(upstream: Upstream, config: TrainConfig) -> Stage:
    return Phase1(upstream, config.phase1, config.optimizer)


def _phase2(upstream: Upstream, config: TrainConfig) -> Stage:
    return Phase2(upstream, config.phase2, config.optimizer)


def _soda(upstream: Upstream, config: TrainConfig) -> Stage:
    return Soda(upstream, config.soda)


METHODS = {
    "semise": Method("phase 1 (healthy or anomalous), then phase 2 (NT-Xent and preference)", (_phase1, _phase2)),
    "imagenet": Method("no training of the encoder: what its initial weights are worth", (), identity=True),
    "soda": Method(
        "diffusion bottleneck, no labels (Hudson et al. 2023)",
        (_soda,),
        identity=True,
        optimizer=lambda config: config.soda.optimizer,
    ),
}


def find_method(name: str) -> Method:
    """Returns the method called ``name``; raises ConfigError listing the known ones."""
    if name not in METHODS:
        raise ConfigError(f"expected a method of {', '.join(METHODS)}, found {name!r}")
    return METHODS[name]
