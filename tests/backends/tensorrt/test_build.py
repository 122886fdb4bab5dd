"""Engines built for real with TensorRT for RTX, and every graph that must not become one."""

import dataclasses
import os
import signal

import numpy as np
import onnx
import onnx.parser
import pytest

from semise_sdk.backends.tensorrt.build import BatchProfile, build_engine
from semise_sdk.errors import BackendError

PROFILE = BatchProfile(minimum=1, optimum=2, maximum=4)
HALF = """
<ir_version: 8, opset_import: ["" : 18]>
encoder (float[N,4] x) => (float[N,4] y)
<float[4,4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}>
{ product = MatMul(x, w)  narrow = Cast<to = 10>(product)  y = Cast<to = 1>(narrow) }
"""


def build(library, content, *, precision="fp32", graph="encoder", profile=PROFILE, **options):
    return build_engine(library, content, graph=graph, precision=precision, profile=profile, **options)


def parsed(text: str) -> bytes:
    return onnx.parser.parse_model(text).SerializeToString()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["encoder", "classifier", "unet"])
def test_every_graph_is_built_in_every_precision(library, graph_files, name, precision):
    content = graph_files[name, precision].read_bytes()
    built = build(library, content, precision=precision, graph=name, profile=BatchProfile())
    weights = sum(np.prod(tensor.dims) for tensor in onnx.load(graph_files[name, "fp32"]).graph.initializer)
    width = {"fp32": 4, "fp16": 2, "int8": 1}[precision]
    assert len(built.content) > width * weights
    assert built.seconds > 0
    products = dict(built.types.products)
    if precision == "int8":
        operations = [node.op_type for node in onnx.load_from_string(content).graph.node]
        assert built.types.quantize == operations.count("QuantizeLinear") > 0
        assert built.types.dequantize == operations.count("DequantizeLinear") > 0
        assert products.keys() == {"int8"}
    else:
        assert products.keys() == {precision}
        assert (built.types.quantize, built.types.dequantize) == (0, 0)
    kinds = ("Conv", "ConvTranspose", "MatMul", "Gemm")
    expected = sum(node.op_type in kinds for node in onnx.load(graph_files[name, "fp32"]).graph.node)
    assert sum(products.values()) == expected


@pytest.mark.parametrize(
    ("found", "said"),
    [(found, said) for found in ("fp32", "fp16", "int8") for said in ("fp32", "fp16", "bf16", "int8") if said != found],
)
def test_a_graph_of_another_precision_than_it_is_said_to_have_is_refused(library, graph_files, found, said):
    with pytest.raises(BackendError, match=rf"expected graph encoder in {said}, found products: \d+ {found}"):
        build(library, graph_files["encoder", found].read_bytes(), precision=said)


def test_one_product_left_in_fp32_is_no_fp16_graph_and_is_named(library):
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 18]>
        encoder (float16[N,2] x) => (float[N,2] z)
        <float16[2,2] v = {1, 0, 0, 1}, float[2,2] w = {1, 0, 0, 1}>
        {
            [half_one] y = MatMul(x, v)
            [half_two] u = MatMul(y, v)
            wide = Cast<to = 1>(u)
            [left_behind] z = MatMul(wide, w)
        }
        """
    )
    with pytest.raises(BackendError, match=r"found products: 2 fp16, 1 fp32 \(such as left_behind\)"):
        build(library, model.SerializeToString(), precision="fp16")


def test_a_half_anywhere_makes_a_graph_no_fp32_graph(library):
    with pytest.raises(BackendError, match="expected graph encoder in fp32, found products: 1 fp32"):
        build(library, parsed(HALF))


def test_products_that_went_back_to_fp32_are_counted_beside_the_quantized_ones(
    library, graph_files, quantize, tmp_path
):
    source = graph_files["classifier", "fp32"]
    last = [node.name for node in onnx.load(source).graph.node if node.op_type == "Gemm"][-1]
    quantize(source, tmp_path / "mixed.onnx", excluded=(last,))
    built = build(library, (tmp_path / "mixed.onnx").read_bytes(), precision="int8", graph="classifier")
    assert built.types.products == {"fp32": 1, "int8": 2}
    assert str(built.types).startswith("products: 1 fp32, 2 int8; ")


JOINED = """
<ir_version: 8, opset_import: ["" : 18]>
encoder (float[N,2] x) => (float[N,2] y)
<float scale = {{0.5}}, int8 zero = {{0}}, int8[4,2] w = {{1, 2, 3, 4, 5, 6, 7, 8}}>
{{
    q = QuantizeLinear(x, scale, zero)
    half_one = DequantizeLinear(q, scale, zero)
    half_two = {second}
    joined = Concat<axis = 1>(half_one, half_two)
    weights = DequantizeLinear(w, scale, zero)
    [product] y = MatMul(joined, weights)
}}
"""


def test_a_product_behind_joined_tensors_is_quantized_where_all_of_them_are(library):
    both = build(library, parsed(JOINED.format(second="DequantizeLinear(q, scale, zero)")), precision="int8")
    assert both.types.products == {"int8": 1}
    with pytest.raises(BackendError, match="expected graph encoder in int8, found products: 1 fp32; 1 Q, 2 DQ"):
        build(library, parsed(JOINED.format(second="Relu(x)")), precision="int8")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"junk", "Failed to parse the ONNX model"),
        (
            parsed("""<ir_version: 8, opset_import: ["" : 18]>
            encoder (uint8[N,4,4,3] pixels) => (uint8[N,3,4,4] y) { y = Transpose<perm=[0,3,1,2]>(pixels) }"""),
            r"Transpose \(node 0\): API Usage Error \(.*first input has type UInt8 but must have type",
        ),
        (
            parsed("""<ir_version: 8, opset_import: ["" : 18, "odd" : 1]>
            encoder (float[N,4] x) => (float[N,4] y) { y = odd.Bar(x) }"""),
            r"Bar \(node 0\): .*Plugin not found",
        ),
    ],
)
def test_what_the_parser_refuses_is_told_in_one_sentence(library, content, reason):
    with pytest.raises(BackendError, match=rf"refused graph encoder: {reason}") as caught:
        build(library, content)
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)


def test_an_asymmetric_quantisation_is_refused(library):
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    encoder (float[N,4] x) => (float[N,4] y)
    <float scale = {0.5}, int8 zero = {3}>
    { q = QuantizeLinear(x, scale, zero)  y = DequantizeLinear(q, scale, zero) }
    """
    with pytest.raises(BackendError, match=r"refused graph encoder: .*[zZ]ero"):
        build(library, parsed(text), precision="int8")


def test_a_frozen_batch_is_refused(library, graph_files):
    model = onnx.load(graph_files["encoder", "fp32"])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(
        BackendError, match=r"expected graph encoder to take any batch of pixels .* found shape \[2, 64"
    ):
        build(library, model.SerializeToString())


@pytest.mark.parametrize("targets", [("8.6",), ("8.0", "8.9", "12.0")])
def test_engines_are_built_for_gpus_that_are_not_there(library, graph_files, targets):
    if not library.is_rtx:
        pytest.skip("TensorRT builds for the GPU that is there")
    assert build(library, graph_files["classifier", "fp32"].read_bytes(), targets=targets).content


def test_a_target_that_tensorrt_does_not_know_is_refused(library, graph_files):
    with pytest.raises(BackendError, match=r"expected a compute capability .* found 9\.0"):
        build(library, graph_files["classifier", "fp32"].read_bytes(), targets=("9.0",))


def test_what_cannot_be_built_says_why(library, graph_files):
    with pytest.raises(BackendError, match=r"could not build graph encoder: .*FP32 GEMM is not supported") as caught:
        build(library, graph_files["encoder", "fp32"].read_bytes(), targets=("7.5",))
    assert "/_src" not in str(caught.value)


def test_the_timing_cache_is_taken_and_given_where_a_library_has_one(library, graph_files):
    content = graph_files["classifier", "fp32"].read_bytes()
    assert build(library, content).timing == b""
    tensorrt = dataclasses.replace(library, is_rtx=False)
    with pytest.warns(DeprecationWarning, match="iming cache"):  # TensorRT for RTX still takes it, to no effect
        first = build(tensorrt, content)
    assert first.timing
    with pytest.warns(DeprecationWarning, match="iming cache"):
        assert build(tensorrt, content, timing=first.timing).timing


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 4), (1, 8, 4)])
def test_batch_sizes_are_in_order(sizes):
    minimum, optimum, maximum = sizes
    with pytest.raises(BackendError, match="1 <= minimum <= optimum <= maximum"):
        BatchProfile(minimum=minimum, optimum=optimum, maximum=maximum)


def test_a_profile_is_read_from_text():
    assert BatchProfile.parse("2/3/4") == BatchProfile(minimum=2, optimum=3, maximum=4)
    assert str(BatchProfile.parse("1/16/64")) == "1/16/64"
    for text in ("1/2", "a/b/c", "1/16/-2", ""):
        with pytest.raises(BackendError, match="such as 1/16/64"):
            BatchProfile.parse(text)


class Told:
    """A reporter that remembers, and presses Ctrl-C where it is asked to."""

    def __init__(self, *, interrupts: bool = False) -> None:
        self.started: list[tuple[str, int]] = []
        self.steps = 0
        self.interrupts = interrupts

    def start(self, label: str, total: int) -> None:
        self.started.append((label, total))
        if self.interrupts:
            os.kill(os.getpid(), signal.SIGINT)

    def step(self, note: str) -> None:
        self.steps += 1

    def say(self, message: str) -> None:
        raise AssertionError(message)


def test_a_build_tells_how_far_it_is(library, graph_files):
    reporter = Told()
    build(library, graph_files["encoder", "fp32"].read_bytes(), reporter=reporter)
    ((label, total),) = reporter.started
    assert label == "building encoder"
    assert 0 < reporter.steps <= total


def test_an_interrupt_ends_a_build_and_the_handler_is_put_back(library, graph_files):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(library, graph_files["encoder", "fp32"].read_bytes(), reporter=Told(interrupts=True))
    assert signal.getsignal(signal.SIGINT) is before
    assert build(library, graph_files["encoder", "fp32"].read_bytes()).content
