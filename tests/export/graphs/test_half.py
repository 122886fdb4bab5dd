"""fp16 graphs: half precision in every type between input and output, and answers close to fp32."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from semise_export.graphs.half import half_graph
from semise_export.graphs.margin import run_graph
from semise_export.graphs.onnx import check_graph, graph_entry

NAMES = ("encoder", "classifier", "unet")


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def half(every_precision: Path, name: str) -> onnx.ModelProto:
    return onnx.load(every_precision / f"{name}_fp16.onnx")


def test_every_weight_is_half_precision(half, every_precision, name):
    single = onnx.load(every_precision / f"{name}.onnx")
    floats = [tensor.name for tensor in single.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert len(floats) > 3
    assert {types[tensor] for tensor in floats} == {TensorProto.FLOAT16}
    assert TensorProto.FLOAT not in types.values()


def test_every_product_comes_out_in_half_precision(half):
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True, data_prop=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    products = [node for node in inferred.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(products) >= 3
    assert {types[node.output[0]] for node in products} == {TensorProto.FLOAT16}


def test_fp32_is_at_the_rim_alone(half):
    rim = {value.name for value in (*half.graph.input, *half.graph.output)}
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert casts
    for node in casts:
        assert rim & {*node.input, *node.output}, node


def test_inputs_and_outputs_keep_names_types_and_shapes(every_precision, name):
    single = graph_entry(every_precision / f"{name}.onnx")
    half = graph_entry(every_precision / f"{name}_fp16.onnx", precision="fp16")
    assert (half.inputs, half.outputs) == (single.inputs, single.outputs)


def test_every_node_comes_after_what_it_needs(half):
    known = {value.name for value in (*half.graph.input, *half.graph.initializer)} | {""}
    for node in half.graph.node:
        assert known.issuperset(node.input), node.name
        known.update(node.output)


def test_it_is_what_every_backend_relies_on_and_the_same_each_time(every_precision, name, tmp_path):
    content = half_graph((every_precision / f"{name}.onnx").read_bytes(), f"{name}_fp16")
    path = tmp_path / f"{name}_fp16.onnx"
    path.write_bytes(content)
    check_graph(path)
    assert content == (every_precision / f"{name}_fp16.onnx").read_bytes()
    assert onnx.load(path).graph.name == f"{name}_fp16"


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_it_answers_as_fp32_does_at_every_batch_size(every_precision, name, pixels, batch):
    values, key = pixels[:batch], "pixels"
    if name == "classifier":
        values, key = (
            run_graph((every_precision / "encoder.onnx").read_bytes(), pixels)["embedding"][:batch],
            "embedding",
        )
    single, half = (
        run_graph((every_precision / file).read_bytes(), values, name=key)
        for file in (f"{name}.onnx", f"{name}_fp16.onnx")
    )
    for output, expected in single.items():
        assert half[output].dtype == np.float32
        # 2^-11 of rounding in each of some twenty layers
        np.testing.assert_allclose(half[output], expected, atol=0.02 * float(np.abs(expected).max()), err_msg=output)
    assert any((half[output] != expected).any() for output, expected in single.items())  # it is another precision


def test_rows_do_not_depend_on_their_batch(every_precision, pixels):
    content = (every_precision / "encoder_fp16.onnx").read_bytes()
    one, two, three = (run_graph(content, pixels[:count])["severity_vector"] for count in (1, 2, 3))
    for first, second in itertools.pairwise((one, two, three)):
        np.testing.assert_allclose(second[: len(first)], first, rtol=1e-2, atol=1e-3)
