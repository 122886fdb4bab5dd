"""``semise``: phases 1 and 2 (Tran et al. 2025, arXiv 2501.03848), and a refit of g and h, as the preset says."""

from semise_training.methods.method import Method
from semise_training.methods.phases import PHASE1, PHASE2, REFIT

SEMISE = Method(
    "phase 1 (healthy or anomalous), phase 2 (NT-Xent and preference), and a refit of g and h on the finished f",
    upstream=(PHASE1, PHASE2, REFIT),
)
