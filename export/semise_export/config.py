"""How far an exported bundle may stray from torch before it is refused."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from semise_sdk.errors import ConfigError

PRECISIONS = ("fp32",)
MAX_IMAGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityThresholds:
    """Limits of the parity gate, in task units; the defaults are for fp32 against fp32.

    On 234 ultrasound images and two CPU runtimes, fp32 differed from torch by 1.6e-5 in severity, by one rank, by no
    grade and by 3e-6 of the masks' Dice. Each default leaves room for another order of summation, and none for a
    change that a reader of the results would see.

    Args:
        kendall_tau: Least tau-b between the two rankings: of 256 images, 16 of 32,640 pairs may swap.
        c_index: Least share of torch's ordered pairs that keep their order.
        displacement: Largest move of one image, as a share of the images; one rank is always allowed, because two
            images nearly as severe may swap.
        class_flips: Largest share of images whose grade changes: none of 199, one of 200.
        probability_error: Largest change of one grade's probability; tables print three decimals.
        dice: Least mean Dice of an image's mask against torch's: one pixel of a small lesion may fall either way.
        pooled_dice: Least Dice over the pixels of all images.
        severity_error: Largest change of one severity, on its scale of 0 to 2.
        map_error: Largest mean change of one severity map, on the same scale.
        embedding_error: Largest cosine distance between the two embeddings, or reference vectors, of one image.
        batch_error: Largest change of one severity between batches of 1, 2, 3 and many, between equal rows of one
            batch, or between encoder.onnx and unet.onnx; no grade may change between them.

    Example:
        >>> ParityThresholds(class_flips=0.01).class_flips
        0.01
    """

    kendall_tau: float = 0.999
    c_index: float = 0.9995
    displacement: float = 0.01
    class_flips: float = 0.005
    probability_error: float = 1e-3
    dice: float = 0.995
    pooled_dice: float = 0.999
    severity_error: float = 1e-3
    map_error: float = 1e-3
    embedding_error: float = 1e-4
    batch_error: float = 1e-4

    def __post_init__(self) -> None:
        wrong = {name: value for name, value in dataclasses.asdict(self).items() if not 0 <= value <= 2}
        if wrong:
            raise ConfigError(f"expected parity thresholds of 0 to 2, found {wrong}")

    def to_json(self) -> dict[str, float]:
        """Returns the thresholds by name, as the manifest records them."""
        return dataclasses.asdict(self)


def read_thresholds(path: Path) -> ParityThresholds:
    """Returns the thresholds of a YAML file; those it leaves out keep their defaults.

    Raises:
        ConfigError: the file cannot be read, or holds unknown names or no numbers.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"could not read thresholds {path}: expected a YAML file such as 'class_flips: 0.01'"
        ) from error
    return parse_thresholds({} if data is None else data)


def parse_thresholds(data: object) -> ParityThresholds:
    """Returns the defaults with ``data``, numbers by name, on top; raises ConfigError."""
    known = [field.name for field in dataclasses.fields(ParityThresholds)]
    if not isinstance(data, Mapping) or any(name not in known for name in data):
        raise ConfigError(f"expected parity thresholds named {', '.join(known)}, found {data}")
    numbers = {name: value for name, value in data.items() if type(value) in (int, float)}  # True is no number
    if len(numbers) < len(data):
        raise ConfigError(f"expected a number for every parity threshold, found {data}")
    return ParityThresholds(**numbers)
