"""How far an exported bundle may stray from torch before it is refused."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from semise_sdk.errors import ConfigError
from semise_sdk.spec import PRECISIONS, Precision

MAX_IMAGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityThresholds:
    """Limits of the parity gate, in task units; the defaults are for fp32 against fp32 (:data:`LIMITS`: the others).

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
        task_c_index: Largest loss of the ranking's C-index against the true grades.
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
    task_c_index: float = 0.001
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


_IN_8_BITS = ParityThresholds(
    kendall_tau=0.9,
    c_index=0.95,
    displacement=0.25,
    class_flips=0.02,
    probability_error=0.5,
    dice=0.95,
    pooled_dice=0.98,
    task_c_index=0.005,
    severity_error=0.5,
    map_error=0.2,
    embedding_error=0.2,
    batch_error=0.02,
)

# Half precision rounds every activation to 11 bits and bf16 and int8 to 8: single figures move, so their limits are
# wide; what a reader of the results sees (order, grade, mask) is held narrow.
LIMITS: Mapping[Precision, ParityThresholds] = {
    "fp32": ParityThresholds(),
    "fp16": ParityThresholds(
        kendall_tau=0.98,
        c_index=0.99,
        displacement=0.05,
        class_flips=0.01,
        probability_error=0.1,
        dice=0.98,
        pooled_dice=0.99,
        task_c_index=0.005,
        severity_error=0.1,
        map_error=0.05,
        embedding_error=0.01,
        batch_error=0.01,
    ),
    "bf16": _IN_8_BITS,
    "int8": dataclasses.replace(_IN_8_BITS, dice=0.97, pooled_dice=0.995, batch_error=0.01),
}


def read_limits(path: Path) -> dict[Precision, ParityThresholds]:
    """Returns the limits of every precision from a YAML file; those it leaves out keep their defaults.

    A threshold at the top level (``class_flips: 0.01``) counts for every precision, one below a precision's name
    (``int8: {class_flips: 0.01}``) for that one.

    Raises:
        ConfigError: the file cannot be read, or holds unknown names or no numbers.
    """
    data = _read_yaml(path)
    nested = {name: value for name, value in data.items() if name in PRECISIONS}
    flat = {name: value for name, value in data.items() if name not in PRECISIONS}
    return {
        precision: parse_thresholds(nested.get(precision) or {}, base=parse_thresholds(flat, base=limits))
        for precision, limits in LIMITS.items()
    }


def _read_yaml(path: Path) -> Mapping[object, object]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"could not read thresholds {path}: expected a YAML file such as 'class_flips: 0.01'"
        ) from error
    if data is not None and not isinstance(data, Mapping):
        raise ConfigError(f"expected parity thresholds by name in {path}, found {data}")
    return data or {}


def parse_thresholds(data: object, *, base: ParityThresholds | None = None) -> ParityThresholds:
    """Returns ``base`` (the defaults) with ``data``, numbers by name, on top; raises ConfigError."""
    known = [field.name for field in dataclasses.fields(ParityThresholds)]
    if not isinstance(data, Mapping) or any(name not in known for name in data):
        raise ConfigError(f"expected parity thresholds named {', '.join(known)}, found {data}")
    numbers = {name: value for name, value in data.items() if type(value) in (int, float)}  # True is no number
    if len(numbers) < len(data):
        raise ConfigError(f"expected a number for every parity threshold, found {data}")
    return dataclasses.replace(base or ParityThresholds(), **numbers)
