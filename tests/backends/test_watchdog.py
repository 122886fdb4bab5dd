import gc
import threading
import time

import numpy as np
import onnx
import onnx.parser
import pytest

from semise_sdk.backends import Graph, open_graph
from semise_sdk.backends.watchdog import Watchdog, allowed_seconds
from semise_sdk.errors import BackendError
from semise_sdk.predictor import Predictor

# A graph that no bundle can hold, since its policy refuses it: a loop that ends in years.
ENDLESS = """<ir_version: 8, opset_import: ["" : 18]>
encoder (float[N,64] x) => (float[N,64] y) <int64 many = {4000000000000}, bool yes = {1}> {
    y = Loop<body = body (int64 i, bool goes, float[N,64] a) => (bool on, float[N,64] b)
        { on = Identity(goes)  b = Sin(a) }>(many, yes, x)
}"""
QUICK = """<ir_version: 8, opset_import: ["" : 18]> encoder (float[N,64] x) => (float[N,64] y) { y = Sin(x) }"""


def graph(text: str, seconds: float | None) -> Graph:
    content = onnx.parser.parse_model(text).SerializeToString()
    return Graph(name="encoder", content=lambda: content, outputs=("y",), run_seconds=seconds)


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "semise-watchdog"]


def test_onnxruntime_stops_a_run_that_does_not_end_and_goes_on_with_the_next():
    pytest.importorskip("onnxruntime")
    backend = open_graph(graph(ENDLESS, 0.3), backend="onnxruntime")
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(BackendError, match=r"within 0\.3 s, found it still going and stopped it"):
            backend.run({"x": np.ones((1, 64), np.float32)})
    assert time.monotonic() - started < 20
    backend.close()
    assert watchdogs() == []


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_quick_run_is_left_alone(name):
    pytest.importorskip(name)
    backend = open_graph(graph(QUICK, 60), backend=name)
    x = np.ones((2, 64), np.float32)
    np.testing.assert_allclose(backend.run({"x": x})["y"], np.sin(x), rtol=1e-5)
    backend.close()


def test_openvino_gives_up_a_run_that_takes_too_long():
    pytest.importorskip("openvino")
    body = "  ".join(f"a{step + 1} = MatMul(a{step}, w)" for step in range(400))
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
    encoder (float[N,1500] a0) => (float[N,1500] y) <float[1] one = {{0.001}}, int64[2] sides = {{1500, 1500}}> {{
        w = Expand(one, sides)  {body}  y = Identity(a400) }}"""
    backend = open_graph(graph(text, 0.02), backend="openvino")
    for _ in range(2):
        with pytest.raises(BackendError, match=r"within 0\.02 s, found it still going"):
            backend.run({"a0": np.ones((300, 1500), np.float32)})
    backend.close()


def test_what_a_run_may_take_grows_with_its_rows():
    assert allowed_seconds(4) == 360
    assert allowed_seconds(4, 1.5) == 1.5


def test_a_run_in_time_is_not_stopped_and_its_error_stays_its_own():
    dog, stopped = Watchdog(30), []
    with pytest.raises(KeyError, match="own"), dog.watch(rows=1, stop=lambda: stopped.append(1)):
        raise KeyError("own")
    assert stopped == []
    dog.close()
    dog.close()


def test_each_late_run_is_stopped_once_and_no_other():
    dog, late, over = Watchdog(0.1), [], threading.Event()

    def run(number: int) -> None:
        with dog.watch(rows=1, stop=lambda: late.append(number)):
            time.sleep(0 if number else 0.5)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    dog.close()
    assert late == [0]


def test_a_watchdog_that_is_dropped_ends_its_thread():
    dog = Watchdog(0.2)
    with dog.watch(rows=1, stop=lambda: None):
        pass
    (thread,) = watchdogs()
    del dog
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_seconds_are_above_zero(seconds, tmp_path):
    with pytest.raises(ValueError, match="above 0"):
        Watchdog(seconds)
    with pytest.raises(ValueError, match="above 0"):
        Predictor.open(tmp_path, run_seconds=seconds)


def test_a_predictor_hands_its_limit_on(write_colour_bundle, tmp_path):
    with Predictor.open(write_colour_bundle(tmp_path / "bundle"), backend="onnxruntime", run_seconds=7) as predictor:
        assert predictor._graphs.get("encoder")._watchdog._seconds == 7
