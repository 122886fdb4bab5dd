"""Which cells a comparison has, and the configuration of each."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from semise_sdk.errors import ConfigError
from semise_training.compare.cells.cells import CellKey
from semise_training.compare.cells.experiment import portable, weights_digest
from semise_training.compare.cells.rows import BASELINE, FRACTION_ROWS, LABELED_ONLY, SystemRow
from semise_training.config import DataConfig, TrainConfig, merge
from semise_training.data.manifest import Manifest
from semise_training.methods import find_method
from semise_training.recipe import build_config

_LEARNING = ("heads", "optimizer", "phase1", "phase2", "refit", "simclr", "supervised", "soda")


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
        fraction_rows: Rows that learn from fewer labels too; empty for those of ``FRACTION_ROWS`` that are there.
    """

    rows: tuple[SystemRow, ...]
    settings: Mapping[str, object]
    preset: str = "recommended"
    protocol: Protocol = Protocol()
    folds: int = 0
    seeds: int = 1
    only_fold: int | None = None
    alphas: tuple[float, ...] = ()
    label_fractions: tuple[float, ...] = ()
    fraction_rows: tuple[str, ...] = ()

    @property
    def data(self) -> DataConfig:
        """Where the data are; raises ConfigError for wrong settings."""
        return build_config(self.preset, self.settings).data

    def cells(self, manifest: Manifest | None = None) -> tuple[PlannedCell, ...]:
        """Returns every cell, split by split, so that an interrupted comparison has whole folds.

        Args:
            manifest: The data. Without it, they are taken to name no splits and to have unlabeled images.

        Raises:
            ConfigError: an unknown method or setting, options without effect, settings that the plan itself makes, or
                two cells of one name.
        """
        self._check()
        names_splits = manifest is not None and manifest.names_splits
        # Without unlabeled images semise-labeled at all labels is semise, which stands for it.
        left_out = LABELED_ONLY if manifest is not None and not _has_unlabeled(manifest) else None
        cells = [
            cell
            for fold, seed in itertools.product(self._folds(), range(self.seeds))
            for cell in self._cells_of(fold, seed, names_splits=names_splits)
            if not (cell.key.name == left_out and cell.key.label_fraction == 1)
        ]
        return _distinct(cells)

    def _folds(self) -> Sequence[int]:
        return range(max(self.folds, 1)) if self.only_fold is None else [self.only_fold]

    def _cells_of(self, fold: int, seed: int, *, names_splits: bool) -> list[PlannedCell]:
        split_seed = _split_seed(self.settings, 0 if self.folds or names_splits else seed)
        place = CellKey(name="", folds=self.folds, fold=fold, split_seed=split_seed, seed=seed)
        full = [self._cell(row, place, alpha=alpha) for row in self.rows for alpha in self._alphas_of(row)]
        fewer = [
            self._cell(row, place, fraction=fraction)
            for fraction in (*self.label_fractions, *([1.0] if self.label_fractions else []))
            for row in self._fraction_rows()
        ]
        return full + fewer

    def _alphas_of(self, row: SystemRow) -> Sequence[float | None]:
        return self.alphas if row.name == BASELINE and self.alphas else (None,)

    def _fraction_rows(self) -> list[SystemRow]:
        return [row for row in self.rows if row.name in (self.fraction_rows or FRACTION_ROWS)]

    def _cell(
        self, row: SystemRow, place: CellKey, *, alpha: float | None = None, fraction: float = 1.0
    ) -> PlannedCell:
        of_cell: dict[str, object] = {
            "method": row.method,
            "name": row.name,
            "seed": place.seed,
            "data": {
                "folds": place.folds,
                "fold": place.fold,
                "split_seed": place.split_seed,
                "label_fraction": fraction,
            },
        }
        _refuse_other_methods(row, self.settings)
        settings = merge(merge(self.settings, row.settings), of_cell)
        config = build_config(row.preset or self.preset, settings)
        if alpha == config.phase2.alpha:
            alpha = None
        if alpha is not None:
            config = build_config(row.preset or self.preset, merge(settings, {"phase2": {"alpha": alpha}}))
        key = dataclasses.replace(place, name=row.name, alpha=alpha, label_fraction=fraction)
        return PlannedCell(key=key, config=config, protocol=self.protocol)

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
        for row in self.rows:
            find_method(row.method)
        self._refuse_idle_options(names)

    def _refuse_idle_options(self, names: Sequence[str]) -> None:
        """Refuses options that would change nothing."""
        if self.alphas and BASELINE not in names:
            raise ConfigError(
                f"expected the method {BASELINE}, which alone chooses among --alphas, found {', '.join(names)}: "
                "add it to --methods or leave --alphas out"
            )
        strangers = [name for name in self.fraction_rows if name not in names]
        if strangers:
            raise ConfigError(f"expected --fraction-methods among the rows {', '.join(names)}, found {strangers[0]!r}")
        if self.fraction_rows and not self.label_fractions:
            raise ConfigError("expected --label-fractions beside --fraction-methods, found none: say which shares")
        if self.label_fractions and not self._fraction_rows():
            raise ConfigError(
                f"expected a row that learns from --label-fractions, found {', '.join(names)}: name it with "
                "--fraction-methods"
            )


def _distinct(cells: Iterable[PlannedCell]) -> tuple[PlannedCell, ...]:
    """Returns the cells, each once; raises ConfigError where two different ones would share a file."""
    planned: dict[str, PlannedCell] = {}
    for cell in cells:
        known = planned.setdefault(cell.key.slug, cell)
        if known.key != cell.key:
            raise ConfigError(
                f"expected cells of different names, found two called {cell.key.slug}: choose another name for the "
                "row, or values that differ in their first six digits"
            )
    return tuple(planned.values())


def _has_unlabeled(manifest: Manifest) -> bool:
    return any(sample.severity is None for sample in manifest.samples)


def _refuse_other_methods(row: SystemRow, settings: Mapping[str, object]) -> None:
    """Refuses settings of all rows that would make another method of one: they override what a method is made of."""
    for section, own in find_method(row.method).overrides.items():
        given = settings.get(section)
        if section not in _LEARNING or not isinstance(own, Mapping) or not isinstance(given, Mapping):
            continue
        wrong = [f"{section}.{name}" for name in own if name in given and given[name] != own[name]]
        if wrong:
            raise ConfigError(
                f"expected settings of all rows (--set, semise.toml) to leave {', '.join(wrong)} alone, which make "
                f"{row.method} what it is, found them: change them for one row with --variant"
            )


def _split_seed(settings: Mapping[str, object], default: int) -> int:
    data = settings.get("data")
    seed = data.get("split_seed") if isinstance(data, Mapping) else None
    return seed if isinstance(seed, int) else default
