"""The files of a run folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import OutputError


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run: ``config.yaml, split.csv, metrics.jsonl, checkpoint/, plots/`` and the image cache."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def split(self) -> Path:
        """Which image is in which part."""
        return self.root / "split.csv"

    @property
    def metrics(self) -> Path:
        """One JSON object per epoch."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Folder of the resumable state and, at the end, of the model."""
        return self.root / "checkpoint"

    @property
    def plots(self) -> Path:
        """Folder of the pictures."""
        return self.root / "plots"

    @property
    def cache(self) -> Path:
        """Folder of the decoded images."""
        return self.root / "cache"

    @property
    def is_started(self) -> bool:
        """True when an epoch was trained."""
        return self.metrics.exists()

    @property
    def is_finished(self) -> bool:
        """True when the run left its model."""
        return (self.checkpoint / "model.json").is_file()


def append_record(path: Path, record: Mapping[str, object]) -> None:
    """Appends one JSON line; raises OutputError."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        raise OutputError(f"could not write {path}: {error.strerror}; free space or choose another --out") from error


def read_records(path: Path) -> list[dict[str, object]]:
    """Returns the records of a JSON-lines file, none when it does not exist; a torn last line is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
