"""From cells to tables, figures and the page."""

from pathlib import Path

from semise_training.compare.figures import draw_figures, write_figures
from semise_training.compare.page import write_page
from semise_training.compare.run import read_cells
from semise_training.compare.statistics import REPEATS
from semise_training.compare.tables import Tables, build_tables
from semise_training.compare.write import write_tables

PAGE = "comparison.html"


def report(root: Path, *, part: str = "test", repeats: int = REPEATS) -> Tables:
    """Returns the tables of all cells in a comparison's folder, and writes them, the figures and the page.

    Those of the test part go into the folder itself, those of the validation part into its ``val``.

    Raises:
        DataError: there are no cells, or they do not belong together.
        OutputError: a file could not be written.
    """
    cells = read_cells(root)
    tables = build_tables(cells, part=part, repeats=repeats)
    folder, figures = report_folder(root, part), draw_figures(root, cells, tables)
    write_tables(folder, tables)
    write_figures(folder, figures)
    write_page(folder / PAGE, cells, tables, figures)
    return tables


def report_folder(root: Path, part: str) -> Path:
    """Returns where the tables of a part lie."""
    return root if part == "test" else root / part
