"""``semise-faithful``: SemiSe as near to the paper as it can be read, whatever the preset of the other methods."""

from semise_training.config import load_preset
from semise_training.methods.method import Method
from semise_training.methods.phases import PHASE1, PHASE2

SEMISE_FAITHFUL = Method(
    "phase 1, then phase 2, as the paper prints them (preset faithful)",
    upstream=(PHASE1, PHASE2),
    overrides=load_preset("faithful"),
)
