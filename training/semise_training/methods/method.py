"""What a method is: a few stages on the common trainer, and the settings that it changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from semise_training.config import TrainConfig
from semise_training.data.size import DataSize
from semise_training.loop.loop import Stage
from semise_training.sections import StageConfig
from semise_training.stages.upstream import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStage:
    """One stage of learning the representation.

    Args:
        section: Its section of the configuration, a :class:`StageConfig`, and its name.
        build: Makes the stage.
        views_per_batch: Returns how many images a batch passes through f, a mean where it varies.
        images: Returns how many images an epoch deals; the labeled training images by default.
    """

    section: str
    build: Callable[[Upstream, TrainConfig], Stage]
    views_per_batch: Callable[[TrainConfig, DataSize], float]
    images: Callable[[DataSize], int] = lambda size: size.train_images

    def settings(self, config: TrainConfig) -> StageConfig:
        """Returns the stage's section of ``config``."""
        section: StageConfig = getattr(config, self.section)
        return section

    def views_per_epoch(self, config: TrainConfig, size: DataSize) -> float:
        """Returns how many images an epoch passes through f in training, a mean where it varies."""
        return self.settings(config).batches(self.images(size)) * self.views_per_batch(config, size)


@dataclass(frozen=True, slots=True)
class Method:
    """One way to learn the representation.

    Args:
        summary: One line for ``--help`` and tables.
        upstream: Its stages, in order.
        overrides: Settings that make the method, nested as the configuration: over the preset, under the user's own.
        identity: True when the severity is measured on f's own features, without g and h.
        is_constant: True when there is no network: every image gets the same answer.
    """

    summary: str
    upstream: tuple[UpstreamStage, ...] = ()
    overrides: Mapping[str, object] = field(default_factory=dict)
    identity: bool = False
    is_constant: bool = False
