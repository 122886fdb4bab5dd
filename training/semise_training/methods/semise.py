"""``semise``: phase 1, then phase 2 (Tran et al. 2025, arXiv 2501.03848), as the preset says."""

from semise_training.methods.method import Method
from semise_training.methods.phases import PHASE1, PHASE2

SEMISE = Method("phase 1 (healthy or anomalous), then phase 2 (NT-Xent and preference)", upstream=(PHASE1, PHASE2))
