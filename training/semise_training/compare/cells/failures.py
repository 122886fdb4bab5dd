"""Cells that could not be computed, and why: a row that lacks one must say so."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.system.atomic import write_text
from semise_training.compare.cells.cells import CellKey, key_of, open_json


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell whose training diverged or collapsed, and what was said of it."""

    key: CellKey
    reason: str


def write_failure(path: Path, failure: Failure) -> None:
    """Writes a failure as JSON; raises OutputError."""
    write_text(path, json.dumps({"key": dataclasses.asdict(failure.key), "reason": failure.reason}, indent=1) + "\n")


def read_failure(path: Path) -> Failure:
    """Returns the failure of a file; raises DataError naming the file and what is wrong with it."""
    fields = open_json(path, "delete it").fields(("key", "reason"))
    return Failure(key_of(fields["key"]), fields["reason"].text())
