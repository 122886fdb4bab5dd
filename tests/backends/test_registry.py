import logging
import subprocess
import sys

import numpy as np
import pytest

from semise_sdk import backends
from semise_sdk.backends import registry
from semise_sdk.backends.base import Graph
from semise_sdk.errors import BackendError

LEAN = """
import sys
from importlib import util
find = util.find_spec
util.find_spec = lambda name, *rest: None if name in {missing!r} else find(name, *rest)
from semise_sdk.backends import available
print([(entry.name, entry.is_available, entry.reason, entry.devices) for entry in available()])
print("torch" in sys.modules)
"""


def test_importing_the_package_loads_no_engine():
    code = (
        "import sys, semise_sdk.backends, semise_sdk.predictor;"
        "print([m for m in ('torch', 'onnxruntime', 'openvino', 'tensorrt') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_backend_of_the_table_has_a_command_that_brings_it():
    for entry in backends.BACKENDS:
        assert entry.pip.startswith("pip install 'semise-sdk[")


def test_what_is_missing_stays_listed_with_its_reason_and_is_not_imported():
    code = LEAN.format(missing=("torch", "openvino"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, has_torch = done.stdout.splitlines()
    rows = {name: rest for name, *rest in eval(listed)}  # noqa: S307  # printed just above
    assert rows["onnxruntime"] == [True, "", ("cpu",)] or "cuda" in rows["onnxruntime"][2]
    assert rows["openvino"][0] is False
    assert rows["openvino"][1] == (
        "backend openvino needs openvino, not installed here: pip install 'semise-sdk[openvino]'"
    )
    assert rows["pytorch"][1].startswith("backend pytorch needs torch")
    assert has_torch == "False"


TENSORRTS = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


@pytest.mark.parametrize("installed", TENSORRTS)
def test_any_one_tensorrt_will_do(monkeypatch, installed):
    entry = next(entry for entry in backends.BACKENDS if entry.name == "tensorrt")
    assert entry.alternatives == TENSORRTS
    monkeypatch.setattr(registry.util, "find_spec", lambda name: object() if name in (installed, "cuda") else None)
    registry._require(entry)
    monkeypatch.setattr(registry.util, "find_spec", lambda name: object() if name == "cuda" else None)
    with pytest.raises(BackendError, match="needs one of tensorrt, tensorrt_rtx, tensorrt_rtx_bindings, not installed"):
        registry._require(entry)
    monkeypatch.setattr(registry.util, "find_spec", lambda name: object() if name == installed else None)
    with pytest.raises(BackendError, match=r"needs cuda, not installed here: pip install 'semise-sdk\[rtx\]'"):
        registry._require(entry)


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(
        BackendError, match="expected backend auto, onnxruntime, openvino, tensorrt, pytorch, found 'tflite'"
    ):
        backends.open_graph(Graph(name="encoder"), backend="tflite")


@pytest.mark.parametrize(
    ("installed", "problems"),
    [
        ((), 0),
        (("onnxruntime",), 0),
        (("onnxruntime-gpu",), 0),
        (("onnxruntime", "onnxruntime-gpu"), 1),
        (("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu"), 1),
    ],
)
def test_two_wheels_of_onnxruntime_are_a_conflict(monkeypatch, installed, problems):
    monkeypatch.setattr(registry, "_version", lambda wheels: "1.0" if wheels[0] in installed else None)
    found = backends.conflicts()
    assert len(found) == problems
    for sentence in found:
        assert all(f"{wheel} " in sentence for wheel in installed)
        assert "pip uninstall -y" in sentence


class FakeModule:
    def __init__(self, name, *, error=None, provider="CPU"):
        self.name = name
        self.error = error
        self.provider = provider
        self.asked = []

    def devices(self):
        return ("cpu",)

    def check_device(self, device):
        if self.error:
            raise BackendError(self.error)

    def open_graph(self, graph, *, device, threads):
        self.asked.append((graph.name, device.kind, threads))
        self.check_device(device)
        return FakeBackend(self.name, self.provider)


class FakeBackend:
    concurrency = 1
    batch_size = 2

    def __init__(self, name, provider):
        self.name = name
        self.provider = provider

    def run(self, inputs):
        return inputs

    def close(self):
        pass


@pytest.fixture
def modules(monkeypatch):
    fakes = {name: FakeModule(name) for name in ("onnxruntime", "openvino", "tensorrt", "pytorch")}
    monkeypatch.setattr(registry, "_module", lambda entry: fakes[entry.name])
    return fakes


GRAPH = Graph(name="encoder", content=lambda: b"")


def test_auto_takes_the_first_that_works_and_logs_it(modules, caplog):
    modules["onnxruntime"].error = "broken"
    with caplog.at_level(logging.INFO):
        opened = backends.open_graph(GRAPH, threads=3)
    assert opened.name == "openvino"
    assert modules["openvino"].asked == [("encoder", "auto", 3)]
    assert "backend auto: not onnxruntime: broken" in caplog.text
    assert "backend auto: graph encoder runs on openvino:CPU" in caplog.text


def test_auto_says_why_none_works(modules):
    for name, module in modules.items():
        module.error = f"no {name}"
    with pytest.raises(BackendError, match="onnxruntime: no onnxruntime; openvino: no openvino; tensorrt: no"):
        backends.open_graph(GRAPH)
    with pytest.raises(BackendError, match="neither an ONNX graph nor weights"):
        backends.open_graph(Graph(name="encoder"))
    with pytest.raises(BackendError, match="pytorch: no pytorch"):
        backends.check_backend("auto", "cuda")


def test_a_backend_that_is_named_is_never_replaced(modules):
    modules["openvino"].error = "refused"
    with pytest.raises(BackendError, match=r"^refused$"):
        backends.open_graph(GRAPH, backend="openvino")
    with pytest.raises(BackendError, match=r"^refused$"):
        backends.check_backend("openvino", "cpu")
    assert modules["onnxruntime"].asked == []
    assert modules["pytorch"].asked == []


def test_auto_asks_only_backends_that_have_the_device_and_the_graph(modules, tmp_path):
    assert backends.open_graph(GRAPH, device="cuda").name == "onnxruntime"
    assert backends.open_graph(Graph(name="encoder", weights=tmp_path)).name == "pytorch"
    modules["onnxruntime"].error = "no GPU"
    modules["tensorrt"].error = "no GPU either"
    with pytest.raises(BackendError, match="onnxruntime: no GPU; tensorrt: no GPU either"):
        backends.open_graph(GRAPH, device="cuda")
    assert modules["openvino"].asked == []
    assert modules["tensorrt"].asked == [("encoder", "cuda", None)]


@pytest.mark.parametrize(
    ("device", "provider", "is_warned"),
    [("auto", "CPUExecutionProvider", True), ("cpu", "CPUExecutionProvider", False), ("auto", "CUDA", False)],
)
def test_a_gpu_that_lies_idle_is_not_passed_over_in_silence(modules, monkeypatch, caplog, device, provider, is_warned):
    monkeypatch.setattr(registry, "has_nvidia_gpu", lambda: True)
    modules["onnxruntime"].provider = provider
    backends.open_graph(GRAPH, device=device)
    assert ("an NVIDIA GPU is present" in caplog.text) is is_warned


def test_a_fake_backend_is_a_backend():
    fake: backends.Backend = FakeBackend("fake", "none")
    assert fake.run({"a": np.zeros(1)}).keys() == {"a"}
