"""Phase 1 and phase 2 of the paper, and the refit after them, as stages that several methods share."""

from semise_training.config import TrainConfig
from semise_training.loop.loop import Stage
from semise_training.methods.method import UpstreamStage
from semise_training.stages import phase1, phase2, refit
from semise_training.stages.upstream import Upstream


def _phase1(upstream: Upstream, config: TrainConfig) -> Stage:
    return phase1.Phase1(upstream, config.phase1, config.optimizer)


def _phase2(upstream: Upstream, config: TrainConfig) -> Stage:
    return phase2.Phase2(upstream, config.phase2, config.optimizer)


def _refit(upstream: Upstream, config: TrainConfig) -> Stage:
    return refit.Refit(upstream, config.refit, config.phase2)


PHASE1 = UpstreamStage(
    section="phase1", build=_phase1, views_per_batch=lambda config, _: phase1.views_per_batch(config.phase1)
)
PHASE2 = UpstreamStage(
    section="phase2", build=_phase2, views_per_batch=lambda config, size: phase2.views_per_batch(config.phase2, size)
)
# It reads the features that the classifiers of every method read, and passes nothing through f in training.
REFIT = UpstreamStage(section="refit", build=_refit, views_per_batch=lambda *_: 0)
