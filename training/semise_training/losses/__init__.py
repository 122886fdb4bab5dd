"""The losses as pure functions: pair margin (eq. 1), NT-Xent (eq. 2), preference (eq. 3), and those of the options."""

from semise_training.losses.corn import corn_loss
from semise_training.losses.distance import cosine_distance
from semise_training.losses.ntxent import chance_ntxent, ntxent_loss
from semise_training.losses.pair_margin import class_pair_loss, pair_margin_loss
from semise_training.losses.preference import CHANCE_PREFERENCE, inbatch_preference_loss, preference_loss
from semise_training.losses.rank_n_contrast import rank_n_contrast_loss
from semise_training.losses.supcon import supcon_loss

__all__ = [
    "CHANCE_PREFERENCE",
    "chance_ntxent",
    "class_pair_loss",
    "corn_loss",
    "cosine_distance",
    "inbatch_preference_loss",
    "ntxent_loss",
    "pair_margin_loss",
    "preference_loss",
    "rank_n_contrast_loss",
    "supcon_loss",
]
