"""``simclr``: NT-Xent alone (Chen et al. 2020, arXiv 2002.05709), which uses no label."""

from semise_training.config import TrainConfig
from semise_training.loop.loop import Stage
from semise_training.methods.method import Method, UpstreamStage
from semise_training.stages import simclr
from semise_training.stages.upstream import Upstream


def _simclr(upstream: Upstream, config: TrainConfig) -> Stage:
    return simclr.SimCLR(upstream, config.simclr, config.optimizer)


SIMCLR = Method(
    "NT-Xent on two augmented views of every image, labeled or not",
    upstream=(
        UpstreamStage(
            section="simclr",
            build=_simclr,
            views_per_batch=lambda config, size: simclr.views_per_batch(config.simclr, size),
            images=simclr.images,
        ),
    ),
    # Nothing draws g's output of a reference and h's output of an image together: both go through h.
    overrides={"heads": {"reference_head": "severity"}},
)
