"""The table of methods: which stages learn the representation before the heads are trained on it."""

from collections.abc import Callable
from dataclasses import dataclass

from semise_sdk.errors import ConfigError
from semise_training.config import TrainConfig
from semise_training.loop import Stage
from semise_training.stages.phase1 import Phase1
from semise_training.stages.phase2 import Phase2
from semise_training.stages.upstream import Upstream

StageFactory = Callable[[Upstream, TrainConfig], Stage]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to learn the representation.

    Args:
        summary: One line for ``--help`` and tables.
        upstream: Factories of its stages, in order.
        identity: True when the severity is measured on f's own features, without g and h.
        is_constant: True when nothing is trained: every image gets the training majority's grade.
    """

    summary: str
    upstream: tuple[StageFactory, ...]
    identity: bool = False
    is_constant: bool = False


def _phase1(upstream: Upstream, config: TrainConfig) -> Stage:
    return Phase1(upstream, config.phase1, config.optimizer)


def _phase2(upstream: Upstream, config: TrainConfig) -> Stage:
    return Phase2(upstream, config.phase2, config.optimizer)


METHODS = {
    "majority": Method("no network: the grade most common in training, for every image", (), is_constant=True),
    "semise": Method("phase 1 (healthy or anomalous), then phase 2 (NT-Xent and preference)", (_phase1, _phase2)),
    "imagenet": Method("no training of the encoder: what its initial weights are worth", (), identity=True),
}


def find_method(name: str) -> Method:
    """Returns the method called ``name``; raises ConfigError listing the known ones."""
    if name not in METHODS:
        raise ConfigError(f"expected a method of {', '.join(METHODS)}, found {name!r}")
    return METHODS[name]


def find_trained_method(name: str) -> Method:
    """Returns the method called ``name``, one that trains a model; raises ConfigError for any other."""
    method = find_method(name)
    if method.is_constant:
        raise ConfigError(f"expected a method that trains a model, found {name!r}: it is a row of semise compare")
    return method
