"""int8 graphs by NNCF's post-training quantisation, with the layers that are told staying in fp32."""

import importlib
import io
import logging
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stdout
from types import ModuleType
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from semise_sdk.errors import ConfigError

Sample = Mapping[str, NDArray[np.generic]]
Ranges = Literal["whole", "mean", "histogram"]
"""Range of an activation: the largest value that any calibration image showed, the mean of the images' largest, or the
one whose 256 steps give the least error over the histogram of all values."""

LAYERS = ("Conv", "Gemm", "MatMul")
WITHOUT_WEIGHTS = "operations without weights"
WITHOUT_WEIGHTS_IN_DECODER = "operations without weights of the decoder"
"""Two parts beside the layers: residual additions in 8 bits move answers even between fp32 layers."""

_TELEMETRY = "openvino_telemetry"
_ENCODER_OUTPUTS = ("embedding", "severity_vector", "reference_vector", "severity_map_vectors")
_import_lock = threading.Lock()


def nncf() -> ModuleType:
    """Returns the ``nncf`` module, imported so that it stays off the network and off the terminal.

    Raises:
        ConfigError: it is not installed.
    """
    with _import_lock:
        is_loaded = "nncf" in sys.modules
        hidden = sys.modules.get(_TELEMETRY)
        if not is_loaded:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail: nncf then sends nothing
        try:
            module = importlib.import_module("nncf")
        except ImportError as error:
            raise ConfigError(f"int8 needs nncf ({error}): pip install 'semise-sdk[export]'") from error
        finally:
            if not is_loaded:
                del sys.modules[_TELEMETRY]
            if hidden is not None:
                sys.modules[_TELEMETRY] = hidden
    module.set_log_level(logging.ERROR)
    return module


def quantized(
    graph: onnx.ModelProto, samples: Sequence[Sample], *, kept: Collection[str] = (), ranges: Ranges = "whole"
) -> onnx.ModelProto:
    """Returns a graph with symmetric int8 weights per output channel and 8-bit activations, as QDQ with zero points 0.

    Each bias is shifted by the mean error that its weights' rounding brings (NNCF's fast bias correction).

    Args:
        graph: The fp32 graph.
        samples: Inputs of training images, one row each, that show the range of every activation.
        kept: Names of nodes that stay in fp32.
        ranges: Which range of activations gets the 256 steps.
    """
    library = nncf()
    estimators = importlib.import_module("nncf.quantization.range_estimator").RangeEstimatorParametersSet
    names = {"whole": estimators.MINMAX, "mean": estimators.MEAN_MINMAX, "histogram": estimators.HISTOGRAM}
    with redirect_stdout(io.StringIO()):  # it draws its progress there, and standard output is for results
        return library.quantize(
            graph,
            library.Dataset([dict(sample) for sample in samples]),
            subset_size=len(samples),
            preset=library.QuantizationPreset.PERFORMANCE,
            ignored_scope=library.IgnoredScope(names=sorted(kept)) if kept else None,
            advanced_parameters=library.AdvancedQuantizationParameters(
                activations_range_estimator_params=names[ranges]
            ),
        )


def encoder_of(unet: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the encoder graph inside of a U-Net graph: the same nodes and weights, so the same severity."""
    return onnx.utils.Extractor(unet).extract_model(["pixels"], list(_ENCODER_OUTPUTS))


def unquantized_layers(graph: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the names of the layers with weights that an int8 graph computes in higher precision.

    A layer is called by its weight, as the network calls it: ``network.encoder.body.conv_stem``.
    """
    from_8_bits = {name for node in graph.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    weights = {tensor.name for tensor in graph.graph.initializer}
    found = [
        _layer_name(node)
        for node in graph.graph.node
        if node.op_type in LAYERS and node.input[1] in weights and node.input[1] not in from_8_bits
    ]
    return tuple(dict.fromkeys(found))


def layer_names(graph: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the layers with weights of a graph, each once, in its order (see :func:`unquantized_layers`)."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    nodes = [node for node in graph.graph.node if node.op_type in LAYERS and node.input[1] in weights]
    return tuple(dict.fromkeys(_layer_name(node) for node in nodes))


def _layer_name(node: onnx.NodeProto) -> str:
    weight = str(node.input[1]) if len(node.input) > 1 else ""
    return weight.removesuffix(".weight") if weight.endswith(".weight") else str(node.name)


def first_layer(graph: onnx.ModelProto) -> str:
    """Returns the first layer with weights of an fp32 graph: what no quantiser should touch without need.

    It sees raw pixels, and a filter of opposite colours multiplies their rounding: the stem of tf_efficientnet_lite0
    has weights of 223 beside a median of 4, and in int8 it alone brought two thirds of the whole error.
    """
    weights = {tensor.name for tensor in graph.graph.initializer}
    first = next(node for node in graph.graph.node if node.op_type == "Conv" and node.input[1] in weights)
    return _layer_name(first)


def parts_of(graph: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Returns the names of the nodes of each part of an fp32 graph that goes to int8 or stays in fp32 as one.

    A part is a layer, under its name, or all operations without weights of encoder or decoder. To the first layer
    belong the scaling of the pixels before it, and pooling for the largest value: it gives the same answers in any
    precision, and ONNX Runtime runs it in 8 bits at a twentieth of its speed in fp32.
    """
    first = first_layer(graph)
    scaling = _ancestors(graph, {n.output[0] for n in graph.graph.node if _layer_name(n) == first})
    in_encoder = _ancestors(graph, set(_ENCODER_OUTPUTS))
    parts: dict[str, list[str]] = {first: []}
    for node in graph.graph.node:
        if node.name in scaling or node.op_type == "MaxPool":
            name = first
        elif node.op_type in LAYERS:
            name = _layer_name(node)
        else:
            name = WITHOUT_WEIGHTS if node.name in in_encoder else WITHOUT_WEIGHTS_IN_DECODER
        parts.setdefault(name, []).append(node.name)
    return {name: tuple(nodes) for name, nodes in parts.items()}


def _ancestors(graph: onnx.ModelProto, names: set[str]) -> set[str]:
    """Returns the names of the nodes that tensors called ``names`` depend on."""
    needed, found = set(names), set()
    for node in reversed(graph.graph.node):  # in topological order: whoever needs a node comes after it
        if needed & set(node.output):
            needed |= set(node.input)
            found.add(node.name)
    return found


def nodes_of(graph: onnx.ModelProto, parts: Collection[str]) -> tuple[str, ...]:
    """Returns the names of the nodes of some parts of an fp32 graph (see :func:`parts_of`)."""
    return tuple(node for name, nodes in parts_of(graph).items() if name in parts for node in nodes)
