"""ONNX Runtime and OpenVINO alike: hand-written graphs whose answers are known."""

import threading

import numpy as np
import onnx.parser
import pytest

from semise_sdk.backends import Graph, open_graph
from semise_sdk.errors import BackendError

ENGINES = ("onnxruntime", "openvino")

# Twice the same value under two names, as severity_vector and reference_vector are in a recommended model.
GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
encoder (uint8[N,4,4,3] pixels) => (float[N,3] severity_vector, float[N,3] reference_vector, float[N,1,1,3] places)
<int64[2] sides = {1, 2}, int64[4] shape = {-1, 1, 1, 3}>
{
    floats = Cast<to = 1>(pixels)
    mean = ReduceMean<keepdims = 0>(floats, sides)
    severity_vector = Identity(mean)
    reference_vector = Identity(mean)
    places = Reshape(mean, shape)
}
"""


def graph(text: str = GRAPH, outputs: tuple[str, ...] = ("severity_vector", "reference_vector", "places")) -> Graph:
    return Graph(name="encoder", content=lambda: onnx.parser.parse_model(text).SerializeToString(), outputs=outputs)


@pytest.fixture(params=ENGINES)
def engine(request):
    backend = open_graph(graph(), backend=request.param, device="cpu", threads=2)
    yield backend
    backend.close()


def pixels(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("rows", [1, 2, 3, 33])
def test_outputs_keep_their_names_and_values(engine, rows):
    outputs = engine.run({"pixels": pixels(rows)})
    expected = pixels(rows).mean(axis=(1, 2))
    assert set(outputs) == {"severity_vector", "reference_vector", "places"}
    np.testing.assert_allclose(outputs["severity_vector"], expected, rtol=1e-6)
    np.testing.assert_array_equal(outputs["severity_vector"], outputs["reference_vector"])
    assert outputs["places"].shape == (rows, 1, 1, 3)


def test_results_are_the_callers_own(engine):
    first = engine.run({"pixels": pixels(2, seed=1)})["severity_vector"]
    kept = first.copy()
    for seed in range(2, 6):
        engine.run({"pixels": pixels(2, seed=seed)})
    np.testing.assert_array_equal(first, kept)


def test_arrays_that_are_not_contiguous_or_read_only_are_read_right(engine):
    whole = pixels(6)
    expected = whole[::2].mean(axis=(1, 2))
    np.testing.assert_allclose(engine.run({"pixels": whole[::2]})["severity_vector"], expected, rtol=1e-6)
    whole.setflags(write=False)
    np.testing.assert_allclose(engine.run({"pixels": whole})["severity_vector"][::2], expected, rtol=1e-6)


def test_sixteen_threads_get_what_one_gets(engine):
    batches = [pixels(1 + seed % 5, seed) for seed in range(64)]
    serial = [engine.run({"pixels": batch})["severity_vector"] for batch in batches]
    parallel: dict[int, np.ndarray] = {}

    def work(first: int) -> None:
        for index in range(first, len(batches), 16):
            parallel[index] = engine.run({"pixels": batches[index]})["severity_vector"]

    threads = [threading.Thread(target=work, args=(first,)) for first in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, expected in enumerate(serial):
        np.testing.assert_array_equal(parallel[index], expected)


def test_arrays_that_do_not_fit_are_refused(engine):
    with pytest.raises(BackendError, match="expected pixels as uint8"):
        engine.run({"pixels": np.zeros((1, 4, 4, 3), np.float32)})
    with pytest.raises(BackendError, match="expected inputs pixels"):
        engine.run({})


def test_a_closed_engine_says_so_and_closing_twice_is_harmless(engine):
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="found it closed"):
        engine.run({"pixels": pixels(1)})


def test_it_says_what_computes_and_how_it_is_served_best(engine):
    assert engine.provider in ("CPUExecutionProvider", "CPU")
    assert 1 <= engine.concurrency <= 2
    assert engine.batch_size >= 1


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x07"])
def test_what_is_no_graph_is_a_backend_error(name, content):
    with pytest.raises(BackendError, match="refused graph encoder"):
        open_graph(Graph(name="encoder", content=lambda: content), backend=name)


@pytest.mark.parametrize("name", ENGINES)
def test_a_graph_without_an_output_that_it_must_have_is_refused(name):
    with pytest.raises(BackendError, match="expected outputs embedding of graph encoder"):
        open_graph(graph(outputs=("embedding",)), backend=name)


ADDING_SEVEN_ROWS = """
<ir_version: 8, opset_import: ["" : 18]>
encoder (uint8[N,3] pixels) => (float[M,3] sums)
<float[7,3] seven = {1,1,1, 1,1,1, 1,1,1, 1,1,1, 1,1,1, 1,1,1, 1,1,1}>
{
    floats = Cast<to = 1>(pixels)
    sums = Add(floats, seven)
}
"""


@pytest.mark.parametrize("name", ENGINES)
def test_a_failing_run_is_a_backend_error_and_the_next_one_is_unaffected(name):
    backend = open_graph(graph(ADDING_SEVEN_ROWS, ("sums",)), backend=name, device="cpu", threads=1)
    for _ in range(3):  # as often as there are requests, and once more
        with pytest.raises(BackendError, match=r"could not run the graph|one row of output"):
            backend.run({"pixels": np.zeros((2, 3), np.uint8)})
    np.testing.assert_array_equal(backend.run({"pixels": np.zeros((7, 3), np.uint8)})["sums"], np.ones((7, 3)))
    backend.close()


@pytest.mark.parametrize("name", ENGINES)
def test_answers_of_another_batch_size_are_refused(name):
    backend = open_graph(graph(ADDING_SEVEN_ROWS, ("sums",)), backend=name, device="cpu", threads=1)
    with pytest.raises(BackendError, match="one row of output per row of input"):
        backend.run({"pixels": np.zeros((1, 3), np.uint8)})
    backend.close()


@pytest.mark.parametrize("name", ENGINES)
def test_cuda_is_never_replaced_by_the_cpu(name):
    with pytest.raises(BackendError, match=r"onnxruntime-?.*gpu|device cpu for OpenVINO|GPU"):
        open_graph(graph(), backend=name, device="cuda")
