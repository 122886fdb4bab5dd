"""The losses of SemiSe as pure functions: pair margin (eq. 1), NT-Xent (eq. 2) and preference (eq. 3)."""

from semise_training.losses.distance import cosine_distance
from semise_training.losses.ntxent import chance_ntxent, ntxent_loss
from semise_training.losses.pair_margin import class_pair_loss, pair_margin_loss
from semise_training.losses.preference import CHANCE_PREFERENCE, inbatch_preference_loss, preference_loss

__all__ = [
    "CHANCE_PREFERENCE",
    "chance_ntxent",
    "class_pair_loss",
    "cosine_distance",
    "inbatch_preference_loss",
    "ntxent_loss",
    "pair_margin_loss",
    "preference_loss",
]
