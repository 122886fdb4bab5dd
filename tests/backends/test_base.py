import numpy as np
import pytest

from semise_sdk.backends.base import Device, Graph, check_inputs, check_outputs, first_line
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BackendError

PIXELS = {"pixels": TensorSpec("uint8", ("N", 4, 4, 3))}


def test_devices_are_parsed():
    assert Device.parse("auto") == Device("auto")
    assert Device.parse("cpu") == Device("cpu", 0)
    assert Device.parse("cuda") == Device("cuda", 0)
    assert Device.parse("cuda:12") == Device("cuda", 12)


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:-1", "cpu:0", "", "CUDA", "cuda:x"])
def test_unknown_devices_are_refused(text):
    with pytest.raises(BackendError, match="expected device auto, cpu, cuda, tensorrt, tensorrt_rtx, or cuda:N"):
        Device.parse(text)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_any_number_of_rows_fits(rows):
    check_inputs({"pixels": np.zeros((rows, 4, 4, 3), np.uint8)}, PIXELS)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "expected inputs pixels, found none"),
        ({"image": np.zeros((1, 4, 4, 3), np.uint8)}, "expected inputs pixels, found image"),
        ({"pixels": np.zeros((1, 4, 4, 3), np.float32)}, "found float32"),
        ({"pixels": np.zeros((1, 5, 4, 3), np.uint8)}, "found uint8 .1, 5, 4, 3."),
        ({"pixels": np.zeros((4, 4, 3), np.uint8)}, "found uint8 .4, 4, 3."),
    ],
)
def test_other_arrays_are_refused(inputs, message):
    with pytest.raises(BackendError, match=message):
        check_inputs(inputs, PIXELS)


def test_a_missing_output_is_refused():
    check_outputs(Graph(name="encoder", outputs=("a",)), ("a", "b"))
    with pytest.raises(BackendError, match="expected outputs c of graph encoder, found a, b"):
        check_outputs(Graph(name="encoder", outputs=("a", "c")), ("a", "b"))


def test_a_graph_without_onnx_says_what_to_do():
    with pytest.raises(BackendError, match="found a run folder: export it first"):
        Graph(name="encoder").onnx("onnxruntime")


def test_the_line_of_a_foreign_error_that_says_something():
    error = RuntimeError("Exception from src/core.cpp:1:\nCheck 'x' failed\n\nUnable to read the model.\nmore")
    assert first_line(error) == "Unable to read the model."
    assert first_line(RuntimeError("Exception from x")) == "Exception from x"
    assert first_line(ValueError()) == "ValueError"
