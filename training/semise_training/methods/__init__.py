"""The table of methods: which stages learn the representation before the heads are trained on it."""

from semise_sdk.errors import ConfigError
from semise_training.methods.conpro import CONPRO
from semise_training.methods.imagenet import IMAGENET
from semise_training.methods.majority import MAJORITY
from semise_training.methods.method import Method, UpstreamStage
from semise_training.methods.semise import SEMISE
from semise_training.methods.semise_faithful import SEMISE_FAITHFUL
from semise_training.methods.simclr import SIMCLR
from semise_training.methods.soda import SODA
from semise_training.methods.supcon import SUPCON_2, SUPCON_N
from semise_training.methods.supervised import SUPERVISED

__all__ = ["METHODS", "Method", "UpstreamStage", "find_method", "find_trained_method"]

METHODS = {
    "majority": MAJORITY,
    "imagenet": IMAGENET,
    "supervised": SUPERVISED,
    "simclr": SIMCLR,
    "supcon-2": SUPCON_2,
    "supcon-n": SUPCON_N,
    "conpro": CONPRO,
    "soda": SODA,
    "semise-faithful": SEMISE_FAITHFUL,
    "semise": SEMISE,
}


def find_method(name: str) -> Method:
    """Returns the method called ``name``; raises ConfigError listing the known ones."""
    if name not in METHODS:
        raise ConfigError(f"expected a method of {', '.join(METHODS)}, found {name!r}")
    return METHODS[name]


def find_trained_method(name: str) -> Method:
    """Returns the method called ``name``, one that trains a network; raises ConfigError for any other."""
    method = find_method(name)
    if method.is_constant:
        raise ConfigError(
            f"expected a method that trains a network, found {name}, which has none: measure it beside the others with "
            f"`semise compare DATA --methods {name}`"
        )
    return method
