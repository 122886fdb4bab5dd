"""What each part of an int8 graph costs, and graphs with parts back in fp32."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from semise_export.graphs.margin import run_graph
from semise_export.graphs.quantize import (
    encoder_of,
    first_layer,
    layer_names,
    nodes_of,
    parts_of,
    quantized,
    unquantized_layers,
)
from semise_export.graphs.sensitivity import multiplications, noise, restored, restoring_order, share_in_8_bits
from semise_sdk.system.progress import SilentReporter


@pytest.fixture(scope="module")
def unet(every_precision: Path) -> onnx.ModelProto:
    return onnx.load(every_precision / "unet.onnx")


@pytest.fixture(scope="module")
def whole(unet, pixels) -> onnx.ModelProto:
    """The U-Net with every part in int8."""
    return quantized(unet, [{"pixels": row[None]} for row in pixels])


def outputs(model: onnx.ModelProto, pixels):
    return run_graph(model.SerializeToString(), pixels)


def test_a_graph_with_every_part_back_is_the_fp32_graph(unet, whole, pixels):
    back = restored(whole, unet, [node.name for node in unet.graph.node])
    onnx.checker.check_model(back)
    assert {node.op_type for node in back.graph.node} == {node.op_type for node in unet.graph.node}
    assert {tensor.name for tensor in back.graph.initializer} == {tensor.name for tensor in unet.graph.initializer}
    wanted = outputs(unet, pixels)
    for name, values in outputs(back, pixels).items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)


def test_a_graph_with_no_part_back_is_the_int8_graph(unet, whole, pixels):
    wanted = outputs(whole, pixels)
    for name, values in outputs(restored(whole, unet, []), pixels).items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)


def test_only_the_parts_told_are_back(unet, whole, pixels):
    names = layer_names(unet)[1:4]
    before = whole.SerializeToString()
    back = restored(whole, unet, nodes_of(unet, names))
    assert unquantized_layers(back) == names
    assert whole.SerializeToString() == before
    # the same as if the quantiser had been told to leave them out
    left_out = quantized(unet, [{"pixels": row[None]} for row in pixels], kept=nodes_of(unet, names))
    found, wanted = outputs(back, pixels), outputs(left_out, pixels)
    np.testing.assert_allclose(found["severity_vector"], wanted["severity_vector"], atol=0.05)


def test_noise_by_hand():
    wanted = {"embedding": np.array([[0.0, 2.0]], np.float32), "severity_vector": np.array([[1.0, -1.0]], np.float32)}
    found = {"embedding": np.array([[1.0, 2.0]], np.float32), "severity_vector": np.array([[1.0, -2.0]], np.float32)}
    # errors 1, 0 of variance 1, and 0, 1 of variance 1
    assert noise(wanted, found) == pytest.approx(0.5 + 0.5)
    assert noise(wanted, wanted) == 0


def test_multiplications_by_hand():
    weights = {"conv.weight": np.ones((8, 3, 3, 3), np.float32), "fc.weight": np.ones((8, 5), np.float32)}
    nodes = [
        helper.make_node("Conv", ["pixels", "conv.weight"], ["map"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"], name="pool"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "fc.weight"], ["answer"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    # 4 x 4 places of 8 filters of 27 weights; 8 x 5
    assert multiplications(model, np.zeros((1, 3, 8, 8), np.uint8)) == {"conv": 16 * 8 * 27, "fc": 40}


def test_the_share_in_8_bits_is_of_multiplications(unet, whole, pixels):
    assert share_in_8_bits(unet, whole, pixels[:1]) == 1
    first = first_layer(unet)
    work = multiplications(unet, pixels[:1])
    expected = 1 - sum(work.get(node, 0) for node in nodes_of(unet, [first])) / sum(work.values())
    assert 0 < expected < 1
    assert share_in_8_bits(unet, restored(whole, unet, nodes_of(unet, [first])), pixels[:1]) == pytest.approx(expected)
    assert share_in_8_bits(unet, encoder_of(whole), pixels[:1]) == 1
    assert share_in_8_bits(unet, unet, pixels[:1]) == 0


def test_parts_go_back_in_the_order_of_their_error_for_their_work(unet, whole, pixels):
    parts = parts_of(unet)
    del parts[first_layer(unet)]
    some = {name: parts[name] for name in [*list(parts)[:5], *list(parts)[-5:]]}
    whole = restored(
        whole, unet, [node for name, nodes in parts_of(unet).items() if name not in some for node in nodes]
    )
    with_idle = {**some, "what the quantiser left alone": ()}  # back or not, it is no int8 to count on
    order = restoring_order(unet, whole, with_idle, pixels, reporter=SilentReporter())
    assert sorted(order) == sorted(some)
    work = multiplications(unet, pixels[:1])

    def gain(name):
        others = [node for other, nodes in some.items() if other != name for node in nodes]
        error = noise(outputs(unet, pixels), outputs(restored(whole, unet, others), pixels))
        share = sum(work.get(node, 0) for node in some[name]) / sum(work.values())
        return error / (share + 1 / len(with_idle))

    gains = [gain(name) for name in order]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > gains[-1]
