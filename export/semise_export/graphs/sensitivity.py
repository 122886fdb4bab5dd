"""How much of the answers' error each part of an int8 graph brings, and the graph with parts back in fp32."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from semise_export.graphs.margin import Outputs, run_graph
from semise_export.graphs.quantize import LAYERS, nodes_of, unquantized_layers
from semise_sdk.system.progress import Reporter

_JUDGED = ("embedding", "severity_vector", "mask_logits")


def restoring_order(
    original: onnx.ModelProto,
    quantised: onnx.ModelProto,
    parts: Mapping[str, Collection[str]],
    pixels: NDArray[np.uint8],
    *,
    reporter: Reporter,
) -> tuple[str, ...]:
    """Returns the parts in the order in which they go back to fp32: first what brings most error for its work.

    A part that the quantiser left alone is not among them: a graph with all others back is the fp32 graph.

    Each part is measured alone in int8. Errors of rounding in different places hardly depend on each other, so that
    their powers add up (:func:`noise`); what a part costs in fp32 are its multiplications.

    Args:
        original: The fp32 graph.
        quantised: The same graph with every part in int8.
        parts: Names of the nodes of each part.
        pixels: Images that were not kept for the gate, ``uint8 [N, H, W, 3]``.
        reporter: Receives progress.
    """
    wanted = run_graph(original.SerializeToString(), pixels)
    work = multiplications(original, pixels[:1])
    total = sum(work.values())
    reporter.start("int8: what each part costs", len(parts))
    gain = {}
    for name, nodes in parts.items():
        others = [node for other, theirs in parts.items() if other != name for node in theirs]
        alone = restored(quantised, original, others)
        share = sum(work.get(node, 0) for node in nodes) / total
        # An operation without weights costs time too, though it multiplies nothing.
        gain[name] = noise(wanted, run_graph(alone.SerializeToString(), pixels)) / (share + 1 / len(parts))
        reporter.step(name)
    return tuple(sorted((name for name in gain if gain[name] > 0), key=lambda name: -gain[name]))


def noise(wanted: Outputs, found: Outputs) -> float:
    """Returns the power of the error of embedding, severity vector and mask logits, each as a share of its variance."""
    judged = [name for name in _JUDGED if name in wanted]
    return sum(
        float(np.square(found[name] - wanted[name]).mean() / max(float(wanted[name].var()), 1e-12)) for name in judged
    )


def multiplications(graph: onnx.ModelProto, pixels: NDArray[np.uint8]) -> dict[str, int]:
    """Returns how often each layer with weights multiplies for an input of the shape of ``pixels``, by node."""
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    layers = [n for n in graph.graph.node if n.op_type in LAYERS and n.input[1] in weights]
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graph)
    for side, length in zip(fixed.graph.input[0].type.tensor_type.shape.dim, pixels.shape, strict=True):
        side.dim_value = length
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    shapes = {
        value.name: [side.dim_value or 1 for side in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    return {node.name: _multiplications(node, shapes[node.output[0]], weights[node.input[1]].dims) for node in layers}


def share_in_8_bits(original: onnx.ModelProto, quantised: onnx.ModelProto, pixels: NDArray[np.uint8]) -> float:
    """Returns the share of an fp32 graph's multiplications that its int8 graph, or a part of it, makes in 8 bits."""
    in_fp32 = set(unquantized_layers(quantised))
    names = {node.name for node in quantised.graph.node}
    work = {name: count for name, count in multiplications(original, pixels).items() if name in names}
    slow = set(nodes_of(original, in_fp32))
    return 1 - sum(count for name, count in work.items() if name in slow) / sum(work.values())


def _multiplications(node: onnx.NodeProto, output: list[int], weight: Iterable[int]) -> int:
    size = int(np.prod(list(weight)))
    # Every weight of a convolution meets every place of the output once; that of a product meets every row.
    places = int(np.prod(output[2:])) if node.op_type == "Conv" else int(np.prod(output[:-1]))
    return size * places


def restored(quantised: onnx.ModelProto, original: onnx.ModelProto, kept: Iterable[str]) -> onnx.ModelProto:
    """Returns an int8 graph whose nodes ``kept`` compute in fp32 again, with the weights and biases of the original.

    Args:
        quantised: The graph with QDQ nodes.
        original: The fp32 graph that it was made from, whose nodes have the same names.
        kept: Names of nodes; all of those that share a weight, or none.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantised)
    made = {name: node for node in model.graph.node for name in node.output}
    before = {node.name: node for node in original.graph.node}
    values = {tensor.name: tensor for tensor in original.graph.initializer}
    chosen = set(kept)
    back: dict[str, onnx.TensorProto] = {}
    for node in model.graph.node:
        if node.name not in chosen:
            continue
        for place, name in enumerate(before[node.name].input):
            node.input[place] = name if name in values else _unrounded(node.input[place], made)
            back |= {name: values[name]} if name in values else {}
    others = [tensor for tensor in model.graph.initializer if tensor.name not in back]
    _replace(model.graph.initializer, [*others, *back.values()])
    _prune(model.graph)
    return model


def _unrounded(name: str, made: Mapping[str, onnx.NodeProto]) -> str:
    """Returns the tensor that a pair of QuantizeLinear and DequantizeLinear rounded, or the tensor itself."""
    dequantize = made.get(name)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return name
    return str(made[dequantize.input[0]].input[0])


def _prune(graph: onnx.GraphProto) -> None:
    """Takes out what no output depends on."""
    needed = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):  # in topological order: whoever needs a node comes after it
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    _replace(graph.node, list(reversed(nodes)))
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    made = {name for node in graph.node for name in node.output}
    _replace(graph.value_info, [value for value in graph.value_info if value.name in made])


def _replace(field: object, messages: list[object]) -> None:
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]  # type: ignore[attr-defined]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
