"""The record of one cell: one system on one split with one seed, what was selected and what it then answered."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from semise_sdk.errors import DataError
from semise_sdk.system.atomic import write_text
from semise_training.compare.cells.answers import Answers, checked_fields

SCHEMA = 1

_KEY_TYPES: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "folds": (int,),
    "fold": (int,),
    "split_seed": (int,),
    "seed": (int,),
    "alpha": (int, float, type(None)),
    "label_fraction": (int, float),
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "schema": (int,),
    "key": (dict,),
    "method": (str,),
    "asked": (dict,),
    "data_digest": (str,),
    "labels": (list,),
    "config": (dict,),
    "protocol": (dict,),
    "selected": (dict,),
    "counts": (dict,),
    "views": (int, type(None)),
    "seconds": (int, float),
    "commit": (str, type(None)),
    "dirty": (bool, type(None)),
    "machine": (dict,),
    "figures": (dict,),
    "val": (dict,),
    "test": (dict,),
}
_KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellKey:
    """Which cell.

    Args:
        name: The row: a method's name, or a variant's.
        folds: Number of folds; 0 for a random split, or the one that the manifest names.
        fold: Which fold is the test part.
        split_seed: Seed of the split.
        seed: Seed of everything else that is random.
        alpha: ``phase2.alpha`` where it differs from the row's own, else None.
        label_fraction: Share of the training labels that stay.
    """

    name: str
    folds: int
    fold: int
    split_seed: int
    seed: int
    alpha: float | None = None
    label_fraction: float = 1.0

    @property
    def slug(self) -> str:
        """The cell's name in file names."""
        alpha = "" if self.alpha is None else f"-alpha{self.alpha:g}"
        fraction = "" if self.label_fraction == 1 else f"-labels{self.label_fraction:g}"
        fold = f"-fold{self.fold}of{self.folds}" if self.folds else ""
        return f"{self.name}{alpha}{fraction}{fold}-split{self.split_seed}-seed{self.seed}"

    @property
    def split(self) -> tuple[int, int, int]:
        """What decides the test part."""
        return self.folds, self.fold, self.split_seed


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """The git commit that a cell was computed by, and whether the checkout had changes; None outside a checkout."""

    commit: str | None
    is_dirty: bool | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """One computed cell.

    Args:
        key: Which one.
        method: Its method.
        asked: Everything that was asked for (``PlannedCell.asked``); asked otherwise, it is another experiment.
        data_digest: Of the manifest's images, levels and groups.
        labels: Grade names in severity order.
        config: The resolved configuration, without folders.
        protocol: The downstream protocol and the budget.
        selected: What training and selection left: epochs, validation figures, digests of weights.
        counts: Images of each part by grade, and the unlabeled ones.
        views: Images that training passed through the encoder, where the stages count them.
        seconds: How long it took, in all its parts.
        code: The version of the code.
        machine: See ``semise_sdk.system.machine.describe_machine``.
        val: What the selected model says of the validation part.
        test: What it says of the test part.
        figures: Every metric of both parts, for the reader's eye; tables compute theirs from the answers.
    """

    key: CellKey
    method: str
    asked: Mapping[str, object]
    data_digest: str
    labels: tuple[str, ...]
    config: Mapping[str, object]
    protocol: Mapping[str, object]
    selected: Mapping[str, object]
    counts: Mapping[str, object]
    views: int | None
    seconds: float
    code: CodeVersion
    machine: Mapping[str, object]
    val: Answers
    test: Answers
    figures: Mapping[str, object]

    def answers(self, part: str) -> Answers:
        """Returns the answers of ``val`` or ``test``."""
        return self.test if part == "test" else self.val

    def to_json(self) -> dict[str, object]:
        """Returns JSON data that :meth:`from_json` reads back."""
        return {
            "schema": SCHEMA,
            "key": dataclasses.asdict(self.key),
            "method": self.method,
            "asked": dict(self.asked),
            "data_digest": self.data_digest,
            "labels": list(self.labels),
            "config": dict(self.config),
            "protocol": dict(self.protocol),
            "selected": dict(self.selected),
            "counts": dict(self.counts),
            "views": self.views,
            "seconds": self.seconds,
            "commit": self.code.commit,
            "dirty": self.code.is_dirty,
            "machine": dict(self.machine),
            "figures": dict(self.figures),
            "val": self.val.to_json(),
            "test": self.test.to_json(),
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Returns the cell; raises DataError in one sentence about the first field that is wrong."""
        fields = checked_fields("a cell", data, required=tuple(_TYPES))
        if fields["schema"] != SCHEMA:
            raise DataError(
                f"expected a cell of schema {SCHEMA}, found {fields['schema']!r}: compute it anew with --redo"
            )
        _check_types(fields, _TYPES)
        labels = tuple(str(label) for label in _list(fields["labels"]))
        kept = {name: value for name, value in fields.items() if name not in ("schema", "key", "labels")}
        answers = {part: Answers.from_json(kept.pop(part), classes=len(labels)) for part in ("val", "test")}
        code = CodeVersion(kept.pop("commit"), kept.pop("dirty"))  # type: ignore[arg-type]  # checked above
        return cls(key=key_of(fields["key"]), labels=labels, code=code, **answers, **kept)  # type: ignore[arg-type]  # checked above


def write_cell(path: Path, cell: Cell) -> None:
    """Writes a cell whole or not at all, one top-level field a line; raises OutputError."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'), allow_nan=False)}"
        for name, value in cell.to_json().items()
    ]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_cell(path: Path) -> Cell:
    """Returns the cell of a file; raises DataError naming the file and what is wrong with it."""
    try:
        return Cell.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"expected {path} to be a cell of semise compare, found no readable JSON ({error})") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def is_row_name(name: str) -> bool:
    """Returns whether ``name`` may name a row, and so files."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+_.]*(-[A-Za-z0-9+_.]+)*", name) is not None


def key_of(data: object) -> CellKey:
    """Returns a key from JSON data; raises DataError naming what is wrong."""
    fields = checked_fields("key", data, required=tuple(_KEY_TYPES))
    _check_types(fields, _KEY_TYPES)
    key = CellKey(**fields)  # type: ignore[arg-type]  # checked above
    if not is_row_name(key.name):
        raise DataError(f"expected a row's name of letters, digits, +, _, . and -, found {key.name!r}")
    return key


def _check_types(fields: Mapping[str, object], types: Mapping[str, tuple[type, ...]]) -> None:
    for name, kinds in types.items():
        value = fields[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            expected = " or ".join(_KINDS[kind] for kind in kinds)
            raise DataError(f"expected {name} to be {expected}, found {str(value)[:40]!r}")


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
