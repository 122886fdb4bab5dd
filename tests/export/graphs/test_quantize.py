"""int8 graphs: symmetric, per channel, named where they are not, and made without a word to network or terminal."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from semise_export.graphs import quantize
from semise_export.graphs.onnx import save_graph
from semise_export.graphs.quantize import (
    WITHOUT_WEIGHTS,
    WITHOUT_WEIGHTS_IN_DECODER,
    encoder_of,
    first_layer,
    layer_names,
    nodes_of,
    parts_of,
    quantized,
    unquantized_layers,
)
from semise_sdk.errors import ConfigError

STEM = "network.encoder.body.conv1.0"
CHANNEL_AXIS = {"Conv": (0,), "Gemm": (0, -2), "MatMul": (-1, 1)}


@pytest.fixture(scope="module")
def encoder(every_precision: Path) -> onnx.ModelProto:
    return onnx.load(every_precision / "encoder.onnx")


@pytest.fixture(scope="module")
def samples(pixels):
    return [{"pixels": row[None]} for row in pixels]


@pytest.fixture(scope="module")
def plain(encoder, samples) -> onnx.ModelProto:
    """The encoder with every layer in int8."""
    return quantized(encoder, samples)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_no_layer_of_a_plain_graph_stays_in_fp32(plain, encoder):
    assert unquantized_layers(plain) == ()
    assert unquantized_layers(encoder) == layer_names(encoder)
    assert len(unquantized_layers(encoder)) > 10
    assert STEM in unquantized_layers(encoder)


def test_weights_are_int8_with_one_scale_per_output_channel(plain):
    values = constants(plain)
    made = {name: node for node in plain.graph.node for name in node.output}
    layers = [node for node in plain.graph.node if node.op_type in CHANNEL_AXIS]
    assert len(layers) > 10
    for layer in layers:
        node = made[layer.input[1]]
        assert node.op_type == "DequantizeLinear"
        weight, scale = (values[name] for name in node.input[:2])
        assert weight.dtype == np.int8
        (axis,) = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
        assert axis in CHANNEL_AXIS[layer.op_type]
        assert scale.shape == (weight.shape[axis],)
        assert len(np.unique(scale)) > 1
        assert np.abs(weight.astype(int)).max() >= 63  # NNCF keeps half of the range free where sums may overflow


def test_every_zero_point_is_0(every_precision):
    for name in ("encoder", "classifier", "unet"):
        model = onnx.load(every_precision / f"{name}_int8.onnx")
        values = constants(model)
        points = [
            values[node.input[2]]
            for node in model.graph.node
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2
        ]
        assert len(points) > 3
        assert not any(point.any() for point in points)


def test_kept_nodes_stay_in_fp32_and_are_named(encoder, samples):
    assert first_layer(encoder) == STEM
    kept = nodes_of(encoder, [STEM])
    model = quantized(encoder, samples, kept=kept)
    assert unquantized_layers(model) == (STEM,)
    weight = constants(model)[f"{STEM}.weight"]
    np.testing.assert_array_equal(weight, constants(encoder)[f"{STEM}.weight"])


def test_a_graph_kept_whole_is_the_fp32_graph(encoder, samples):
    # additions in 8 bits between fp32 layers once made a search for "everything in fp32" fail
    everything = [*layer_names(encoder), WITHOUT_WEIGHTS]
    model = quantized(encoder, samples, kept=nodes_of(encoder, everything))
    assert not [node for node in model.graph.node if node.op_type == "QuantizeLinear"]


def test_operations_without_weights_stay_in_fp32_where_told(encoder, samples, plain):
    def additions_in_8_bits(model):
        ready = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        return [node for node in model.graph.node if node.op_type == "Add" and ready & set(node.input)]

    assert additions_in_8_bits(plain)
    model = quantized(encoder, samples, kept=nodes_of(encoder, [WITHOUT_WEIGHTS]))
    assert not additions_in_8_bits(model)
    assert unquantized_layers(model) == ()


def test_every_node_belongs_to_one_part(every_precision):
    unet = onnx.load(every_precision / "unet.onnx")
    parts = parts_of(unet)
    assert sorted(node for nodes in parts.values() for node in nodes) == sorted(node.name for node in unet.graph.node)
    assert set(parts) == {*layer_names(unet), WITHOUT_WEIGHTS, WITHOUT_WEIGHTS_IN_DECODER}
    types = {name: {node.op_type for node in unet.graph.node if node.name in nodes} for name, nodes in parts.items()}
    assert {"Cast", "Sub", "Div", "Conv", "MaxPool"} <= types[STEM]  # raw pixels are not rounded before the first layer
    assert "Add" in types[WITHOUT_WEIGHTS]
    assert {"Resize", "Concat"} <= types[WITHOUT_WEIGHTS_IN_DECODER]
    assert not {"Resize", "Concat"} & types[WITHOUT_WEIGHTS]


def test_pixels_and_pooling_for_the_largest_value_stay_out_of_8_bits_with_the_first_layer(encoder, samples, plain):
    def rounded_before(model, op_type):
        """Returns how many roundings lie before the first node of a type, beside those of weights."""
        needed, count = set(), 0
        nodes = list(model.graph.node)
        first = next(place for place, node in enumerate(nodes) if node.op_type == op_type)
        for node in reversed(nodes[: first + 1]):
            if node is nodes[first] or needed & set(node.output):
                needed |= set(node.input)
                count += node.op_type == "QuantizeLinear"
        return count

    model = quantized(encoder, samples, kept=nodes_of(encoder, [STEM]))
    assert rounded_before(plain, "Sub") == 1
    assert rounded_before(model, "Sub") == 0
    assert rounded_before(model, "MaxPool") < rounded_before(plain, "MaxPool")


def test_a_layer_that_is_applied_twice_is_two_nodes_of_one_name(encoder):
    # the heads run on the pooled features and on every place of the map
    assert len(nodes_of(encoder, ["network.projection"])) == 2
    for names in (unquantized_layers(encoder), layer_names(encoder)):
        assert names.count("network.projection") == 1


def test_ranges_of_the_mean_image_are_no_wider_than_those_of_all(encoder, samples, plain):
    narrow = quantized(encoder, samples, ranges="mean")

    def activation_scales(model):
        values = constants(model)
        nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        return {node.input[0]: float(values[node.input[1]].max()) for node in nodes}

    whole, mean = activation_scales(plain), activation_scales(narrow)
    assert set(whole) == set(mean)
    assert all(mean[name] <= whole[name] * 1.0001 for name in whole)
    assert any(mean[name] < whole[name] * 0.99 for name in whole)


def as_written(model: onnx.ModelProto, pixels) -> dict[str, np.ndarray]:
    """Returns a graph's outputs node by node: ONNX Runtime fuses roundings of maps that the U-Net also takes otherwise,
    and a value between two steps of 8 bits then falls to the other side.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))


def test_encoder_and_unet_share_one_quantised_encoder(every_precision, pixels):
    unet = onnx.load(every_precision / "unet_int8.onnx")
    cut = encoder_of(unet)
    assert save_graph(cut, "encoder_int8") == (every_precision / "encoder_int8.onnx").read_bytes()
    whole, part = (as_written(model, pixels) for model in (unet, cut))
    assert set(part) == set(whole) - {"mask_logits"}
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)
    assert np.ptp(part["severity_vector"], axis=0).max() > 0


def test_quantising_prints_nothing(plain, every_precision, capfd):
    classifier = onnx.load(every_precision / "classifier.onnx")
    rows = np.random.default_rng(0).normal(size=(4, 96)).astype(np.float32)
    capfd.readouterr()
    quantized(classifier, [{"embedding": row[None]} for row in rows])
    assert tuple(capfd.readouterr()) == ("", "")


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_quantiser_is_imported_without_its_telemetry():
    code = (
        "import sys; from semise_export.graphs.quantize import nncf; library = nncf()\n"
        "from nncf.telemetry import wrapper\n"
        "print(library.__name__, 'openvino_telemetry' in sys.modules, type(wrapper.telemetry).__name__)"
    )
    name, is_loaded, telemetry = in_a_fresh_process(code).split(" ", 2)
    assert (name, is_loaded) == ("nncf", "False")
    assert telemetry == "MagicMock"  # NNCF's own stand-in, which sends nothing


def test_telemetry_that_another_package_loaded_is_hidden_from_the_quantiser_and_then_given_back():
    code = (
        "import sys, types; mine = types.ModuleType('openvino_telemetry'); sys.modules['openvino_telemetry'] = mine\n"
        "from semise_export.graphs.quantize import nncf; nncf(); from nncf.telemetry import wrapper\n"
        "print(sys.modules['openvino_telemetry'] is mine, type(wrapper.telemetry).__name__)"
    )
    is_given_back, telemetry = in_a_fresh_process(code).split(" ", 1)
    assert is_given_back == "True"
    assert telemetry == "MagicMock"


def test_a_missing_quantiser_is_one_sentence_with_the_remedy(monkeypatch):
    telemetry = sys.modules.get("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigError, match=r"^int8 needs nncf \(.*\): pip install 'semise-sdk\[export\]'$") as error:
        quantize.nncf()
    assert "\n" not in str(error.value)
    assert sys.modules.get("openvino_telemetry") is telemetry
