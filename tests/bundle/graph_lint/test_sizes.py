"""The sizes that the policy works out, against ONNX Runtime's own results; and graphs that would fill the memory."""

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from semise_sdk.bundle.graph_lint.policy import check_policy
from semise_sdk.bundle.graph_lint.sizes import check_sizes
from semise_sdk.bundle.graph_lint.values import Node, ShapeError, Tensor
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BundleError

INPUTS = {"pixels": TensorSpec("uint8", ("N", 8, 10, 3))}
# Each computes `y` of `x`, float [1, 3, 8, 10]; constants before it.
ROUTES = {
    "AveragePool": ("", "y = AveragePool<kernel_shape = [3, 2], strides = [2, 3], pads = [1, 0, 0, 1]>(x)"),
    "AveragePool up": ("", "y = AveragePool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(x)"),
    "MaxPool up": (
        "",
        "y = MaxPool<kernel_shape = [2, 2], strides = [3, 3], pads = [1, 1, 1, 1], ceil_mode = 1>(x)",
    ),
    "Conv": (
        "float[6,1,2,3] w",
        "y = Conv<group = 3, strides = [2, 1], dilations = [1, 2], pads = [1, 0, 2, 1], kernel_shape = [2, 3]>(x, w)",
    ),
    "Concat": ("", "y = Concat<axis = -1>(x, x)"),
    "Flatten": ("", "y = Flatten(x)"),
    "Flatten at the end": ("", "y = Flatten<axis = 4>(x)"),
    "Flatten from behind": ("", "y = Flatten<axis = -1>(x)"),
    "GlobalAveragePool": ("", "y = GlobalAveragePool(x)"),
    "Gather": ("int64[2] i = {0, -1}", "y = Gather<axis = 3>(x, i)"),
    "Gather one": ("int64 i = {1}", "y = Gather<axis = 1>(x, i)"),
    "Gemm": (
        "int64[2] s = {-1, 10}, float[5,10] w",
        "r = Reshape(x, s)  y = Gemm<transB = 1>(r, w)",
    ),
    "Gemm turned": ("int64[2] s = {24, 10}, float[24,7] w", "r = Reshape(x, s)  y = Gemm<transA = 1>(r, w)"),
    "MatMul": ("float[3,10,4] w", "y = MatMul(x, w)"),
    "Pad": ("int64[8] p = {0, 1, 2, 3, 0, 0, -1, 4}", "y = Pad<mode = \"constant\">(x, p)"),
    "Pad axes": ("int64[2] p = {2, 3}, float v, int64[1] a = {-1}", "y = Pad<mode = \"constant\">(x, p, v, a)"),
    "ReduceMean": ("int64[2] a = {1, -1}", "y = ReduceMean<keepdims = 0>(x, a)"),
    "ReduceMean kept": ("int64[2] a = {2, 3}", "y = ReduceMean<keepdims = 1>(x, a)"),
    "ReduceMean all": ("", "y = ReduceMean(x)"),
    "ReduceMean none": ("", "y = ReduceMean<noop_with_empty_axes = 1>(x)"),
    "Reshape": ("int64[3] s = {0, -1, 5}", "y = Reshape(x, s)"),
    "Resize sizes": (
        "int64[4] s = {1, 3, 16, 5}",
        "y = Resize<mode = \"nearest\", coordinate_transformation_mode = \"asymmetric\">(x, , , s)",
    ),
    "Resize scales": ("float[4] s = {1, 1, 2.6, 0.35}", "y = Resize<mode = \"nearest\">(x, , s)"),
    "Shapes computed": (
        "int64 i = {2}, int64[1] z = {0}, int64[2] n = {-1, 3}",
        """s = Shape<start = 1>(x)  side = Gather(s, i)  wide = Unsqueeze(side, z)  cast = Cast<to = 7>(wide)
           all = Concat<axis = 0>(cast, n)  y = Reshape(x, all)""",
    ),
    "Slice": (
        "int64[2] a = {1, -2}, int64[2] b = {99, -9}, int64[2] c = {2, 3}, int64[2] d = {2, -2}",
        "y = Slice(x, a, b, c, d)",
    ),
    "Slice plain": ("int64[2] a = {0, 1}, int64[2] b = {1, 2}", "y = Slice(x, a, b)"),
    "Squeeze": ("int64[1] a = {0}", "y = Squeeze(x, a)"),
    "Unsqueeze": ("int64[2] a = {0, -1}", "y = Unsqueeze(x, a)"),
    "Transpose": ("", "y = Transpose(x)"),
    "Add": ("float[4,1,8,1] w", "y = Add(x, w)"),
    "Add more sides": ("float[2,1,1,1,10] w", "y = Mul(w, x)"),
}  # fmt: skip


def model(constants: str, body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]> g (uint8[N,8,10,3] pixels) => (float y) <{constants}> {{
        floats = Cast<to = 1>(pixels)
        x = Transpose<perm = [0, 3, 1, 2]>(floats)
        {body}
        }}"""
    )


def filled(constants: str, body: str) -> onnx.ModelProto:
    """Returns the graph with every constant that has no values of its own set to ones."""
    typed = [one.strip() for one in constants.split(", ") if one.strip()]
    parts, started = [], ""
    for one in typed:  # a list of values holds commas of its own
        started = f"{started}, {one}" if started else one
        if started.count("{") == started.count("}"):
            parts.append(started)
            started = ""
    given = [part for part in parts if "=" in part]
    built = model(", ".join(given), body)
    for part in parts:
        if "=" not in part:
            kind, name = part.split()
            sides = kind.partition("[")[2].rstrip("]")
            ones = np.ones([int(side) for side in sides.split(",") if side], np.float32)
            built.graph.initializer.append(onnx.numpy_helper.from_array(ones, name))
    return built


def as_nodes(built: onnx.ModelProto) -> tuple[list[Node], dict[str, Tensor]]:
    nodes = [
        Node(
            operator=node.op_type,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={
                one.name: tuple(value) if isinstance(value := onnx.helper.get_attribute_value(one), list)
                else value.decode() if isinstance(value, bytes) else value
                for one in node.attribute
            },
        )
        for node in built.graph.node
    ]  # fmt: skip
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in built.graph.initializer}
    return nodes, {
        name: Tensor(shape=array.shape, values=tuple(array.ravel().tolist()) if array.size < 64 else None)
        for name, array in arrays.items()
    }


@pytest.mark.parametrize("route", ROUTES)
def test_a_size_is_what_onnx_runtime_computes(route):
    built = filled(*ROUTES[route])
    nodes, constants = as_nodes(built)
    del built.graph.output[0].type.tensor_type.shape.dim[:]
    built.graph.output[0].type.tensor_type.ClearField("shape")
    session = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(["y"], {"pixels": np.zeros((1, 8, 10, 3), np.uint8)})
    before, total = (
        check_sizes(part, canvas={"pixels": (1, 8, 10, 3)}, constants=constants).total for part in (nodes[:-1], nodes)
    )
    assert total - before == result.size


def nodes_of(*lines: tuple[str, tuple[str, ...], str, dict[str, object]]) -> list[Node]:
    return [Node(operator=o, inputs=i, outputs=(out,), attributes=a) for o, i, out, a in lines]


X = {"x": (1, 3, 8, 8)}
BOMBS = {
    "resize by scales": ("float[4] s = {1, 1, 40000, 40000}", "y = Resize<mode = \"nearest\">(x, , s)"),
    "resize to sizes": ("int64[4] s = {1, 3, 900000, 900000}", "y = Resize<mode = \"nearest\">(x, , , s)"),
    "pad": ("int64[8] p = {0, 0, 0, 0, 0, 0, 99999, 99999}", "y = Pad<mode = \"constant\">(x, p)"),
    "padded convolution": ("float[1,3,1,1] w", "y = Conv<pads = [99999, 99999, 0, 0]>(x, w)"),
    "padded pooling": ("", "y = MaxPool<kernel_shape = [1, 1], pads = [0, 0, 99999, 99999]>(x)"),
    "outer product": (
        "int64[2] c = {-1, 1}, int64[2] r = {1, -1}",
        "a = Reshape(x, c)  b = Reshape(x, r)  d = MatMul(a, b)  e = Reshape(d, c)  f = Reshape(d, r)  y = Add(e, f)",
    ),
    "doubling": ("", "a0 = Concat<axis = 2>(x, x)  " + "  ".join(
        f"a{step} = Concat<axis = 2>(a{step - 1}, a{step - 1})" for step in range(1, 40)) + "  y = Relu(a39)"),
    "many of medium size": ("int64[4] s = {1, 3, 2000, 2000}", "b = Resize<mode = \"nearest\">(x, , , s)  " + "  ".join(
        f"c{step} = Relu(b)" for step in range(20)) + "  y = Relu(b)"),
    "broadcast": (
        "int64[6] s = {1, 3, 80, 1, 1, 1}, int64[6] t = {1, 1, 1, 3, 80, 1}, "
        "int64[6] u = {240, 1, 1, 1, 1, 1}, int64[7] v = {240, 1, 1, 1, 1, 1, 1}",
        "a = Reshape(x, s)  b = Reshape(x, t)  c = Add(a, b)  d = Reshape(x, u)  e = Mul(c, d)  f = Reshape(x, v)  "
        "y = Mul(e, f)",
    ),
    "gather": (
        f"int64[64] i = {{{', '.join('0' * 64)}}}, int64[1] j = {{0}}",
        "a = Gather<axis = 1>(x, i)  b = Gather<axis = 2>(a, i)  c = Gather<axis = 3>(b, i)  d = Gather<axis = 0>(c, i)"
        "  e = Unsqueeze(d, j)  y = Gather<axis = 0>(e, i)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_fill_the_memory_is_refused(bomb):
    built = filled(*BOMBS[bomb])
    built.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "N"
    with pytest.raises(BundleError, match="brings it to an array of"):
        check_policy(
            built.SerializeToString(), inputs=INPUTS, outputs={"y": TensorSpec("float32", ("N",))}, name="encoder.onnx"
        )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("Relu", ("x", "x"), "y", {}), None),
        (("Relu", (), "y", {}), "do not fit it"),
        (("Relu", ("",), "y", {}), "do not fit it"),
        (("Add", ("x",), "y", {}), "do not fit it"),
        (("Add", ("x", "odd"), "y", {}), "meet"),
        (("Reshape", ("x", "x"), "y", {}), "not in the file"),
        (("Reshape", ("x", "five"), "y", {}), "is reshaped to"),
        (("Reshape", ("x", "nan"), "y", {}), "do not fit it"),
        (("Reshape", ("x", "infinite"), "y", {}), "do not fit it"),
        (("Concat", ("x", "odd"), "y", {"axis": 0}), "different shapes are joined"),
        (("Concat", ("x", "x"), "y", {"axis": 4}), "axis 4"),
        (("Concat", ("x", "x"), "y", {"axis": "0"}), "no whole number"),
        (("Conv", ("x", "odd"), "y", {}), "a convolution of"),
        (("MaxPool", ("x",), "y", {"kernel_shape": (0, 1)}), "in windows of"),
        (("MaxPool", ("x",), "y", {"kernel_shape": (9, 9)}), "larger than its image"),
        (("MaxPool", ("x",), "y", {"kernel_shape": (1, 1), "strides": (0, 1)}), "strides"),
        (("MaxPool", ("x",), "y", {"kernel_shape": (1, 1), "pads": (0, 0, 0, -1)}), "pads"),
        (("MaxPool", ("x",), "y", {"kernel_shape": (1, 1), "strides": (1,)}), "not 2 whole numbers"),
        (("MaxPool", ("x",), "y", {"kernel_shape": (1, 1), "auto_pad": "SAME_UPPER"}), "left to the engine"),
        (("Gemm", ("x", "x"), "y", {}), "Gemm of"),
        (("Flatten", ("x",), "y", {"axis": 5}), "flattened at 5"),
        (("MatMul", ("x", "odd"), "y", {}), "MatMul of"),
        (("Transpose", ("x",), "y", {"perm": (0, 0, 1, 2)}), "transposed by"),
        (("Squeeze", ("x", "axis"), "y", {}), "that is not 1"),
        (("ReduceMean", ("x", "axes twice"), "y", {}), "an axis stands twice"),
        (("Slice", ("x", "axis", "axis", "axis", "zero"), "y", {}), "do not fit it"),
        (("Pad", ("x", "axis"), "y", {}), "pads do not fit"),
        (("Pad", ("x", "shrink"), "y", {}), "result of shape"),
        (("Resize", ("x", "", "axis"), "y", {}), "do not fit it"),
        (("Resize", ("x", "", "", "axis"), "y", {}), "do not fit what is resized"),
        (("Resize", ("x", "x", "ones"), "y", {"coordinate_transformation_mode": "tf_crop_and_resize"}), "a Resize by"),
        (("Resize", ("x", "", "", "ones"), "y", {"keep_aspect_ratio_policy": "not_smaller"}), "a Resize by"),
    ],
)
def test_what_cannot_be_worked_out_is_refused(line, said):
    numbers = {"five": (5,), "nan": (float("nan"),), "infinite": (float("inf"),), "axis": (1,), "zero": (0,),
               "axes twice": (1, -3), "shrink": (0, 0, -9, 0, 0, 0, 0, 0), "ones": (1, 1, 1, 1)}  # fmt: skip
    constants = {name: Tensor(shape=(len(values),), values=values) for name, values in numbers.items()}
    constants["odd"] = Tensor(shape=(5, 5))
    if said is None:
        sizes = check_sizes(nodes_of(line), canvas=X, constants=constants)
        assert (sizes.largest, sizes.total, sizes.shapes["y"]) == (192, 192, (1, 3, 8, 8))
        return
    with pytest.raises(ShapeError, match=said):
        check_sizes(nodes_of(line), canvas=X, constants=constants)


def test_a_node_of_two_results_is_refused():
    node = Node(operator="MaxPool", inputs=("x",), outputs=("y", "indices"), attributes={"kernel_shape": (1, 1)})
    with pytest.raises(ShapeError, match="writes 2 values"):
        check_sizes([node], canvas=X, constants={})


def test_a_cast_that_changes_numbers_hides_them():
    constants = {"large": Tensor(shape=(4,), values=(1, 3, 1 << 33, 1)), "half": Tensor(shape=(1,), values=(0.5,))}
    for name in constants:
        nodes = nodes_of(("Cast", (name,), "s", {"to": 7}), ("Reshape", ("x", "s"), "y", {}))
        with pytest.raises(ShapeError, match="not in the file"):
            check_sizes(nodes, canvas=X, constants=constants)
