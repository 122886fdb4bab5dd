"""The pictures of a run folder: losses, the severity radius per grade, and a map of the embedding."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from semise_training.data.dataset import Dataset
from semise_training.loop.run_folder import RunFolder, read_records
from semise_training.network.embedding import embed
from semise_training.stages.upstream import Upstream

Record = Mapping[str, object]


def draw_run(run: RunFolder, upstream: Upstream) -> None:
    """Writes ``plots/losses.png``, ``plots/severity_radius.png`` and ``plots/embedding.png``."""
    run.plots.mkdir(parents=True, exist_ok=True)
    records = read_records(run.metrics)
    _draw_losses(records, run.plots / "losses.png")
    radii = [record for record in records if "radius" in record]
    if radii:
        _draw_radius(radii, upstream.dataset.labels, run.plots / "severity_radius.png")
    _draw_embedding(upstream, run.plots / "embedding.png")


def _draw_losses(records: Sequence[Record], path: Path) -> None:
    stages = list(dict.fromkeys(str(record["stage"]) for record in records))
    figure = Figure(figsize=(4 * len(stages), 3.2), layout="constrained")
    for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        rows = [record for record in records if record["stage"] == stage]
        for term in dict.fromkeys(term for row in rows for term in _mapping(row["loss"])):
            values = [_mapping(row["loss"]).get(term, float("nan")) for row in rows]
            axes.plot(range(1, len(rows) + 1), values, label=term)
        _label(axes, title=stage, x="epoch", y="loss term, weighted")
    _save(figure, path)


def _draw_radius(records: Sequence[Record], labels: Sequence[str], path: Path) -> None:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for level, label in enumerate(labels):
        axes.plot(
            [_mapping(record["radius"]).get(str(level), float("nan")) for record in records], label=label, marker="."
        )
    _label(axes, title="severity of validation images by grade", x="epoch, stage after stage", y="mean distance")
    _save(figure, path)


def _draw_embedding(upstream: Upstream, path: Path) -> None:
    """Draws severity vectors of training and validation on the first two principal axes of training."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    train = _directions(upstream, "train")
    projection = PCA(n_components=2, random_state=0).fit(train)
    for axes, part in zip(figure.subplots(1, 2), ("train", "val"), strict=True):
        points = projection.transform(train if part == "train" else _directions(upstream, part))
        _scatter(axes, points, upstream.dataset, part)
    _save(figure, path)


def _directions(upstream: Upstream, part: str) -> NDArray[np.float32]:
    indices = upstream.dataset.parts[part]
    vectors = embed(upstream.model.network, upstream.dataset, indices, compute=upstream.compute).severity
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _scatter(axes: Axes, points: NDArray[np.float32], dataset: Dataset, part: str) -> None:
    levels = dataset.levels[dataset.parts[part]]
    for level, label in enumerate(dataset.labels):
        chosen = points[levels == level]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=10, label=label)
    _label(axes, title=f"severity vectors, {part}", x="principal axis 1", y="principal axis 2")


def _label(axes: Axes, *, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.legend(fontsize=8)


def _save(figure: Figure, path: Path) -> None:
    # The Agg canvas draws without a display and without pyplot's global state.
    FigureCanvasAgg(figure).print_png(str(path))


def _mapping(value: object) -> Mapping[str, float]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping in metrics.jsonl, found {type(value).__name__}")
    return value
