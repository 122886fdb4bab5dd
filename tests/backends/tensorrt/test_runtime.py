"""Batches on a device that is only memory: split, padded, run by many threads, opened from the cache and closed."""

import itertools
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from semise_sdk.backends import tensorrt
from semise_sdk.backends.base import Device, Graph
from semise_sdk.backends.tensorrt import cache as caches
from semise_sdk.backends.tensorrt import engines
from semise_sdk.backends.tensorrt.cuda import Buffer, Gpu
from semise_sdk.backends.tensorrt.lane import Contexts, EngineShape, Lane
from semise_sdk.backends.tensorrt.library import Library
from semise_sdk.backends.tensorrt.runtime import TensorRtBackend, deserialize, split_rows
from semise_sdk.errors import BackendError

GPU = Gpu(index=1, name="NVIDIA L4", capability="8.9", driver="580.1")
OUTPUTS = ("total", "places")


class FakeMemory:
    """Device memory whose queue runs when it is waited for, as a stream's may: no sooner."""

    made: ClassVar[list["FakeMemory"]] = []
    addresses: ClassVar[Iterator[int]] = itertools.count(1000)

    def __init__(self, gpu: Gpu | None = None) -> None:
        self.gpu = gpu
        self.device: dict[int, np.ndarray] = {}
        self.queue: list = []
        self.entered = 0
        self.is_closed = False
        FakeMemory.made.append(self)

    stream = 7

    def enter(self) -> None:
        self.entered += 1

    def allocate(self, size: int) -> Buffer:
        address = next(self.addresses)
        self.device[address] = np.full(size, 255, np.uint8)
        return Buffer(address, np.full(size, 255, np.uint8))

    def upload(self, buffer: Buffer, size: int) -> None:
        self.queue.append(lambda: self.device[buffer.address].__setitem__(slice(size), buffer.host[:size]))

    def download(self, buffer: Buffer, size: int) -> None:
        self.queue.append(lambda: buffer.host.__setitem__(slice(size), self.device[buffer.address][:size]))

    def wait(self) -> None:
        while self.queue:
            self.queue.pop(0)()

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


class FakeContext:
    """Adds up each row of uint8 [N, 2, 3] pixels."""

    def __init__(self, engine: "FakeEngine") -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.rows = 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.rows = shape[0]
        self.engine.batches.append(shape[0])
        return self.engine.minimum <= shape[0] <= self.engine.maximum

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == FakeMemory.stream
        memory = next(memory for memory in FakeMemory.made if self.addresses["pixels"] in memory.device)
        rows, addresses = self.rows, self.addresses

        def compute() -> None:
            pixels = memory.device[addresses["pixels"]][: rows * 6].reshape(rows, 2, 3)
            total = pixels.sum(axis=(1, 2), dtype=np.float32)
            memory.device[addresses["total"]].view(np.float32)[:rows] = total
            memory.device[addresses["places"]].view(np.float16)[: rows * 2] = np.repeat(total, 2)

        memory.queue.append(compute)
        return not self.engine.fails


class FakeEngine:
    """What TensorRT would tell of an engine that takes ``minimum`` to ``maximum`` rows."""

    tensors: ClassVar = {"pixels": (-1, 2, 3), "total": (-1,), "places": (-1, 2)}
    types: ClassVar = {"pixels": np.uint8, "total": np.float32, "places": np.float16}
    num_io_tensors = 3

    def __init__(self, minimum: int = 1, maximum: int = 4, *, described: str = "Float") -> None:
        self.minimum, self.maximum = minimum, maximum
        self.batches: list[int] = []
        self.fails = False
        self.described = described
        self.kernels: list[bytes] = []

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        return "INPUT" if name == "pixels" else "OUTPUT"

    def get_tensor_dtype(self, name):
        return self.types[name]

    def get_tensor_shape(self, name):
        return self.tensors[name]

    def get_tensor_profile_shape(self, name, profile):
        return [(rows, *self.tensors[name][1:]) for rows in (self.minimum, self.minimum + 1, self.maximum)]

    def create_execution_context(self, config=None):
        return FakeContext(self)

    def create_runtime_config(self):
        cache = SimpleNamespace(serialize=lambda: b"compiled", deserialize=self.kernels.append)
        return SimpleNamespace(create_runtime_cache=lambda: cache, set_runtime_cache=lambda _cache: True)

    def create_engine_inspector(self):
        tensor = {"Name": "t", "Format/Datatype": self.described}
        text = json.dumps({"Layers": [{"Name": "a", "Inputs": [tensor], "Outputs": []}]})
        return SimpleNamespace(get_engine_information=lambda _format: text)


MESSAGES = SimpleNamespace(take_errors=list, receiver=object())
TRT = SimpleNamespace(
    TensorIOMode=SimpleNamespace(INPUT="INPUT"),
    LayerInformationFormat=SimpleNamespace(JSON="JSON"),
    nptype=lambda dtype: dtype,
)
FAKE = Library(trt=TRT, version="11.4", is_rtx=False, messages=MESSAGES)


@pytest.fixture(autouse=True)
def memories(monkeypatch):
    monkeypatch.setattr(FakeMemory, "made", [])
    return FakeMemory.made


def open_fake(engine: FakeEngine, lanes: int = 1, outputs: tuple[str, ...] = OUTPUTS) -> TensorRtBackend:
    shape = EngineShape.of(FAKE, engine)
    contexts = Contexts(FAKE, engine)
    return TensorRtBackend(
        Graph(name="encoder", outputs=outputs),
        provider="TensorRT 11.4 NVIDIA L4",
        shape=shape,
        lanes=tuple(Lane(FAKE, contexts.make(), shape, FakeMemory()) for _ in range(lanes)),
    )


def pixels(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, 256, (rows, 2, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("rows", "batches"), [(1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (11, [4, 4, 3]), (0, [1])]
)
def test_batches_above_the_largest_are_split(rows, batches):
    engine = FakeEngine(1, 4)
    outputs = open_fake(engine).run({"pixels": pixels(rows)})
    assert engine.batches == batches
    expected = pixels(rows).sum(axis=(1, 2), dtype=np.float32)
    np.testing.assert_array_equal(outputs["total"], expected)
    np.testing.assert_array_equal(outputs["places"], np.stack([expected, expected], axis=1).astype(np.float16))
    assert (outputs["total"].shape, outputs["places"].dtype) == ((rows,), np.float16)


@pytest.mark.parametrize(("rows", "batches"), [(1, [3]), (3, [3]), (5, [5]), (6, [5, 3]), (9, [5, 4]), (0, [3])])
def test_batches_below_the_smallest_are_padded_and_the_padding_is_taken_away(rows, batches):
    engine = FakeEngine(3, 5)
    outputs = open_fake(engine).run({"pixels": pixels(rows)})
    assert engine.batches == batches
    np.testing.assert_array_equal(outputs["total"], pixels(rows).sum(axis=(1, 2), dtype=np.float32))


def test_padding_is_zeros_behind_the_rows():
    shape = EngineShape.of(FAKE, FakeEngine(3, 5))
    (part,) = split_rows({"pixels": pixels(2)}, 2, shape)
    np.testing.assert_array_equal(part["pixels"][:2], pixels(2))
    np.testing.assert_array_equal(part["pixels"][2:], np.zeros((1, 2, 3), np.uint8))


def test_the_engine_tells_its_own_shapes_and_batch_sizes():
    shape = EngineShape.of(FAKE, FakeEngine(2, 8))
    assert (shape.minimum, shape.optimum, shape.maximum) == (2, 3, 8)
    assert shape.inputs == {"pixels": ("uint8", ("N", 2, 3))}
    assert shape.outputs == {"total": ("float32", ("N",)), "places": ("float16", ("N", 2))}
    assert open_fake(FakeEngine(2, 8)).batch_size == 3


def test_answers_do_not_change_when_the_next_batch_runs():
    backend = open_fake(FakeEngine())
    first = backend.run({"pixels": pixels(2)})["total"]
    kept = first.copy()
    backend.run({"pixels": pixels(4)})
    np.testing.assert_array_equal(first, kept)


def test_an_array_that_is_not_contiguous_is_taken_as_it_reads():
    strided = pixels(8)[::2, :, ::-1]
    outputs = open_fake(FakeEngine()).run({"pixels": strided})
    np.testing.assert_array_equal(outputs["total"], strided.sum(axis=(1, 2), dtype=np.float32))


def test_what_does_not_fit_is_refused_before_the_device_sees_it(memories):
    backend = open_fake(FakeEngine())
    with pytest.raises(BackendError, match="expected pixels as uint8"):
        backend.run({"pixels": pixels(1).astype(np.float32)})
    assert memories[0].entered == 0
    with pytest.raises(BackendError, match="expected outputs mask_logits of graph encoder"):
        open_fake(FakeEngine(), outputs=("mask_logits",))


def test_a_failing_run_is_a_backend_error_and_gives_its_context_back():
    engine = FakeEngine()
    backend = open_fake(engine)
    engine.fails = True
    with pytest.raises(BackendError, match=r"TensorRT 11\.4 could not run a batch of 2: it gave no reason"):
        backend.run({"pixels": pixels(2)})
    engine.fails = False
    assert backend.run({"pixels": pixels(2)})["total"].shape == (2,)


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_threads_share_the_contexts_and_get_what_one_gets(lanes):
    backend = open_fake(FakeEngine(), lanes)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for rows in range(1, 10):
            values = np.random.default_rng(seed * 100 + rows).integers(0, 256, (rows, 2, 3), dtype=np.uint8)
            found = backend.run({"pixels": values})["total"]
            if not np.array_equal(found, values.sum(axis=(1, 2), dtype=np.float32)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_frees_everything_once(memories):
    backend = open_fake(FakeEngine(), lanes=2)
    backend.close()
    backend.close()
    assert [memory.is_closed for memory in memories] == [True, True]
    with pytest.raises(BackendError, match="found it closed"):
        backend.run({"pixels": pixels(1)})


def test_memory_is_freed_when_a_lane_cannot_be_made(memories, monkeypatch):
    def refuse(self, size):
        raise BackendError("CUDA failed in cudaMalloc: out of memory")

    monkeypatch.setattr(FakeMemory, "allocate", refuse)
    with pytest.raises(BackendError, match="out of memory"):
        open_fake(FakeEngine())
    assert memories[0].is_closed


def test_a_context_that_cannot_be_made_says_so(monkeypatch):
    monkeypatch.setattr(FakeEngine, "create_execution_context", lambda self: None)
    with pytest.raises(BackendError, match="could not prepare the engine to run"):
        Contexts(FAKE, FakeEngine()).make()


@pytest.fixture
def opened(library, make_graph, cache, monkeypatch):
    """Opens a graph for real up to where a driver is needed: a fake engine then stands for what it would load."""
    given = SimpleNamespace(engine=FakeEngine(), refusals=[], loaded=[])

    def load(_library, content):
        given.loaded.append(content)
        if given.refusals:
            raise BackendError(given.refusals.pop())
        return given.engine

    for module in (tensorrt, engines):
        monkeypatch.setattr(module, "use_gpu", lambda gpu: None)
    monkeypatch.setattr(tensorrt, "find_gpu", lambda index=0: GPU)
    monkeypatch.setattr(tensorrt, "load_library", lambda: library)
    monkeypatch.setattr(tensorrt, "deserialize", load)
    monkeypatch.setattr(tensorrt, "CudaMemory", FakeMemory)
    monkeypatch.setattr(library.trt, "nptype", lambda dtype: dtype)
    monkeypatch.setattr(library.trt, "TensorIOMode", TRT.TensorIOMode)

    def run(precision: str = "fp32"):
        return tensorrt.open_graph(make_graph(precision=precision), device=Device("cuda", 1), threads=None, cache=cache)

    given.open = run
    return given


def test_a_graph_is_built_opened_and_run_and_says_what_runs_it(opened, library, memories):
    backend = opened.open()
    assert backend.provider == f"TensorRT-RTX {library.version} NVIDIA L4"
    assert (backend.name, backend.concurrency) == ("tensorrt", 2)
    assert [memory.gpu for memory in memories] == [GPU, GPU]
    assert backend.run({"pixels": pixels(6)})["total"].shape == (6,)
    backend.close()


def test_compiled_kernels_are_kept_for_the_next_start(opened):
    opened.open().close()
    assert opened.engine.kernels == []
    opened.open().close()
    assert opened.engine.kernels == [b"compiled"]


def test_a_cached_engine_that_tensorrt_refuses_is_built_again_once(opened):
    opened.open().close()
    opened.refusals = ["refused the engine: version mismatch"]
    opened.open().close()
    assert len(opened.loaded) == 3
    opened.refusals = ["refused the engine: still", "refused the engine: really"]
    with pytest.raises(BackendError, match="refused the engine: still"):
        opened.open()
    assert len(opened.loaded) == 5


def test_a_fresh_engine_that_tensorrt_refuses_is_not_built_again(opened):
    opened.refusals = ["refused the engine: no driver"]
    with pytest.raises(BackendError, match="no driver"):
        opened.open()
    assert len(opened.loaded) == 1


@pytest.mark.parametrize(("precision", "described"), [("fp16", "Float"), ("fp32", "Half"), ("int8", "Half")])
def test_an_engine_that_computes_in_another_precision_is_refused(opened, precision, described):
    opened.engine = FakeEngine(described=described)
    with pytest.raises(BackendError, match=f"expected an engine of graph classifier in {precision}, found 1 layers"):
        opened.open(precision)


def test_a_precision_of_the_cpu_runtimes_is_refused(make_graph):
    with pytest.raises(BackendError, match="expected precision fp32, fp16, int8 for backend tensorrt, found bf16"):
        tensorrt.open_graph(make_graph(said="bf16"), device=Device("cuda"), threads=None)


@pytest.mark.parametrize("kind", ["cpu", "tensorrt", "tensorrt_rtx"])
def test_other_devices_are_refused(kind):
    with pytest.raises(BackendError, match=f"expected device cuda for TensorRT, found {kind}"):
        tensorrt.check_device(Device(kind))


def test_a_real_engine_is_refused_in_one_sentence_where_no_driver_is(library, make_graph, cache):
    from semise_sdk.backends.tensorrt.cuda import find_gpu

    try:
        find_gpu()
    except BackendError as error:
        assert "check nvidia-smi" in str(error)  # noqa: PT017  # a machine with a GPU has nothing to show here
    else:
        pytest.skip("needs a machine without a GPU")
    built = engines.obtain_engine(library, make_graph(), cache=cache, gpu=None)
    with pytest.raises(BackendError, match=r"refused the engine: .*driver") as caught:
        deserialize(library, built.engine.content)
    assert "\n" not in str(caught.value)
    with pytest.raises(BackendError, match="expected a GPU that CUDA can use, found none"):
        tensorrt.open_graph(make_graph(), device=Device("cuda"), threads=None, cache=cache)


def test_an_engine_that_no_tensorrt_wrote_is_refused(library):
    with pytest.raises(BackendError, match="refused the engine"):
        deserialize(library, b"not an engine" * 100)


def test_kernels_that_cannot_be_kept_do_not_spoil_the_answers(opened, monkeypatch, caplog):
    from semise_sdk.errors import OutputError

    def refuse(self, name, content):
        raise OutputError("could not write: disk full")

    backend = opened.open()
    monkeypatch.setattr(caches.EngineCache, "keep_notes", refuse)
    backend.close()
    assert "disk full" in caplog.text
