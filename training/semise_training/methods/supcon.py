"""``supcon-2`` and ``supcon-n``: phase 1 alone, on two kinds or on every grade; the whole budget goes into it."""

from semise_training.methods.method import Method
from semise_training.methods.phases import PHASE1

# Phase 1 trains g and leaves h at its start, which must therefore be the identity.
_HEADS = {"residual": True, "reference_head": "severity"}
# As many image views as `recommended` takes in 6 + 20 epochs.
_EPOCHS = 26

SUPCON_2 = Method(
    "eq. 1 on pairs of healthy and anomalous images",
    upstream=(PHASE1,),
    overrides={"heads": _HEADS, "phase1": {"epochs": _EPOCHS, "pairs": "binary"}},
)
SUPCON_N = Method(
    "eq. 1 on pairs of every grade",
    upstream=(PHASE1,),
    overrides={"heads": _HEADS, "phase1": {"epochs": _EPOCHS, "pairs": "classes"}},
)
