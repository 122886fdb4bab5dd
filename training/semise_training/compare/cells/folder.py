"""The files of a comparison's folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.system.atomic import write_text
from semise_training.compare.cells.cells import Cell, CellKey, open_json, read_cell
from semise_training.compare.cells.failures import Failure, read_failure


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths of a comparison: ``cells/`` is what it found; ``examples/``, the tables and the page are made to be read.

    ``failed/`` says which cells could not be computed. ``cache/`` and ``work/`` may be deleted when it is done.
    """

    root: Path

    @property
    def cells(self) -> Path:
        """One JSON file per cell, and beside some of them a folder of maps."""
        return self.root / "cells"

    @property
    def examples(self) -> Path:
        """The images of the figure of masks: pixels of the data, which the cells do not hold."""
        return self.root / "examples"

    @property
    def cache(self) -> Path:
        """Decoded images and frozen features that cells share."""
        return self.root / "cache"

    @property
    def alphas(self) -> Path:
        """The values of alpha that ``semise`` chooses among, of all commands on this folder."""
        return self.root / "alphas.json"

    def cell(self, key: CellKey) -> Path:
        """Returns the file of a cell."""
        return self.cells / f"{key.slug}.json"

    def maps(self, key: CellKey) -> Path:
        """Returns the folder of a cell's maps."""
        return self.cells / key.slug

    def failed(self, key: CellKey) -> Path:
        """Returns the file that says why a cell could not be computed."""
        return self.root / "failed" / f"{key.slug}.json"

    def work(self, key: CellKey) -> Path:
        """Returns the run folder in which a cell is being computed."""
        return self.root / "work" / key.slug

    def stored(self, key: CellKey) -> Cell | None:
        """Returns a computed cell, None where there is none; raises DataError where it is damaged or another."""
        path = self.cell(key)
        if not path.exists():
            return None
        cell = read_cell(path)
        if cell.key != key:
            raise DataError(f"expected the cell {key} in {path}, found that of {cell.key}: move it out of the folder")
        return cell

    def failures(self) -> list[Failure]:
        """Returns the cells that failed and have not been computed since; raises DataError where one is damaged."""
        found = [read_failure(path) for path in sorted((self.root / "failed").glob("*.json"))]
        return [failure for failure in found if not self.cell(failure.key).exists()]

    def candidates(self) -> frozenset[float] | None:
        """Returns the alphas that :meth:`add_candidates` was told of; None for none, when every alpha is one.

        Raises:
            DataError: the file is damaged.
        """
        if not self.alphas.exists():
            return None
        return frozenset(open_json(self.alphas, "delete it and name all --alphas again").of(tuple[float, ...]))

    def add_candidates(self, alphas: Sequence[float]) -> None:
        """Remembers that ``semise`` chooses among ``alphas`` too; raises OutputError."""
        if alphas:
            write_text(self.alphas, json.dumps(sorted({*alphas, *(self.candidates() or ())})) + "\n")

    def read(self) -> list[Cell]:
        """Returns every computed cell, by file name; raises DataError where one is damaged or misnamed."""
        cells = []
        for path in sorted(self.cells.glob("*.json")):
            cells.append(read_cell(path))
            if cells[-1].key.slug != path.stem:
                raise DataError(f"expected the cell of its name in {path}, found {cells[-1].key.slug}: rename it back")
        return cells
