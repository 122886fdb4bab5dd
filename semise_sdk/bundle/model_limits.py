"""The ranges that a bundle's description of its model keeps to, before anything is built or allocated by it."""

import re
from collections.abc import Sequence
from typing import TypeVar, get_args

from semise_sdk.errors import BundleError
from semise_sdk.spec import ModelInfo, ReferenceMode
from semise_sdk.system.json_fields import shown

Kind = TypeVar("Kind")

MAX_TEXT = 4096
MAX_LABEL = 200
MAX_CLASSES = 1000
MAX_WIDTH = 1 << 16
MAX_STAGES = 10

# A plain name of timm's own: `hf-hub:` and `local-dir:` would fetch a network from elsewhere.
_ENCODER = re.compile(r"[A-Za-z0-9_]{1,100}(\.[A-Za-z0-9_]{1,100})?")


def check_text(name: str, value: str, *, most: int = MAX_TEXT) -> str:
    """Returns a text that can be shown anywhere; raises BundleError for control characters and for too long a text."""
    if len(value) > most or not value.isprintable():
        found = f"{len(value)} characters, {shown(value)}"
        raise BundleError(f"expected {name} as printable text of at most {most} characters, found {found}")
    return value


def check_model(model: ModelInfo) -> None:
    """Refuses a description that no model of ours can have.

    Raises:
        BundleError: a name that is no plain text, a number out of its range or not finite, a width that no network has,
            or an encoder that is not one of timm's own.
    """
    check_text("model.name", _of("model.name", model.name, str), most=MAX_LABEL)
    for label in model.labels:
        check_text("each label", label, most=MAX_LABEL)
    if len(set(model.labels)) != len(model.labels) or len(model.labels) > MAX_CLASSES:
        raise BundleError(f"expected at most {MAX_CLASSES} labels, each once, found {len(model.labels)}")
    if model.reference_mode not in get_args(ReferenceMode):
        modes = ", ".join(get_args(ReferenceMode))
        raise BundleError(f"expected reference_mode {modes}, found {model.reference_mode!r}")
    _check_numbers("mask_threshold", (model.mask_threshold,), low=0, high=1)
    _check_network(model)


def _check_network(model: ModelInfo) -> None:
    network = model.network
    if not _ENCODER.fullmatch(_of("encoder", network.encoder, str)):
        raise BundleError(f"expected a plain name of timm's as encoder, found {network.encoder[:100]!r}")
    _of("residual_head", network.residual_head, bool)
    _check_numbers("mean", network.mean, low=-1e6, high=1e6)
    _check_numbers("std", network.std, low=1e-6, high=1e6)
    _check_widths("feature_dim and vector_dim", (network.feature_dim, network.vector_dim))
    _check_widths("classifier_hidden", network.classifier_hidden, count=2)
    _check_widths("decoder_channels", network.decoder_channels)
    _check_numbers("classes", (network.classes,), low=0, high=MAX_CLASSES)
    if len(network.decoder_channels) > MAX_STAGES:
        raise BundleError(f"expected at most {MAX_STAGES} decoder_channels, found {len(network.decoder_channels)}")


def _check_widths(name: str, values: Sequence[int], *, count: int | None = None) -> None:
    if not isinstance(values, tuple) or (count is not None and len(values) != count):
        raise BundleError(f"expected {name} as a list of {count or 'the'} widths, found {values!r}")
    if not all(isinstance(value, int) for value in values):
        raise BundleError(f"expected whole numbers in {name}, found {values!r}")
    _check_numbers(name, values, low=1, high=MAX_WIDTH)


def _check_numbers(name: str, values: Sequence[float], *, low: float, high: float) -> None:
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and low <= value <= high):  # NaN is not, either
            raise BundleError(f"expected {name} as numbers from {low:g} to {high:g}, found {str(value)[:100]}")


def _of(name: str, value: Kind, kind: type) -> Kind:
    if not isinstance(value, kind):
        raise BundleError(f"expected {name} as {kind.__name__}, found {type(value).__name__}")
    return value
