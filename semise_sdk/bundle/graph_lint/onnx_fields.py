"""What an ONNX file may hold as a bundle's graph: its fields, its operators, and its parts as typed data.

Field numbers are those of ``onnx.proto3`` (ONNX 1.23). A field that is not named here is refused, and so is one of a
later ONNX; those named as refused have a name in the error.
"""

from collections.abc import Mapping

from semise_sdk.bundle.graph_lint.protobuf import Field

MAX_BYTES = (1 << 31) - 1
"""What a protocol buffer can hold."""
MAX_NODES = 10_000
MAX_TENSORS = 10_000

OPSETS = (18,)
IR_VERSIONS = (8, 9, 10)

# Every operator that semise export has written for any encoder, precision or head, with its attributes; and Flatten,
# GlobalAveragePool, MatMul, Slice, Squeeze and Unsqueeze, which torch's exporter writes for pooling, linear layers and
# indexing in other versions.
OPERATORS = {
    "Abs": (),
    "Add": (),
    "AveragePool": ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"),
    "BatchNormalization": ("epsilon", "momentum"),
    "Cast": ("to",),
    "Clip": (),
    "Concat": ("axis",),
    "Conv": ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
    "CumSum": ("exclusive", "reverse"),
    "DequantizeLinear": ("axis",),
    "Div": (),
    "Exp": (),
    "Flatten": ("axis",),
    "Gather": ("axis",),
    "Gemm": ("alpha", "beta", "transA", "transB"),
    "GlobalAveragePool": (),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "Identity": (),
    "Log": (),
    "MatMul": (),
    "MaxPool": ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"),
    "Mul": (),
    "Neg": (),
    "Pad": ("mode",),
    "QuantizeLinear": ("axis",),
    "ReduceMean": ("keepdims", "noop_with_empty_axes"),
    "Relu": (),
    "Reshape": ("allowzero",),
    "Resize": (
        "antialias",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ),
    "Shape": ("end", "start"),
    "Sigmoid": (),
    "Slice": (),
    "Squeeze": (),
    "Sub": (),
    "Transpose": ("perm",),
    "Unsqueeze": (),
}

# TensorProto.DataType: its number, what NumPy calls it, bytes of one.
TYPES = {
    1: ("float32", 4),
    2: ("uint8", 1),
    3: ("int8", 1),
    6: ("int32", 4),
    7: ("int64", 8),
    9: ("bool", 1),
    10: ("float16", 2),
}


def _refused(names: Mapping[int, str]) -> dict[int, Field]:
    return {number: Field(name=name, kind="refused") for number, name in names.items()}


_DIMENSION = {1: Field(name="dim_value", kind="int"), 2: Field(name="dim_param", kind="text")}
_SHAPE = {1: Field(name="dim", kind="message", many=True, table=_DIMENSION, most=16)}
_TENSOR_TYPE = {1: Field(name="elem_type", kind="int"), 2: Field(name="shape", kind="message", table=_SHAPE)}
_TYPE = {
    1: Field(name="tensor_type", kind="message", table=_TENSOR_TYPE),
    **_refused({4: "a sequence", 5: "a map", 8: "a sparse type", 9: "an optional type"}),
}
_VALUE = {1: Field(name="name", kind="text"), 2: Field(name="type", kind="message", table=_TYPE)}
_TENSOR = {
    1: Field(name="dims", kind="ints", most=16),
    2: Field(name="data_type", kind="int"),
    4: Field(name="float_data", kind="floats"),
    5: Field(name="int32_data", kind="bytes"),
    7: Field(name="int64_data", kind="ints", most=64),  # shapes and axes; weights are never of 64 bits
    8: Field(name="name", kind="text"),
    9: Field(name="raw_data", kind="bytes"),
    # 14 says where the data lies; ONNX Runtime takes an address in memory for a place, too.
    **_refused({6: "text data", 13: "external data", 14: "external data", 16: "metadata"}),
}
_ATTRIBUTE = {
    1: Field(name="name", kind="text"),
    2: Field(name="f", kind="float"),
    3: Field(name="i", kind="int"),
    4: Field(name="s", kind="text"),
    8: Field(name="ints", kind="ints", most=16),
    20: Field(name="type", kind="int"),
    **_refused({5: "a constant", 6: "a subgraph", 10: "constants", 11: "subgraphs"}),
    **_refused({21: "a reference into a function", 22: "sparse data", 23: "sparse data"}),
}
_NODE = {
    1: Field(name="input", kind="text", many=True, most=256),
    2: Field(name="output", kind="text", many=True, most=16),
    3: Field(name="name", kind="text"),
    4: Field(name="op_type", kind="text"),
    5: Field(name="attribute", kind="message", many=True, table=_ATTRIBUTE, most=16),
    7: Field(name="domain", kind="text"),
    **_refused({8: "an overload", 9: "metadata", 10: "devices"}),
}
_GRAPH = {
    1: Field(name="node", kind="message", many=True, table=_NODE, most=MAX_NODES),
    2: Field(name="name", kind="text"),
    5: Field(name="initializer", kind="message", many=True, table=_TENSOR, most=MAX_TENSORS),
    11: Field(name="input", kind="message", many=True, table=_VALUE, most=16),
    12: Field(name="output", kind="message", many=True, table=_VALUE, most=16),
    13: Field(name="value_info", kind="message", many=True, table=_VALUE, most=4 * MAX_NODES),
    **_refused({14: "quantization annotations", 15: "sparse data", 16: "metadata"}),
}
_OPSET = {1: Field(name="domain", kind="text"), 2: Field(name="version", kind="int")}
MODEL = {
    1: Field(name="ir_version", kind="int"),
    2: Field(name="producer_name", kind="text"),
    3: Field(name="producer_version", kind="text"),
    7: Field(name="graph", kind="message", table=_GRAPH),
    8: Field(name="opset_import", kind="message", many=True, table=_OPSET, most=8),
    # ONNX Runtime reads session options (ort_config) and libraries of custom operators from metadata.
    **_refused({14: "metadata", 20: "training", 25: "functions", 26: "devices"}),
}
