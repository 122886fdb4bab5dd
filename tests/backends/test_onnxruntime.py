"""What a machine with a GPU would see, with ONNX Runtime's session replaced: a GPU is used or its absence is said."""

import logging
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from semise_sdk.backends import Graph, open_graph
from semise_sdk.backends.base import CPU_BATCH_SIZE, GPU_BATCH_SIZE
from semise_sdk.errors import BackendError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
GRAPH = Graph(name="encoder", content=lambda: b"onnx", outputs=("embedding",))


class FakeSession:
    """Gets the providers that the test says this machine has."""

    working = (CPU,)
    made: list["FakeSession"] = []  # noqa: RUF012

    def __init__(self, content, options, providers):
        self.options = options
        self.asked = providers
        self.falls_back = True
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        self.providers = [name for name in names if name in self.working]
        FakeSession.made.append(self)

    def disable_fallback(self):
        self.falls_back = False

    def get_providers(self):
        return self.providers

    def get_inputs(self):
        return [SimpleNamespace(name="pixels", type="tensor(uint8)", shape=["N", 2, 2, 3])]

    def get_outputs(self):
        return [SimpleNamespace(name="embedding")]

    def run(self, names, inputs):
        raise RuntimeError("CUDA failure 700: an illegal memory access\nstack")


def say_what_is_missing():
    sys.stdout.write("Failed to load libcudnn\n")


@pytest.fixture
def machine(monkeypatch):
    def set_up(built_with, working):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(built_with))
        monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
        monkeypatch.setattr(onnxruntime, "preload_dlls", say_what_is_missing, raising=False)
        monkeypatch.setattr(FakeSession, "working", working)
        monkeypatch.setattr(FakeSession, "made", [])

    return set_up


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_gpu_that_answers_is_used(machine, device, capsys):
    machine((CUDA, CPU), (CUDA, CPU))
    backend = open_graph(GRAPH, backend="onnxruntime", device=device, threads=8)
    assert backend.provider == CUDA
    assert (backend.concurrency, backend.batch_size) == (1, GPU_BATCH_SIZE)
    (session,) = FakeSession.made
    assert not session.falls_back
    _, options = session.asked[0]
    assert options["use_tf32"] == "0"
    assert capsys.readouterr().out == ""  # what the loader prints is no result


def test_the_index_of_the_gpu_is_handed_on(machine):
    machine((CUDA, CPU), (CUDA, CPU))
    open_graph(GRAPH, backend="onnxruntime", device="cuda:3")
    assert FakeSession.made[0].asked[0][1]["device_id"] == "3"


def test_cuda_without_a_gpu_is_an_error_and_never_the_cpu(machine):
    machine((CUDA, CPU), (CPU,))
    with pytest.raises(BackendError, match="expected a GPU that ONNX Runtime can use, found none: check nvidia-smi"):
        open_graph(GRAPH, backend="onnxruntime", device="cuda")


def test_cuda_without_the_gpu_build_says_what_to_install(machine):
    machine((CPU,), (CPU,))
    with pytest.raises(BackendError, match=r"pip install 'semise-sdk\[gpu\]'"):
        open_graph(GRAPH, backend="onnxruntime", device="cuda")
    assert FakeSession.made == []


def test_auto_without_a_gpu_runs_on_the_cpu_and_says_so(machine, caplog):
    machine((CUDA, CPU), (CPU,))
    with caplog.at_level(logging.WARNING):
        backend = open_graph(GRAPH, backend="onnxruntime", device="auto", threads=2)
    assert backend.provider == CPU
    assert "no GPU answers: running on the CPU" in caplog.text


@pytest.mark.parametrize(("threads", "runs", "each"), [(1, 1, 1), (2, 2, 1), (16, 16, 1), (64, 16, 4)])
def test_cores_become_runs_side_by_side_before_threads_within_one(machine, threads, runs, each):
    machine((CPU,), (CPU,))
    backend = open_graph(GRAPH, backend="onnxruntime", device="cpu", threads=threads)
    assert (backend.concurrency, backend.batch_size) == (runs, CPU_BATCH_SIZE)
    assert FakeSession.made[0].options.intra_op_num_threads == each


def test_a_failing_gpu_is_a_backend_error(machine):
    machine((CUDA, CPU), (CUDA, CPU))
    backend = open_graph(GRAPH, backend="onnxruntime", device="cuda")
    with pytest.raises(BackendError, match=r"could not run the graph: CUDA failure 700: an illegal memory access$"):
        backend.run({"pixels": np.zeros((1, 2, 2, 3), np.uint8)})


def test_an_input_of_an_unknown_type_is_refused(machine, monkeypatch):
    machine((CPU,), (CPU,))
    node = SimpleNamespace(name="pixels", type="tensor(int64)", shape=["N"])
    monkeypatch.setattr(FakeSession, "get_inputs", lambda _self: [node])
    with pytest.raises(BackendError, match=r"found tensor\(int64\)"):
        open_graph(GRAPH, backend="onnxruntime")
