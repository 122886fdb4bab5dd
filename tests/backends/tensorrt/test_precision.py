"""What the engine inspector's words for types say of a precision."""

import json

import pytest

from semise_sdk.backends.tensorrt.precision import NetworkTypes, check_types, engine_types
from semise_sdk.errors import BackendError


def described(*layers: dict[str, object]) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["pixels"]})


def layer(text: str, *, name: str = "conv", key: str = "Format/Datatype", kind: str = "CaskConvolution"):
    tensor = {"Name": "t", "Dimensions": [1, 8], key: text}
    return {"Name": name, "LayerType": kind, "Inputs": [tensor], "Outputs": [tensor]}


# As the documentation of TensorRT 10 and 11 spells them.
SPELLINGS = {
    "Row major linear FP32": "fp32",
    "Float": "fp32",
    "Half": "fp16",
    "Channel major FP16 format where channel % 8 == 0": "fp16",
    "Int8": "int8",
    "Thirty-two wide channel vectorized row major Int8 format": "int8",
    "BFloat16": "bf16",
    "FP8": "fp8",
}


@pytest.mark.parametrize(("text", "type_"), SPELLINGS.items())
@pytest.mark.parametrize("key", ["Format/Datatype", "DataType", "Format"])
def test_types_are_read_in_every_spelling(text, type_, key):
    assert engine_types(described(layer(text, key=key))).tensors == {type_: 2}


@pytest.mark.parametrize("text", ["UInt8", "Int32", "Int64", "Bool", "Row major linear UINT8 format"])
def test_what_is_no_arithmetic_counts_for_no_precision(text):
    assert engine_types(described(layer(text))).tensors == {}


def test_a_tensor_with_format_and_type_counts_once():
    tensor = {"Name": "t", "DataType": "Half", "Format": "Row major linear FP16 format"}
    found = engine_types(described({"Name": "x", "LayerType": "gemm", "Inputs": [], "Outputs": [tensor]}))
    assert found.tensors == {"fp16": 1}


HALF, FLOAT, INT8 = layer("Half"), layer("Float"), layer("Int8")
FUSED = layer("Float", kind="Myelin", name="{ForeignNode[a...b]}")


@pytest.mark.parametrize(
    ("layers", "precision", "evidence"),
    [
        ([FLOAT], "fp32", "confirmed"),
        ([FUSED], "fp32", "confirmed"),
        ([FLOAT, HALF], "fp32", "contradicted"),
        ([FLOAT, INT8], "fp32", "contradicted"),
        ([HALF, FLOAT], "fp16", "confirmed"),
        ([FLOAT], "fp16", "contradicted"),
        ([FUSED], "fp16", "hidden"),
        ([INT8, FLOAT], "int8", "confirmed"),
        ([HALF], "int8", "contradicted"),
        ([FUSED, FLOAT], "int8", "hidden"),
        (["layer names alone"], "fp16", "hidden"),
        ([], "fp32", "hidden"),
    ],
)
def test_an_engines_types_confirm_hide_or_contradict_a_precision(layers, precision, evidence):
    assert engine_types(described(*layers)).evidence(precision) == evidence


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"Layers": null}', '{"Layers": [{"Inputs": 3}]}'])
def test_a_description_that_cannot_be_read_hides_everything(text):
    assert engine_types(text).evidence("int8") == "hidden"


def types(**changes: object) -> NetworkTypes:
    return NetworkTypes(**({"layers": 9, "products": {"int8": 2}, "tensors": {"int8": 4, "fp32": 2}} | changes))


def test_int8_needs_both_sides_and_products_between_them():
    check_types(types(quantize=2, dequantize=4), "int8", "encoder")
    for damaged in (
        types(quantize=0, dequantize=4),
        types(quantize=2, dequantize=0),
        types(quantize=2, dequantize=4, products={"fp32": 2}),
    ):
        with pytest.raises(BackendError, match="expected graph encoder in int8, found products"):
            check_types(damaged, "int8", "encoder")


def test_types_come_back_from_json():
    original = types(quantize=2, dequantize=4, strays=("a",))
    assert NetworkTypes.from_json(json.loads(json.dumps(original.to_json()))) == original
    for damaged in (None, {}, [], original.to_json() | {"layers": "nine"}):
        with pytest.raises(ValueError, match=r"expected (layers in )?the types of a network to "):
            NetworkTypes.from_json(damaged)
