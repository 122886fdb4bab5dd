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
"""Stands among layers for all other nodes: residual additions in 8 bits move answers even between fp32 layers."""

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

    A layer is called by its weight, as the network calls it: ``network.encoder.body.conv_stem``;
    :data:`WITHOUT_WEIGHTS` is among them where no other operation takes 8-bit inputs.
    """
    from_8_bits = {name for node in graph.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    weights = {tensor.name for tensor in graph.graph.initializer}
    found = [
        _layer_name(node)
        for node in graph.graph.node
        if node.op_type in LAYERS and node.input[1] in weights and node.input[1] not in from_8_bits
    ]
    others = [node for node in graph.graph.node if node.op_type not in (*LAYERS, "QuantizeLinear", "DequantizeLinear")]
    are_kept = from_8_bits and not any(from_8_bits & set(node.input) for node in others)
    return (*dict.fromkeys(found), *([WITHOUT_WEIGHTS] if are_kept else []))


def layer_names(graph: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the layers with weights of a graph, each once, in its order (see :func:`unquantized_layers`)."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    nodes = [node for node in graph.graph.node if node.op_type in LAYERS and node.input[1] in weights]
    return tuple(dict.fromkeys(_layer_name(node) for node in nodes))


def _layer_name(node: onnx.NodeProto) -> str:
    weight = str(node.input[1])
    return weight.removesuffix(".weight") if weight.endswith(".weight") else str(node.name)


def nodes_of(graph: onnx.ModelProto, layers: Collection[str]) -> tuple[str, ...]:
    """Returns the names of the nodes that compute with the weights of ``layers`` (see :func:`unquantized_layers`)."""
    return tuple(
        node.name
        for node in graph.graph.node
        if (_layer_name(node) if node.op_type in LAYERS else WITHOUT_WEIGHTS) in layers
    )
