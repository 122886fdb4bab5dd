"""The policy against graphs written by hand, each with one thing that no exported graph has."""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from semise_sdk.bundle.graph_lint.onnx_fields import MAX_NODES, OPERATORS
from semise_sdk.bundle.graph_lint.policy import check_policy
from semise_sdk.bundle.graph_lint.shape_rules import RULES
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BundleError

HEAD = '<ir_version: 8, opset_import: ["" : 18]> g (uint8[N,8,8,3] pixels) => (float[N,8,8,3] y)'
PLAIN = f"{HEAD} {{ y = Cast<to = 1>(pixels) }}"
INPUTS = {"pixels": TensorSpec("uint8", ("N", 8, 8, 3))}
OUTPUTS = {"y": TensorSpec("float32", ("N", 8, 8, 3))}


def check(model, *, inputs=INPUTS, outputs=OUTPUTS):
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return check_policy(content, inputs=inputs, outputs=outputs, name="encoder.onnx")


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def with_nodes(*nodes: onnx.NodeProto, constants=()) -> onnx.ModelProto:
    """Returns the plain graph with nodes before its own, which may read ``x``, a float of its pixels."""
    model = parse(PLAIN)
    first = helper.make_node("Cast", ["pixels"], ["x"], to=1)
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([first, *nodes, *kept])
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants)
    return model


def test_a_plain_graph_passes_and_is_summed_up():
    summary = check(parse(PLAIN))
    assert (summary.nodes, summary.largest, summary.total) == (1, 192, 192)


def test_every_operator_has_a_rule_for_its_size():
    assert set(OPERATORS) == set(RULES)


PIXELS = onnx.numpy_helper.from_array(np.ones(1, np.float32), "pixels")


def loop() -> onnx.ModelProto:
    body = helper.make_graph([], "body", [], [])
    return with_nodes(helper.make_node("Loop", ["", "", "x"], ["z"], body=body))


def function() -> onnx.ModelProto:
    model = parse(PLAIN)
    model.functions.append(helper.make_function("own", "f", ["a"], ["b"], [], [helper.make_opsetid("", 18)]))
    return model


def sparse() -> onnx.ModelProto:
    model = parse(PLAIN)
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))
    return model


def outside(**fields) -> onnx.ModelProto:
    model = with_nodes(constants=[("w", np.ones(3, np.float32))])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in fields.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model


def changed(change) -> onnx.ModelProto:
    model = parse(PLAIN)
    change(model)
    return model


def metadata(model: onnx.ModelProto) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = "ort_config", '{"session_options": {"use_deterministic_compute": 1}}'


def wrong_bytes(count: int) -> onnx.ModelProto:
    model = with_nodes(constants=[("w", np.ones(4, np.float32))])
    model.graph.initializer[0].dims[0] = count
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (loop(), "a subgraph|operator 'Loop'"),
        (with_nodes(helper.make_node("If", ["x"], ["z"])), "operator 'If'"),
        (with_nodes(helper.make_node("Scan", ["x"], ["z"])), "operator 'Scan'"),
        (with_nodes(helper.make_node("Relu", ["x"], ["z"], domain="com.evil")), "operator 'com.evil::Relu'"),
        (with_nodes(helper.make_node("Constant", [], ["z"], value_ints=[1])), "operator 'Constant'"),
        (with_nodes(helper.make_node("ConstantOfShape", ["x"], ["z"])), "operator 'ConstantOfShape'"),
        (with_nodes(helper.make_node("Tile", ["x", "x"], ["z"])), "operator 'Tile'"),
        (with_nodes(helper.make_node("Relu", ["x"], ["z"], metadata="x")), "an attribute 'metadata'"),
        (function(), "has functions"),
        (sparse(), "has sparse data"),
        (outside(location="../secret"), "has external data"),
        (outside(location="*/_ORT_MEM_ADDR_/*", offset="1234"), "has external data"),
        (outside(), "has external data"),
        (changed(metadata), "the file has metadata"),
        (changed(lambda m: m.training_info.add()), "has training"),
        (changed(lambda m: m.opset_import.append(helper.make_opsetid("com.microsoft", 1))), "the operator sets"),
        (changed(lambda m: setattr(m.opset_import[0], "version", 9)), "the operator sets"),
        (changed(lambda m: setattr(m.opset_import[0], "version", 999)), "the operator sets"),
        (changed(lambda m: setattr(m, "ir_version", 99)), "IR version 99"),
        (changed(lambda m: m.ClearField("graph")), "no graph"),
        (changed(lambda m: m.graph.node[0].attribute[0].ClearField("type")), "no type"),
        (changed(lambda m: setattr(m.graph.node[0].attribute[0], "type", 1)), "something else than its type"),
        (changed(lambda m: setattr(m.graph.node[0].attribute[0], "f", 1.0)), "something else than its type"),
        (changed(lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0])), "has it twice"),
        (changed(lambda m: setattr(m.graph.node[0], "doc_string", "x")), "node has an unknown field 6"),
        (changed(lambda m: m.graph.input.append(m.graph.input[0])), "its inputs are pixels"),
        (changed(lambda m: setattr(m.graph.output[0], "name", "z")), "its outputs are z, not y"),
        (changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 1)), "input pixels is float32"),
        (changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 8)), "is of type 8"),
        (changed(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 9)), "not uint8"),
        (changed(lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].Clear()), "no size and no name"),
        (changed(lambda m: m.graph.input[0].type.Clear()), "no tensor_type"),
        (changed(lambda m: m.graph.node[0].input.__setitem__(0, "later")), "reads 'later'"),
        (with_nodes(helper.make_node("Relu", ["x"], ["x"])), "written twice"),
        (with_nodes(helper.make_node("Relu", ["x"], [""])), "no name"),
        (with_nodes(helper.make_node("Relu", ["x"], ["z"]), constants=[("pixels", np.ones(1))]), "of type 11"),
        (changed(lambda m: m.graph.initializer.append(PIXELS)), "an input has the name of weights"),
        (with_nodes(constants=[("w", np.ones(1, np.float32)), ("w", np.ones(1, np.float32))]), "'w' twice"),
        (changed(lambda m: m.graph.node.pop()), "nothing writes its output y"),
        (wrong_bytes(5), "hold 4 numbers"),
        (wrong_bytes(-4), "shape"),
        (with_nodes(constants=[("w", np.ones(1, np.float64))]), "of type 11"),
        (with_nodes(constants=[("w", np.array(["text"], object))]), "text data"),
        (b"", "no ir_version|no graph"),
        (b"not onnx", "found that"),
        (parse(PLAIN).SerializeToString()[:-3], "cut off"),
    ],
)  # fmt: skip
def test_what_no_exporter_wrote_is_refused_in_one_sentence(model, said):
    with pytest.raises(BundleError, match=said) as caught:
        check(model)
    assert str(caught.value).startswith("expected encoder.onnx to be a graph that semise export wrote, found that ")
    assert "\n" not in str(caught.value)


def test_onnx_runtimes_own_format_is_refused_even_inside_of_a_sound_graph():
    """ONNX Runtime looks for its mark at the fourth byte, where a name may stand in ONNX."""
    content = parse(PLAIN).SerializeToString()
    assert content[:2] == b"\x08\x08"
    polyglot = content[:2] + b"\x12\x04ORTM" + content[2:]
    assert onnx.load_from_string(polyglot).producer_name == "ORTM"
    with pytest.raises(BundleError, match="ONNX Runtime's own format"):
        check(polyglot)


def test_a_field_that_stands_twice_is_refused_though_parsers_merge_it():
    first, second = parse(PLAIN), onnx.ModelProto()
    second.graph.node.append(helper.make_node("Loop", [], ["z"]))
    merged = first.SerializeToString() + second.SerializeToString()
    assert len(onnx.load_from_string(merged).graph.node) == 2
    with pytest.raises(BundleError, match="has graph twice"):
        check(merged)


def test_too_many_nodes_are_refused():
    nodes = [helper.make_node("Relu", ["x"], [f"z{index}"]) for index in range(MAX_NODES)]
    with pytest.raises(BundleError, match="more than 10,000 of node"):
        check(with_nodes(*nodes))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64", "float16"])
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 2)])
def test_weights_pass_however_onnx_writes_them(dtype, shape):
    values = np.ones(shape, dtype)
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    model = with_nodes(constants=[("raw", values)])
    model.graph.initializer.append(helper.make_tensor("typed", kind, shape, values.ravel().tolist()))
    assert check(model).nodes == 2
