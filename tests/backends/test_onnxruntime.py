"""A machine with a GPU, with ONNX Runtime's session replaced; its bindings and the RTX plugin for real."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from semise_sdk.backends import Graph, onnxruntime_providers, onnxruntime_rtx, open_graph
from semise_sdk.backends.base import CPU_BATCH_SIZE, GPU_BATCH_SIZE, Device
from semise_sdk.backends.onnxruntime_binding import BoundSession, Place
from semise_sdk.errors import BackendError
from semise_sdk.system.machine import has_nvidia_gpu

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
GRAPH = Graph(name="encoder", content=lambda: b"onnx", outputs=("embedding",))


class FakeSession:
    """Gets the providers that the test says this machine has."""

    working = (CPU,)
    made: list["FakeSession"] = []  # noqa: RUF012
    rows: list[int] = []  # noqa: RUF012
    allocated: list[tuple] = []  # noqa: RUF012
    error: Exception | None = None

    def __init__(self, content, options, providers, disabled_optimizers=()):
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

    def io_binding(self):
        return FakeBinding()

    def run_with_iobinding(self, binding, options=None):
        if self.error is not None:
            raise self.error
        FakeSession.rows.append(len(binding.pixels))
        binding.outputs = [np.full((len(binding.pixels), 3), binding.pixels[0, 0, 0, 0], np.float32)]

    def run(self, names, inputs):
        raise AssertionError("a GPU is run through its binding")


class FakeBinding:
    """Keeps what is bound; memory of a GPU is the array itself."""

    pixels, outputs = np.zeros((0, 2, 2, 3), np.uint8), ()

    def bind_ortvalue_input(self, name, value):
        self.pixels = value.array

    def bind_output(self, name, device, index):
        self.place = (device, index)

    def synchronize_inputs(self):
        pass

    synchronize_outputs = clear_binding_inputs = clear_binding_outputs = synchronize_inputs

    def copy_outputs_to_cpu(self):
        return self.outputs


class FakeValue:
    def __init__(self, array):
        self.array = array

    def update_inplace(self, array):
        self.array = array.copy()

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape, dtype, device, index):
        FakeSession.allocated.append((tuple(shape), device, index))
        return cls(np.zeros(shape, dtype))


def say_what_is_missing():
    sys.stdout.write("Failed to load libcudnn\n")


@pytest.fixture
def machine(monkeypatch):
    def set_up(built_with, working):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(built_with))
        monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
        monkeypatch.setattr(onnxruntime, "preload_dlls", say_what_is_missing, raising=False)
        monkeypatch.setattr(FakeSession, "working", working)
        for name in ("made", "rows", "allocated"):
            monkeypatch.setattr(FakeSession, name, [])
        monkeypatch.setattr(onnxruntime, "OrtValue", FakeValue)

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
    with pytest.raises(
        BackendError, match="expected a GPU that ONNX Runtime can use as cuda, found none: check nvidia-smi"
    ):
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


def test_a_failing_gpu_is_a_backend_error(machine, monkeypatch):
    machine((CUDA, CPU), (CUDA, CPU))
    error = RuntimeError("CUDA failure 700: an illegal memory access\nstack")
    monkeypatch.setattr(FakeSession, "error", error)
    backend = open_graph(GRAPH, backend="onnxruntime", device="cuda")
    with pytest.raises(BackendError, match=r"could not run the graph: CUDA failure 700: an illegal memory access$"):
        backend.run({"pixels": np.zeros((1, 2, 2, 3), np.uint8)})


def test_an_input_of_an_unknown_type_is_refused(machine, monkeypatch):
    machine((CPU,), (CPU,))
    node = SimpleNamespace(name="pixels", type="tensor(int64)", shape=["N"])
    monkeypatch.setattr(FakeSession, "get_inputs", lambda _self: [node])
    with pytest.raises(BackendError, match=r"found tensor\(int64\)"):
        open_graph(GRAPH, backend="onnxruntime")


def pixels(rows, value=7):
    return np.full((rows, 2, 2, 3), value, np.uint8)


def test_a_gpu_keeps_its_buffers_from_run_to_run(machine):
    machine((CUDA, CPU), (CUDA, CPU))
    backend = open_graph(GRAPH, backend="onnxruntime", device="cuda:1")
    for rows, value in ((4, 1), (4, 2), (3, 3), (4, 4)):
        outputs = backend.run({"pixels": pixels(rows, value)})
        np.testing.assert_array_equal(outputs["embedding"], np.full((rows, 3), value))
    assert FakeSession.allocated == [((4, 2, 2, 3), "cuda", 1), ((3, 2, 2, 3), "cuda", 1)]


def test_tensorrt_gets_the_batch_sizes_and_a_folder_of_its_own(machine, monkeypatch, tmp_path):
    machine((TENSORRT, CUDA, CPU), (TENSORRT, CUDA, CPU))
    monkeypatch.setenv("SEMISE_CACHE", str(tmp_path / "cache"))
    backend = open_graph(GRAPH, backend="onnxruntime", device="tensorrt:2")
    assert backend.provider == TENSORRT
    (first, options), (second, _), last = FakeSession.made[-1].asked
    assert (first, second, last) == (TENSORRT, CUDA, CPU)
    assert not FakeSession.made[-1].falls_back
    assert options["device_id"] == "2"
    assert options["trt_profile_min_shapes"] == "pixels:1x2x2x3"
    assert options["trt_profile_opt_shapes"] == f"pixels:{backend.batch_size}x2x2x3"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("0", "0")
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    folder = Path(options["trt_engine_cache_path"])
    assert folder.is_relative_to(tmp_path / "cache")
    assert options["trt_timing_cache_path"] == str(folder)
    for path in (folder, folder.parent, tmp_path / "cache"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_tensorrt_takes_larger_batches_in_blocks(machine, monkeypatch, tmp_path):
    machine((TENSORRT, CUDA, CPU), (TENSORRT, CUDA, CPU))
    monkeypatch.setenv("SEMISE_CACHE", str(tmp_path / "cache"))
    backend = open_graph(GRAPH, backend="onnxruntime", device="tensorrt")
    most = int(FakeSession.made[-1].asked[0][1]["trt_profile_max_shapes"].partition(":")[2].partition("x")[0])
    batch = np.concatenate([pixels(most, 1), pixels(most, 2), pixels(3, 3)])
    outputs = backend.run({"pixels": batch})
    np.testing.assert_array_equal(outputs["embedding"][:, 0], batch[:, 0, 0, 0])
    assert FakeSession.rows == [most, most, 3]


def test_the_folder_of_engines_follows_graph_precision_and_versions(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMISE_CACHE", str(tmp_path / "cache"))
    device = Device("tensorrt")

    def folder(**changes):
        graph = replace(replace(GRAPH, sha256="a" * 64), **changes)
        return onnxruntime_providers._engine_folder(device, graph, b"onnx")

    first = folder()
    assert folder() == first
    others = [folder(sha256="b" * 64), folder(precision="fp16")]
    monkeypatch.setattr(onnxruntime_providers, "_version", lambda _package: "99")
    others.append(folder())
    assert len({first, *others}) == 4


@pytest.mark.parametrize(("precision", "flags"), [("fp16", ("1", "0")), ("int8", ("0", "1"))])
def test_tensorrt_may_use_the_types_that_stand_in_the_graph(precision, flags):
    options = onnxruntime_providers.tensorrt_options(0, replace(GRAPH, precision=precision), "folder")
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == flags


def test_tensorrt_without_its_libraries_is_an_error_and_never_cuda(machine, monkeypatch, tmp_path):
    machine((TENSORRT, CUDA, CPU), (CUDA, CPU))
    monkeypatch.setenv("SEMISE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackendError, match="as tensorrt, found none: check nvidia-smi, and pip install"):
        open_graph(GRAPH, backend="onnxruntime", device="tensorrt")


def test_tensorrt_without_the_gpu_build_says_what_to_install(machine):
    machine((CPU,), (CPU,))
    with pytest.raises(BackendError, match=r"expected ONNX Runtime with TensorRT.*semise-sdk\[gpu\]"):
        open_graph(GRAPH, backend="onnxruntime", device="tensorrt")


class Placed:
    """A session that says where its nodes run."""

    def __init__(self, **operators):
        self._operators = operators

    def get_provider_graph_assignment_info(self):
        for name, kinds in self._operators.items():
            yield SimpleNamespace(
                ep_name=name, get_nodes=lambda kinds=kinds: [SimpleNamespace(op_type=k) for k in kinds]
            )


def test_a_graph_that_computes_on_the_cpu_beside_a_gpu_is_warned_of(caplog):
    session = Placed(**{CUDA: ["Conv", "Conv"], CPU: ["Resize", "Shape"]})
    with caplog.at_level(logging.WARNING):
        onnxruntime_providers.check_placement(session, GRAPH, CUDA)
    assert f"graph encoder on {CUDA}: 2 of 4 nodes run on the CPU (1 Resize)" in caplog.text


def test_shapes_on_the_cpu_are_no_warning(caplog):
    with caplog.at_level(logging.INFO):
        onnxruntime_providers.check_placement(Placed(**{CUDA: ["Conv"], CPU: ["Shape", "Gather"]}), GRAPH, CUDA)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_a_gpu_that_runs_nothing_of_the_graph_is_refused():
    with pytest.raises(BackendError, match=f"expected graph encoder on {CUDA}, found all its 1 nodes elsewhere"):
        onnxruntime_providers.check_placement(Placed(**{CPU: ["Conv"]}), GRAPH, CUDA)


def test_onnxruntime_tells_where_its_nodes_run():
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y)
        { a = Relu(x)
          y = Sigmoid(a) }""")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    assert onnxruntime_providers.placement(session) == {CPU: {"Relu": 1, "Sigmoid": 1}}


def test_rounding_to_8_bits_stays_behind_max_pooling_on_the_cpu(tmp_path):
    # its 8-bit kernel is slow, and the default session moves the rounding before it
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
        g (float[N,4,8,8] x) => (float[N,4,4,4] y) <float scale = {0.02}, uint8 zero = {0}>
        { a = Relu(x)
          b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)
          q = QuantizeLinear(b, scale, zero)
          y = DequantizeLinear(q, scale, zero) }""")
    content, target = model.SerializeToString(), onnxruntime_providers.Target(Device("cpu"), {})

    def before_pooling(open_session, name):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / name)
        session = open_session(options)
        optimized = onnx.load(tmp_path / name).graph
        (pool,) = (node for node in optimized.node if node.op_type == "MaxPool")
        roundings = {name for node in optimized.node if "QuantizeLinear" in node.op_type for name in node.output}
        x = np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype(np.float32)
        return pool.input[0] in roundings, session.run(None, {"x": x})[0]

    default, answers = before_pooling(
        lambda options: onnxruntime.InferenceSession(content, options, providers=[CPU]), "default.onnx"
    )
    ours, same = before_pooling(lambda options: target.open(content, options), "ours.onnx")
    assert (default, ours) == (True, False)
    np.testing.assert_array_equal(same, answers)


needs_plugin = pytest.mark.skipif(
    util.find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None, reason="needs onnxruntime-ep-nv-tensorrt-rtx-cu13"
)


@needs_plugin
@pytest.mark.skipif(has_nvidia_gpu(), reason="needs a machine without an NVIDIA GPU")
@pytest.mark.parametrize("device", ["tensorrt_rtx", "tensorrt_rtx:1"])
def test_the_real_rtx_plugin_without_a_gpu_is_an_error_with_its_remedy(device):
    with pytest.raises(BackendError, match=r"TensorRT for RTX, found .*check nvidia-smi"):
        open_graph(GRAPH, backend="onnxruntime", device=device)
    assert "tensorrt_rtx" not in onnxruntime_providers.devices()


def test_the_rtx_plugin_that_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr(onnxruntime_rtx, "_rtx_devices", list)
    monkeypatch.setattr(onnxruntime_rtx.util, "find_spec", lambda _name: None)
    with pytest.raises(BackendError, match="pip install onnxruntime-ep-nv-tensorrt-rtx-cu13"):
        onnxruntime_rtx.rtx_device(0)


def test_a_gpu_that_the_rtx_plugin_finds_is_selected(monkeypatch, tmp_path):
    gpus, registered = (
        [SimpleNamespace(ep_name=onnxruntime_rtx.RTX, name="first"), SimpleNamespace(ep_name="other")],
        [],
    )
    plugin = SimpleNamespace(get_library_path=lambda: "plugin.so")
    monkeypatch.setattr(onnxruntime_rtx, "_plugin", lambda: plugin)
    monkeypatch.setattr(
        onnxruntime, "register_execution_provider_library", lambda *given: registered.append(given), raising=False
    )
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: gpus if registered else [], raising=False)
    assert onnxruntime_rtx.rtx_device(0).name == "first"
    assert onnxruntime_rtx.rtx_device(0).name == "first"
    assert registered == [(onnxruntime_rtx.RTX, "plugin.so")]  # once, whoever asks
    with pytest.raises(BackendError, match="expected GPU 1 for TensorRT for RTX, found 1"):
        onnxruntime_rtx.rtx_device(1)


@pytest.fixture(scope="module")
def session():
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
        g (uint8[N,2,2,3] pixels) => (float[N,3] embedding, float[N,2,2,3] floats) <int64[2] sides = {1, 2}>
        { floats = Cast<to = 1>(pixels)
          embedding = ReduceMean<keepdims = 0>(floats, sides) }""")
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=[CPU])


@pytest.fixture(params=[Place(), Place("cpu", 0, is_resident=True)], ids=["caller's arrays", "buffers that stay"])
def bound(session, request):
    return BoundSession(session, ("embedding", "floats"), request.param)


def random_pixels(rows, seed):
    return np.random.default_rng(seed).integers(0, 256, (rows, 2, 2, 3), dtype=np.uint8)


def test_a_bound_run_equals_a_plain_one(session, bound):
    for seed, rows in enumerate((4, 4, 1, 3, 4, 4, 33)):
        inputs = {"pixels": random_pixels(2 * rows, seed)[::2]}  # not contiguous
        for plain, found in zip(session.run(None, inputs), bound.run(inputs), strict=True):
            np.testing.assert_array_equal(plain, found)


def test_what_a_bound_run_gives_is_the_callers_own(bound):
    first = bound.run({"pixels": random_pixels(2, 0)})
    kept = [values.copy() for values in first]
    for seed in range(1, 5):
        bound.run({"pixels": random_pixels(2, seed)})
    for values, expected in zip(first, kept, strict=True):
        np.testing.assert_array_equal(values, expected)
        assert values.flags.owndata


def test_bound_runs_of_many_threads_do_not_mix(session, bound):
    batches = [random_pixels(1 + seed % 5, seed) for seed in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: bound.run({"pixels": batch}), batches))
    for batch, values in zip(batches, found, strict=True):
        np.testing.assert_array_equal(values[1], batch.astype(np.float32))


def test_a_bound_run_that_fails_leaves_its_binding_usable(bound):
    with pytest.raises(Exception, match="pixels"):
        bound.run({"pixels": np.zeros((1, 5, 5, 3), np.uint8)})
    embedding, _ = bound.run({"pixels": pixels(2)})
    np.testing.assert_array_equal(embedding, np.full((2, 3), 7))
