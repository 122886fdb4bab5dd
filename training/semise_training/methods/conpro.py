"""``conpro``: phase 1, then preference alone (Nguyen et al. 2024, arXiv 2404.18831), written from the equations."""

from semise_training.methods.method import Method
from semise_training.methods.phases import PHASE1, PHASE2

CONPRO = Method(
    "phase 1, then the preference loss (eq. 3) alone",
    upstream=(PHASE1, PHASE2),
    overrides={"phase2": {"alpha": 0.0, "class_pair_weight": 0.0}},
)
