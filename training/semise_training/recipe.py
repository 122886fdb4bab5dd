"""A preset, its method and the user's settings as one configuration."""

from collections.abc import Mapping

from semise_training.config import DEFAULT_METHOD, TrainConfig, load_preset, merge, parse_config
from semise_training.methods import find_method


def build_config(preset: str, overrides: Mapping[str, object]) -> TrainConfig:
    """Returns the preset, with what its method changes on top of it, and ``overrides`` on top of both.

    Args:
        preset: ``recommended`` or ``faithful``.
        overrides: Settings, nested as the configuration; ``method`` among them chooses the method.

    Raises:
        ConfigError: unknown preset or method, or wrong keys and values, all of them in one message.
    """
    method = find_method(str(overrides.get("method", DEFAULT_METHOD)))
    return parse_config(merge(merge(load_preset(preset), method.overrides), overrides))
