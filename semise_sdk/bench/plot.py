"""Draws a benchmark: throughput, latency and, where images were given, what the answers are worth."""

from collections.abc import Callable, Sequence
from importlib import util
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from semise_sdk.bench.rows import BenchRow, Speed
from semise_sdk.bench.run import BenchReport
from semise_sdk.errors import ConfigError
from semise_sdk.system.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1f5a96", "#c96a12", "#2c7a4b", "#8d3a8f", "#8a6d3b", "#555555")


def require_matplotlib() -> None:
    """Refuses a plot where matplotlib is missing, before anything is measured; raises ConfigError."""
    if util.find_spec("matplotlib") is None:
        raise ConfigError("expected matplotlib for the plot, found it missing: pip install 'semise-sdk[train]'")


def draw(report: BenchReport, path: Path) -> None:
    """Writes the plot of the rows that ran as PNG.

    Raises:
        ConfigError: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.speed is not None]
    panels = (_throughput, _latency, _answers) if report.images else (_throughput, _latency)
    figure = Figure(figsize=(2.5 + 4 * len(panels), 1.4 + 0.32 * max(len(rows), 2)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    axes[0].set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes[0].invert_yaxis()
    for panel, place in zip(panels, axes, strict=True):
        panel(place, rows)
        place.grid(visible=True, axis="x", alpha=0.3)
    figure.suptitle(f"{report.bundle} on {report.machine['processor']}, {report.machine['cores']} cores")
    content = BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    write_bytes(path, content.getvalue())


def _throughput(axes: "Axes", rows: Sequence[BenchRow]) -> None:
    axes.barh(range(len(rows)), _of(rows, lambda speed: speed.images_per_second), color=_colours(rows), label="engine")
    end_to_end = [(index, rate) for index, rate in enumerate(_rank_rates(rows)) if rate is not None]
    if end_to_end:
        axes.plot([rate for _, rate in end_to_end], [index for index, _ in end_to_end], "k|", markersize=12)
        axes.set_xlabel("images/s: bar the engine alone, mark end to end")
    else:
        axes.set_xlabel("images/s of the engine alone")


def _latency(axes: "Axes", rows: Sequence[BenchRow]) -> None:
    middle, late = _of(rows, lambda speed: speed.latency.p50), _of(rows, lambda speed: speed.latency.p99)
    axes.hlines(range(len(rows)), middle, late, colors=_colours(rows), linewidth=3)
    axes.scatter(middle, range(len(rows)), c=_colours(rows), zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("ms a run: dot the median, line to p99")


def _answers(axes: "Axes", rows: Sequence[BenchRow]) -> None:
    has_truth = any(row.metrics for row in rows)
    points = [(value, index) for index, row in enumerate(rows) if (value := _c_index(row)) is not None]
    axes.scatter([value for value, _ in points], [index for _, index in points], c="k", marker="D", s=18)
    axes.set_xlabel("C-index against the truth" if has_truth else "C-index against the fp32 ranking")


def _c_index(row: BenchRow) -> float | None:
    figure = row.metrics["c_index"]["value"] if row.metrics else (row.agreement or {}).get("c_index")
    return figure if isinstance(figure, float) else None


def _of(rows: Sequence[BenchRow], figure: Callable[[Speed], float]) -> list[float]:
    return [figure(row.speed) for row in rows if row.speed is not None]


def _rank_rates(rows: Sequence[BenchRow]) -> list[float | None]:
    return [None if row.speed is None else row.speed.rank_images_per_second for row in rows]


def _colours(rows: Sequence[BenchRow]) -> list[str]:
    backends = list(dict.fromkeys((row.case.backend, row.case.device) for row in rows))
    return [_COLOURS[backends.index((row.case.backend, row.case.device)) % len(_COLOURS)] for row in rows]


def _name(row: BenchRow) -> str:
    return f"{row.case.backend} {row.case.device} {row.case.precision} x{row.batch}"
