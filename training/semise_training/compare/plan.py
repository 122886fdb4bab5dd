"""Which cells a comparison has, and the configuration of each."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from semise_sdk.errors import ConfigError
from semise_training.compare.cells import CellKey, is_row_name
from semise_training.config import TrainConfig, build_config, merge, parse_assignments
from semise_training.methods import METHODS, find_method

ALPHA_METHOD = "semise"
LABELED_ONLY = "semise-labeled"
FRACTION_ROWS = ("semise", LABELED_ONLY, "supervised")

_LEARNING = ("heads", "optimizer", "phase1", "phase2", "simclr", "supervised", "soda")
_PLANNED = ("method", "seed", "name", "data.manifest", "data.fold", "data.folds", "data.label_fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What is the same for every system.

    Args:
        head_seeds: Classifiers trained with each loss.
        masks: Whether a U-Net is trained where there are masks.
        passes: How often the representation may be learned from each labeled training image, on average: the budget of
            image views, whatever a system spends it on. With fewer labels the budget is that of all of them.
    """

    head_seeds: int = 5
    masks: bool = True
    passes: float = 26.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A cell to compute: which one, and how."""

    key: CellKey
    config: TrainConfig
    protocol: Protocol

    def asked(self, data_digest: str) -> dict[str, object]:
        """Returns all that the cell depends on but the code, the machine and the folders, as JSON data."""
        return {
            "config": portable(self.config),
            "protocol": self.protocol_json(),
            "data": data_digest,
            "weights": weights_digest(self.config),
        }

    def protocol_json(self) -> dict[str, object]:
        """Returns the protocol as JSON data."""
        return dataclasses.asdict(self.protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``semise compare`` was asked for.

    Args:
        rows: The systems.
        settings: Settings of all of them: the data, the encoder, ``--set``.
        preset: The preset that they start from.
        protocol: What is the same for all.
        folds: Number of folds; 0 for one random split (or the manifest's) per seed.
        seeds: Encoder seeds.
        only_fold: The one fold to compute, None for all.
        alphas: Values of ``phase2.alpha`` that the row ``semise`` chooses among; empty for its own.
        label_fractions: Shares of the training labels for the rows of ``fraction_rows``.
        fraction_rows: Rows that learn from fewer labels too.
    """

    rows: tuple[Row, ...]
    settings: Mapping[str, object]
    preset: str = "recommended"
    protocol: Protocol = Protocol()
    folds: int = 0
    seeds: int = 1
    only_fold: int | None = None
    alphas: tuple[float, ...] = ()
    label_fractions: tuple[float, ...] = ()
    fraction_rows: tuple[str, ...] = FRACTION_ROWS

    def cells(self) -> tuple[PlannedCell, ...]:
        """Returns every cell, split by split, so that an interrupted comparison has whole folds.

        Raises:
            ConfigError: an unknown method or setting, or settings that the plan itself makes.
        """
        self._check()
        planned: dict[CellKey, PlannedCell] = {}
        for fold, seed in itertools.product(self._folds(), range(self.seeds)):
            for cell in self._cells_of(fold, seed):
                planned.setdefault(cell.key, cell)
        return tuple(planned.values())

    def _folds(self) -> Sequence[int]:
        return range(max(self.folds, 1)) if self.only_fold is None else [self.only_fold]

    def _cells_of(self, fold: int, seed: int) -> list[PlannedCell]:
        full = [
            self._cell(row, fold, seed, alpha=alpha)
            for row in self.rows
            for alpha in (self.alphas if row.name == ALPHA_METHOD and self.alphas else (None,))
        ]
        fewer = [
            self._cell(row, fold, seed, fraction=fraction)
            for fraction in self.label_fractions
            for row in self.rows
            if row.name in self.fraction_rows
        ]
        return full + fewer

    def _cell(
        self, row: Row, fold: int, seed: int, *, alpha: float | None = None, fraction: float = 1.0
    ) -> PlannedCell:
        split_seed = _split_seed(self.settings, 0 if self.folds else seed)
        of_cell: dict[str, object] = {
            "method": row.method,
            "name": row.name,
            "seed": seed,
            "data": {"folds": self.folds, "fold": fold, "split_seed": split_seed, "label_fraction": fraction},
        }
        _refuse_other_methods(row, self.settings)
        settings = merge(merge(self.settings, row.settings), of_cell)
        own = build_config(row.preset or self.preset, settings)
        if alpha is not None and alpha != own.phase2.alpha:
            own = build_config(row.preset or self.preset, merge(settings, {"phase2": {"alpha": alpha}}))
        else:
            alpha = None
        key = CellKey(
            name=row.name,
            folds=self.folds,
            fold=fold,
            split_seed=split_seed,
            seed=seed,
            alpha=alpha,
            label_fraction=fraction,
        )
        return PlannedCell(key=key, config=own, protocol=self.protocol)

    def _check(self) -> None:
        names = [row.name for row in self.rows]
        if not names:
            raise ConfigError("expected at least one method to compare, found none: name it with --methods")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(f"expected rows of different names, found {', '.join(repeated)} twice")
        if self.folds and self.only_fold is not None and not 0 <= self.only_fold < self.folds:
            raise ConfigError(f"expected --only-fold 0 to {self.folds - 1}, found {self.only_fold}")
        if self.only_fold is not None and not self.folds:
            raise ConfigError("expected --only-fold beside --folds, found it alone: say how many folds there are")
        strangers = [name for name in self.fraction_rows if name not in (*names, *FRACTION_ROWS)]
        if strangers:
            raise ConfigError(f"expected --fraction-methods among the rows {', '.join(names)}, found {strangers[0]!r}")
        for row in self.rows:
            find_method(row.method)


def _refuse_other_methods(row: Row, settings: Mapping[str, object]) -> None:
    """Refuses settings of all rows that would make another method of one: they override what a method is made of."""
    for section, own in find_method(row.method).overrides.items():
        given = settings.get(section)
        if section not in _LEARNING or not isinstance(own, Mapping) or not isinstance(given, Mapping):
            continue
        wrong = [f"{section}.{name}" for name in own if name in given and given[name] != own[name]]
        if wrong:
            raise ConfigError(
                f"expected --set to leave {', '.join(wrong)} alone, which make {row.method} what it is, found them: "
                "change them for one row with --variant"
            )


def rows_of(methods: Sequence[str], variants: Sequence[str], *, with_fractions: bool) -> tuple[Row, ...]:
    """Returns the rows of ``--methods`` and ``--variant``; fractions add ``semise-labeled`` beside ``semise``.

    Raises:
        ConfigError: a name is unknown or taken, or a variant is not ``NAME:section.key=value,...``.
    """
    rows = [Row(name=name, method=name) for name in methods]
    for name in methods:
        find_method(name)
    rows += [parse_variant(text) for text in variants]
    if with_fractions and "semise" in methods:
        rows.append(Row(name=LABELED_ONLY, method="semise", settings={"phase2": {"ntxent": {"scope": "all"}}}))
    return tuple(rows)


def parse_variant(text: str) -> Row:
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
    return Row(name=name, method=method, settings=settings, preset=None if preset is None else str(preset))


def refuse_planned(settings: Mapping[str, object], where: str) -> None:
    """Raises ConfigError when settings name what the comparison itself varies."""
    data = settings.get("data")
    named = [name for name in settings if name != "data"]
    named += [f"data.{name}" for name in data] if isinstance(data, Mapping) else []
    wrong = [name for name in named if name in _PLANNED]
    if wrong:
        raise ConfigError(
            f"expected no {', '.join(wrong)} in {where}, found it: the comparison sets that for each cell"
        )


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

    A setting that came into the configuration after the cell was computed counts as its default: cells are added up
    over months, and a new option must not make the old ones another experiment.
    """
    config = stored.get("config")
    try:
        known = TrainConfig.model_validate(config)
    except ValidationError:  # a setting that is gone, or means something else
        return False
    return {**stored, "config": portable(known)} == dict(asked)


def weights_digest(config: TrainConfig) -> str | None:
    """Returns the sha256 of the encoder's weights file, None where it starts otherwise."""
    if config.encoder.weights is None:
        return None
    try:
        with config.encoder.weights.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"could not read encoder weights {config.encoder.weights}: expected a .safetensors file ({error.strerror})"
        ) from error


def _split_seed(settings: Mapping[str, object], default: int) -> int:
    data = settings.get("data")
    seed = data.get("split_seed") if isinstance(data, Mapping) else None
    return seed if isinstance(seed, int) else default


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
