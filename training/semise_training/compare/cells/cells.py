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
from semise_sdk.system.json_fields import JsonField, JsonSource
from semise_training.compare.cells.answers import Answers

SCHEMA = 1

_ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_.]*(-[A-Za-z0-9+_.]+)*")


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
    def from_json(cls, data: JsonField) -> Self:
        """Returns the cell; raises DataError in one sentence about the first field that is wrong."""
        own = [name for name in cls.__dataclass_fields__ if name != "code"]
        data["schema"].choice(SCHEMA)
        data.fields(("schema", "commit", "dirty", *own))
        labels = data["labels"].of(tuple[str, ...])
        return cls(
            key=key_of(data["key"]),
            method=data["method"].text(),
            asked=data["asked"].data(),
            data_digest=data["data_digest"].text(),
            labels=labels,
            config=data["config"].data(),
            protocol=data["protocol"].data(),
            selected=data["selected"].data(),
            counts=data["counts"].data(),
            views=data["views"].optional(JsonField.whole),
            seconds=data["seconds"].number(),
            code=CodeVersion(data["commit"].optional(JsonField.text), data["dirty"].optional(JsonField.flag)),
            machine=data["machine"].data(),
            figures=data["figures"].data(),
            val=Answers.from_json(data["val"], classes=len(labels)),
            test=Answers.from_json(data["test"], classes=len(labels)),
        )


def write_cell(path: Path, cell: Cell) -> None:
    """Writes a cell whole or not at all, one top-level field a line; raises OutputError."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'), allow_nan=False)}"
        for name, value in cell.to_json().items()
    ]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_cell(path: Path) -> Cell:
    """Returns the cell of a file; raises DataError naming the file and what is wrong with it."""
    return Cell.from_json(open_json(path, "compute it anew with --redo"))


def open_json(path: Path, advice: str) -> JsonField:
    """Returns what a file of a comparison holds; raises DataError where that is no JSON."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"could not read {path}: {error.strerror}; {advice}") from error
    return JsonSource(str(path), DataError, advice).parse(text)


def is_row_name(name: str) -> bool:
    """Returns whether ``name`` may name a row, and so files."""
    return _ROW_NAME.fullmatch(name) is not None


def key_of(data: JsonField) -> CellKey:
    """Returns a key from JSON data; raises DataError naming what is wrong."""
    data.fields(tuple(CellKey.__dataclass_fields__))
    data["name"].matching(_ROW_NAME, "a row's name of letters, digits, +, _, . and -")
    return data.of(CellKey)
