"""The three graphs of one tiny network in three precisions, and the TensorRT that is installed here."""

from importlib import util
from pathlib import Path

import numpy as np
import onnx
import pytest

from semise_sdk.backends import Graph
from semise_sdk.backends.tensorrt.cache import EngineCache
from semise_sdk.spec import InputSpec

SIZE = 64
NAMES = ("encoder", "classifier", "unet")


class Calibration:
    """A few batches of noise for the quantiser."""

    def __init__(self, model: onnx.ModelProto) -> None:
        (value,) = model.graph.input
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim[1:]]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        generator = np.random.default_rng(0)
        self._batches = iter([{value.name: generator.integers(0, 9, (2, *sides)).astype(dtype)} for _ in range(2)])

    def get_next(self):
        return next(self._batches, None)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._batches)


def to_int8(source: Path, target: Path, *, excluded: tuple[str, ...] = ()) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        source,
        target,
        Calibration(onnx.load(source)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        nodes_to_exclude=list(excluded),
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )


@pytest.fixture(scope="session")
def graph_files(tmp_path_factory, random_network) -> dict[tuple[str, str], Path]:
    """Every graph's ONNX file by name and precision."""
    from semise_export.graphs.half import half_graph
    from semise_export.graphs.onnx import export_graphs

    folder = tmp_path_factory.mktemp("graphs")
    export_graphs(random_network(), InputSpec(height=SIZE, width=SIZE), folder)
    files = {(name, "fp32"): folder / f"{name}.onnx" for name in NAMES}
    for name in NAMES:
        files[name, "fp16"] = folder / f"{name}_fp16.onnx"
        files[name, "int8"] = folder / f"{name}_int8.onnx"
        files[name, "fp16"].write_bytes(half_graph(files[name, "fp32"].read_bytes(), f"{name}_fp16"))
        to_int8(files[name, "fp32"], files[name, "int8"])
    return files


@pytest.fixture
def quantize():
    """Returns what writes the symmetric int8 graph of an fp32 one, some nodes left alone."""
    return to_int8


@pytest.fixture
def make_graph(graph_files):
    """Returns a graph as a backend gets it; its types may differ from the precision that it is said to have."""

    def make(name: str = "classifier", precision: str = "fp32", *, said: str | None = None) -> Graph:
        return Graph(name=name, content=graph_files[name, precision].read_bytes, precision=said or precision)

    return make


@pytest.fixture(scope="session")
def library():
    """TensorRT for RTX, for real; where its wheels are not installed the test skips, where they are broken it fails."""
    from semise_sdk.backends.tensorrt.library import MODULES, load_library

    if not any(util.find_spec(name) for name in MODULES):
        pytest.skip("needs TensorRT for RTX: pip install 'semise-sdk[rtx]'")
    return load_library(prefer_rtx=True)


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache.open(tmp_path / "cache")
