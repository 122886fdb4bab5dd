"""What an experiment is: all that a cell depends on but the code, the machine and the folders, and when two are one."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from semise_sdk.errors import ConfigError
from semise_training.config import TrainConfig, as_it_was


def portable(config: TrainConfig) -> dict[str, object]:
    """Returns the configuration as JSON data without folders, the row's name and where it runs."""
    data = config.model_dump(mode="json")
    data.pop("name")
    data["data"]["manifest"] = config.data.manifest.name
    data["encoder"]["weights"] = None if config.encoder.weights is None else config.encoder.weights.name
    data["runtime"] = {"precision": config.runtime.precision}
    return data


def digest_of(asked: Mapping[str, object]) -> str:
    """Returns the sha256 of what :meth:`PlannedCell.asked` returns."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def is_same_experiment(stored: Mapping[str, object], asked: Mapping[str, object]) -> bool:
    """Returns whether what a stored cell was asked is what is asked now.

    A setting that came into the configuration after the cell was computed counts as what was done before: cells are
    added up over months, and a new option must not make the old ones another experiment. Where no masks are compared,
    the U-Net's settings count for nothing.
    """
    try:
        known = TrainConfig.model_validate(as_it_was(stored.get("config")))
    except ValidationError:  # a setting that is gone, or means something else
        return False
    return _what_counts({**stored, "config": portable(known)}) == _what_counts(asked)


def asks_for_unet(asked: Mapping[str, object]) -> bool:
    """Returns whether a cell that was asked for so is of masks and of every label: only such a cell trains a U-Net."""
    config, protocol = asked.get("config"), asked.get("protocol")
    data = config.get("data") if isinstance(config, Mapping) else None
    has_masks = not isinstance(protocol, Mapping) or bool(protocol.get("masks", True))
    return has_masks and (not isinstance(data, Mapping) or data.get("label_fraction", 1.0) == 1)


def _what_counts(asked: Mapping[str, object]) -> dict[str, object]:
    """Returns what makes an experiment: not the U-Net's settings where none is trained."""
    config = asked.get("config")
    if asks_for_unet(asked) or not isinstance(config, Mapping):
        return dict(asked)
    return {**asked, "config": {name: section for name, section in config.items() if name != "unet"}}


def weights_digest(config: TrainConfig) -> str | None:
    """Returns the sha256 of the encoder's weights file, None where it starts otherwise."""
    if config.encoder.weights is None:
        return None
    try:
        state = config.encoder.weights.stat()
        return _sha256(config.encoder.weights, (state.st_size, state.st_mtime_ns))
    except OSError as error:
        raise ConfigError(
            f"could not read encoder weights {config.encoder.weights}: expected a .safetensors file ({error.strerror})"
        ) from error


@lru_cache(maxsize=8)
def _sha256(path: Path, _state: tuple[int, int]) -> str:
    """Returns a file's sha256; hundreds of cells ask for that of the same large file; its state says if it changed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
