"""From cells to tables, figures and the page."""

from collections.abc import Collection
from pathlib import Path

from semise_sdk.errors import ConfigError
from semise_training.compare.cells.folder import Folder
from semise_training.compare.cells.setup import read_cells
from semise_training.compare.report.figures import draw_figures, write_figures
from semise_training.compare.report.page import write_page
from semise_training.compare.report.statistics import REPEATS
from semise_training.compare.report.tables import Tables, build_tables
from semise_training.compare.report.write import write_tables

PAGE = "comparison.html"


def report(root: Path, *, part: str = "test", repeats: int = REPEATS, rows: Collection[str] = ()) -> Tables:
    """Returns the tables of the cells in a comparison's folder, and writes them, the figures and the page.

    Those of the test part go into the folder itself, those of the validation part into its ``val``.

    Args:
        root: The comparison's folder.
        part: ``val`` or ``test``.
        repeats: Resamples of the intervals.
        rows: The rows of the tables, empty for all that have cells.

    Raises:
        ConfigError: none of ``rows`` has a cell.
        DataError: there are no cells, or they do not belong together.
        OutputError: a file could not be written.
    """
    there = read_cells(root)
    cells = [cell for cell in there if not rows or cell.key.name in rows]
    if not cells:
        names = ", ".join(sorted({cell.key.name for cell in there}))
        raise ConfigError(f"expected rows of {names}, of which there are cells, found {', '.join(rows)}")
    comparison = Folder(root)
    failures = [failure for failure in comparison.failures() if not rows or failure.key.name in rows]
    tables = build_tables(cells, part=part, repeats=repeats, alphas=comparison.candidates(), failures=failures)
    folder, figures = report_folder(root, part), draw_figures(root, cells, tables)
    write_tables(folder, tables)
    write_figures(folder, figures)
    write_page(folder / PAGE, cells, tables, figures)
    return tables


def report_folder(root: Path, part: str) -> Path:
    """Returns where the tables of a part lie."""
    return root if part == "test" else root / part
