"""The rows of a comparison: the systems that ``--methods`` and ``--variant`` name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semise_sdk.errors import ConfigError
from semise_training.compare.cells.cells import is_row_name
from semise_training.config import parse_assignments
from semise_training.methods import METHODS, find_method

BASELINE = "semise"
LABELED_ONLY = "semise-labeled"
FRACTION_ROWS = (BASELINE, LABELED_ONLY, "supervised")

_PLANNED = ("method", "seed", "name", "data.manifest", "data.fold", "data.folds", "data.label_fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """One system: a method, and the settings that make it this one.

    Args:
        name: What the tables call it.
        method: Its method.
        settings: Nested settings on top of the preset's and the comparison's.
        preset: Its preset, None for the comparison's.
    """

    name: str
    method: str
    settings: Mapping[str, object] = field(default_factory=dict)
    preset: str | None = None


def rows_of(methods: Sequence[str], variants: Sequence[str], *, with_fractions: bool) -> tuple[SystemRow, ...]:
    """Returns the rows of ``--methods`` and ``--variant``; fractions add ``semise-labeled`` beside ``semise``.

    Raises:
        ConfigError: a name is unknown or taken, or a variant is not ``NAME:section.key=value,...``.
    """
    rows = [SystemRow(name=name, method=name) for name in methods]
    for name in methods:
        find_method(name)
    rows += [parse_variant(text) for text in variants]
    if with_fractions and "semise" in methods:
        rows.append(SystemRow(name=LABELED_ONLY, method="semise", settings={"phase2": {"ntxent": {"scope": "none"}}}))
    return tuple(rows)


def parse_variant(text: str) -> SystemRow:
    """Returns the row of ``NAME:section.key=value,...``; ``method=`` and ``preset=`` choose what it varies.

    Example:
        >>> parse_variant("semise+pairs:phase2.class_pair_weight=2").settings
        {'phase2': {'class_pair_weight': 2}}
    """
    name, colon, rest = text.partition(":")
    if not colon or not is_row_name(name) or not rest:
        raise ConfigError(f"expected --variant NAME:section.key=value,..., found {text!r}")
    if name in METHODS or name == LABELED_ONLY:
        raise ConfigError(f"expected a variant's own name, found that of the method {name}: choose another")
    settings = parse_assignments(_split_outside_brackets(rest))
    method, preset = str(settings.pop("method", "semise")), settings.pop("preset", None)
    find_method(method)
    refuse_planned(settings, f"--variant {name}")
    if "data" in settings:
        raise ConfigError(f"expected no setting of data in --variant {name}, found one: all rows share their data")
    return SystemRow(name=name, method=method, settings=settings, preset=None if preset is None else str(preset))


def refuse_planned(settings: Mapping[str, object], where: str) -> None:
    """Raises ConfigError when settings name what the comparison itself varies."""
    data = settings.get("data")
    named = [name for name in settings if name != "data"]
    named += [f"data.{name}" for name in data] if isinstance(data, Mapping) else []
    wrong = [name for name in named if name in _PLANNED]
    if wrong:
        raise ConfigError(
            f"expected none of {', '.join(_PLANNED)} in {where}, found {', '.join(wrong)}: the comparison sets that "
            "for each cell"
        )


def _split_outside_brackets(text: str) -> list[str]:
    """Returns the parts between commas that no bracket encloses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
