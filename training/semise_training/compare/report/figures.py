"""The figures of a comparison: masks beside each other, and curves over alpha and over the share of labels."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from semise_sdk.system.atomic import write_bytes
from semise_training.compare.cells.cells import Cell
from semise_training.compare.cells.folder import Folder
from semise_training.compare.report.tables import TableRow, Tables, systems_of

CURVES = {"macro_f1": "macro-F1", "kendall_tau": "Kendall tau of the severity"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure as it goes into a file.

    Args:
        name: File name.
        title: What it shows.
        content: PNG or SVG.
    """

    name: str
    title: str
    content: bytes


def draw_figures(root: Path, cells: Sequence[Cell], tables: Tables) -> list[Drawn]:
    """Returns the figures that the cells allow: ``fig2.png``, ``fig3.svg``, ``labels.svg``.

    Figure 2 shows test images, so it is drawn beside the tables of the test part only.
    """
    figures = [_masks(root, cells, tables.labels)] if tables.part == "test" else []
    figures += [_alphas(tables), _fractions(tables)]
    return [figure for figure in figures if figure is not None]


def write_figures(folder: Path, figures: Sequence[Drawn]) -> None:
    """Writes the figures, and deletes those of an earlier report that are none any more; raises OutputError."""
    for name in ("fig2.png", "fig3.svg", "labels.svg"):
        (folder / name).unlink(missing_ok=True)
    for figure in figures:
        write_bytes(folder / figure.name, figure.content)


def _masks(root: Path, cells: Sequence[Cell], labels: Sequence[str]) -> Drawn | None:
    """Draws image, true mask and each system's probability of lesion, a line for each example."""
    folder = Folder(root)
    levels_file = folder.examples / "levels.json"
    maps = _maps_of(folder, cells, folder.candidates())
    if not maps or not levels_file.is_file():
        return None
    levels = json.loads(levels_file.read_text(encoding="utf-8"))
    columns: dict[str, Sequence[Path]] = {
        "image": [folder.examples / f"image_{place}.png" for place in range(len(levels))],
        "true mask": [folder.examples / f"mask_{place}.png" for place in range(len(levels))],
        **{name: [own / f"map_{place}.png" for place in range(len(levels))] for name, own in maps.items()},
    }
    figure = Figure(figsize=(1.4 * len(columns), 1.5 * len(levels)), layout="constrained")
    grid = figure.subplots(len(levels), len(columns), squeeze=False)
    for column, (title, paths) in enumerate(columns.items()):
        for line, path in enumerate(paths):
            _show(grid[line, column], path)
        grid[0, column].set_title(title, fontsize=8)
    for line, level in enumerate(levels):
        grid[line, 0].set_ylabel(labels[level], fontsize=8)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=150, metadata={"Software": None})
    return Drawn("fig2.png", "Lesion masks: images of the first test part drawn by lot beforehand", content.getvalue())


def _maps_of(folder: Folder, cells: Sequence[Cell], alphas: Collection[float] | None) -> dict[str, Path]:
    """Returns the folder of maps of each system, at the alpha chosen for that split."""
    chosen = [cell for of_name in systems_of(cells, alphas).values() for cell in of_name]
    return {cell.key.name: folder.maps(cell.key) for cell in chosen if folder.maps(cell.key).is_dir()}


def _show(axes: Axes, path: Path) -> None:
    axes.set(xticks=[], yticks=[])
    if path.is_file():
        with Image.open(path) as image:
            axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255)


def _alphas(tables: Tables) -> Drawn | None:
    if not tables.alphas:
        return None
    figure = Figure(figsize=(4.2 * len(CURVES), 3.2), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(CURVES), squeeze=False)[0], CURVES.items(), strict=True):
        _curve(axes, {"semise": [(float(row.keys["alpha"]), row) for row in tables.alphas]}, name)
        for alpha, times in tables.chosen.items():
            axes.annotate(
                f"{times}", (alpha, 0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=7
            )
        axes.set(xlabel="alpha (numbers: splits that chose it)", ylabel=label)
    return Drawn("fig3.svg", "Weight alpha of NT-Xent in phase 2, with 95 % intervals", _svg(figure))


def _fractions(tables: Tables) -> Drawn | None:
    if not tables.fractions:
        return None
    lines: dict[str, list[tuple[float, TableRow]]] = {}
    for row in tables.fractions:
        lines.setdefault(row.keys["method"], []).append((100 * float(row.keys["label_fraction"]), row))
    figure = Figure(figsize=(4.2 * len(CURVES), 3.2), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(CURVES), squeeze=False)[0], CURVES.items(), strict=True):
        _curve(axes, lines, name)
        axes.set_xscale("log")
        places = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="% of the training labels", ylabel=label)
        axes.legend(fontsize=7)
    return Drawn("labels.svg", "Learning from fewer labels, with 95 % intervals", _svg(figure))


def _curve(axes: Axes, lines: Mapping[str, Sequence[tuple[float, TableRow]]], name: str) -> None:
    for label, points in lines.items():
        estimates = [(x, row.estimates[name]) for x, row in points]
        defined = [(x, each.value) for x, each in estimates if each.value is not None]
        (line,) = axes.plot([x for x, _ in defined], [value for _, value in defined], marker="o", label=label)
        banded = [(x, each.low, each.high) for x, each in estimates if each.low is not None and each.high is not None]
        if banded:
            places, lows, highs = zip(*banded, strict=True)
            axes.fill_between(places, lows, highs, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.grid(visible=True, alpha=0.3)


def _svg(figure: Figure) -> bytes:
    content = BytesIO()
    # A salt of its own and no date: the same tables draw the same bytes.
    with mpl.rc_context({"svg.hashsalt": "semise"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
