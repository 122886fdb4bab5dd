"""``semise-faithful``: SemiSe as near to the paper as it can be read, whatever the preset of the other methods."""

from semise_training.config import load_preset, merge
from semise_training.methods.method import Method
from semise_training.methods.phases import PHASE1, PHASE2

# The paper's batches of 256 pairs belong to its 1e5 pairs an epoch. In a comparison under one budget on a few hundred
# images they would leave a dozen steps of each phase, and the row would say nothing about the method.
_BATCH = {"batch_size": 32}

SEMISE_FAITHFUL = Method(
    "phase 1, then phase 2, as the paper prints them (preset faithful, batches of 32 pairs)",
    upstream=(PHASE1, PHASE2),
    overrides=merge(load_preset("faithful"), {"phase1": _BATCH, "phase2": _BATCH}),
)
