"""``soda``: a diffusion bottleneck (Hudson et al. 2023, arXiv 2311.17901), which uses no label."""

from semise_training.config import TrainConfig
from semise_training.loop.loop import Stage
from semise_training.methods.method import Method, UpstreamStage
from semise_training.stages import soda
from semise_training.stages.upstream import Upstream


def _soda(upstream: Upstream, config: TrainConfig) -> Stage:
    return soda.Soda(upstream, config.soda, config.optimizer)


SODA = Method(
    "noise prediction on a second view, guided by the first through a narrow bottleneck",
    upstream=(
        UpstreamStage(
            section="soda",
            build=_soda,
            views_per_batch=lambda config, size: soda.views_per_batch(config.soda, size),
            images=soda.images,
        ),
    ),
    # The paper's optimiser, but for the encoder's rate: at its 1e-3 the encoder collapsed on two packs of 100 images.
    overrides={
        "optimizer": {
            "name": "adamw",
            "lr": 5e-4,
            "head_lr": 5e-4,
            "betas": [0.9, 0.95],
            "weight_decay": 0.05,
            "clip_norm": 1.0,
        }
    },
    identity=True,
)
