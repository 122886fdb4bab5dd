"""``supervised``: fine-tuning by cross-entropy, what a user would pick who has not heard of severity."""

from semise_training.config import TrainConfig
from semise_training.loop.loop import Stage
from semise_training.methods.method import Method, UpstreamStage
from semise_training.stages import supervised
from semise_training.stages.upstream import Upstream


def _supervised(upstream: Upstream, config: TrainConfig) -> Stage:
    return supervised.Supervised(upstream, config.supervised, config.optimizer)


SUPERVISED = Method(
    "class-weighted cross-entropy on a linear head; severity on f's own features",
    upstream=(
        UpstreamStage(
            section="supervised",
            build=_supervised,
            views_per_batch=lambda config, size: supervised.views_per_batch(config.supervised, size),
        ),
    ),
    identity=True,
)
