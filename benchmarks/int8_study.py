"""Where the error of int8 comes from: parts of a run's network kept in fp32, and the ranges of its activations.

    python benchmarks/int8_study.py RUN [--json FILE]

Exports the run's graphs, quantises them in several ways on training images, and compares each with the fp32 graph on
the validation images, as ``semise export --precision int8`` does. A share of 1 is where the gate begins to refuse.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import onnx
from rich.console import Console
from rich.table import Table

from semise_export.graphs.half import half_graph
from semise_export.graphs.margin import run_graph
from semise_export.graphs.onnx import export_graphs
from semise_export.graphs.quantize import (
    WITHOUT_WEIGHTS,
    WITHOUT_WEIGHTS_IN_DECODER,
    Ranges,
    first_layer,
    layer_names,
    nodes_of,
    quantized,
)
from semise_export.graphs.variants import CALIBRATION_IMAGES, canvases, validation_margin
from semise_export.limits import LIMITS
from semise_export.run import TrainedRun, spread
from semise_sdk.bundle import REFERENCES
from semise_sdk.models.network import load_network
from semise_sdk.system.machine import describe_machine


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = study(TrainedRun.open(options.run), Path(scratch), Console(stderr=True))
    Console().print(table_of(rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": describe_machine(), "rows": rows}, indent=2) + "\n")


def study(run: TrainedRun, folder: Path, console: Console) -> list[dict[str, object]]:
    """Returns the shares of the int8 limits that each way of rounding uses up."""
    shutil.copyfile(run.checkpoint / REFERENCES, folder / REFERENCES)
    network = load_network(run.model.network, run.checkpoint / "model.safetensors")
    largest = export_graphs(network, run.model.spec, folder)[-1]
    graph = onnx.load(folder / largest)
    margin = validation_margin(folder, graph, run, limits=LIMITS["int8"])
    half = run_graph(half_graph(graph.SerializeToString(), "half"), margin.pixels)
    rows: list[dict[str, object]] = [{"rounding": "fp16", "in_fp32": "nothing", **margin.shares(half)}]
    images = canvases(spread(run.images("train"), CALIBRATION_IMAGES), run.model.spec)
    samples = [{"pixels": row[None]} for row in images]
    for ranges, name, kept in cases(graph):
        console.print(f"int8, {ranges} ranges, in fp32: {name}", highlight=False)
        candidate = quantized(graph, samples, kept=nodes_of(graph, kept), ranges=ranges)
        found = run_graph(candidate.SerializeToString(), margin.pixels)
        rows.append({"rounding": f"int8 {ranges}", "in_fp32": name, **margin.shares(found)})
    return rows


def cases(graph: onnx.ModelProto) -> list[tuple[Ranges, str, Sequence[str]]]:
    """Returns the range of activations, what stays in fp32, and its layers."""
    layers, first = layer_names(graph), first_layer(graph)
    decoder = [*(name for name in layers if ".unet." in name), WITHOUT_WEIGHTS_IN_DECODER]
    depthwise = [name for name in layers if name.endswith("conv_dw")]
    parts = {
        "nothing": [],
        "first layer": [first],
        "first layer, depthwise": [first, *depthwise] if depthwise else None,
        "first layer, decoder": [first, *decoder],
        "first layer, decoder, operations without weights": [first, *decoder, WITHOUT_WEIGHTS],
        "all but the decoder": [*(name for name in layers if name not in decoder), WITHOUT_WEIGHTS],
    }
    some = [("histogram", name, kept) for name, kept in parts.items() if kept is not None]
    return [*((ranges, "first layer", [first]) for ranges in get_args(Ranges) if ranges != "histogram"), *some]


def table_of(rows: list[dict[str, object]]) -> Table:
    """Returns the printed table."""
    figures = list(rows[0])[2:]
    table = Table("rounding", "in fp32", *figures, title="share of the int8 limit that is used up; above 1 is refused")
    for row in rows:
        table.add_row(str(row["rounding"]), str(row["in_fp32"]), *(f"{row[name]:.2f}" for name in figures))
    return table


if __name__ == "__main__":
    main()
