"""The ONNX Runtime backend, on CPUs and on NVIDIA GPUs."""

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from semise_sdk.backends.base import (
    CPU_BATCH_SIZE,
    GPU_BATCH_SIZE,
    Arrays,
    Device,
    Graph,
    check_inputs,
    check_outputs,
    check_precision,
    check_rows,
    first_line,
)
from semise_sdk.errors import BackendError
from semise_sdk.machine import usable_cores
from semise_sdk.manifest import TensorSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

NAME = "onnxruntime"
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_MOST_RUNS_AT_ONCE = 16
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
_logger = logging.getLogger(__name__)


def devices() -> tuple[str, ...]:
    """Returns ``cpu``, and ``cuda`` where this build has it: whether a GPU answers is known when a graph is opened."""
    import onnxruntime

    return ("cpu", "cuda") if CUDA in onnxruntime.get_available_providers() else ("cpu",)


def check_device(device: Device) -> None:
    """Refuses ``cuda`` where this build has none; raises BackendError."""
    if device.kind == "cuda" and "cuda" not in devices():
        raise BackendError(
            "expected ONNX Runtime with CUDA, found a build without it: pip uninstall -y onnxruntime, then "
            "pip install 'semise-sdk[gpu]'"
        )


def open_graph(graph: Graph, *, device: Device, threads: int | None) -> "OnnxRuntimeBackend":
    """Returns the graph on ONNX Runtime; ``auto`` is the GPU where one answers, else the CPU.

    Raises:
        BackendError: no CUDA where it was asked for, or the graph is refused.
    """
    check_device(device)
    check_precision(graph, NAME, ("fp32", "fp16", "int8"))
    content = graph.onnx(NAME)
    wants_cuda = device.kind == "cuda" or (device.kind == "auto" and "cuda" in devices())
    cores = threads or usable_cores()
    session = _session(content, graph, device=device if wants_cuda else Device("cpu"), threads=cores)
    if wants_cuda and session.get_providers()[0] != CUDA:
        if device.kind == "cuda":
            raise BackendError(
                "expected a GPU that ONNX Runtime can use, found none: check nvidia-smi and the CUDA and cuDNN "
                "versions that this onnxruntime-gpu needs"
            )
        _logger.warning("ONNX Runtime has CUDA but no GPU answers: running on the CPU")
    return OnnxRuntimeBackend(graph, session, threads=cores)


class OnnxRuntimeBackend:
    """One graph in one session.

    On a CPU many runs go side by side, each on few threads: measured 10 to 25 % faster than one run on all cores,
    and no core waits for another while images are decoded beside it.
    """

    name = NAME

    def __init__(self, graph: Graph, session: "InferenceSession", *, threads: int) -> None:
        self.provider: str = session.get_providers()[0]
        on_cpu = self.provider == CPU
        self.concurrency = min(threads, _MOST_RUNS_AT_ONCE) if on_cpu else 1
        self.batch_size = CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE
        self._inputs = {node.name: TensorSpec(_type(node.type), _sides(node.shape)) for node in session.get_inputs()}
        self._outputs = tuple(node.name for node in session.get_outputs())
        self._session: InferenceSession | None = session
        check_outputs(graph, self._outputs)

    def run(self, inputs: Arrays) -> Arrays:
        """Returns the named outputs; raises BackendError."""
        session = self._session
        if session is None:
            raise BackendError("expected an open backend, found it closed: open the predictor again")
        check_inputs(inputs, self._inputs)
        try:
            values = session.run(self._outputs, dict(inputs))
        except Exception as error:  # its errors share no base class but Exception
            raise BackendError(f"ONNX Runtime could not run the graph: {first_line(error)}") from error
        outputs = dict(zip(self._outputs, values, strict=True))
        check_rows(inputs, outputs)
        return outputs

    def close(self) -> None:
        """Releases the session once the last run in progress is done."""
        self._session = None


def _session(content: bytes, graph: Graph, *, device: Device, threads: int) -> "InferenceSession":
    import onnxruntime

    try:
        if device.kind == "cpu":
            return onnxruntime.InferenceSession(content, _options(threads), providers=[CPU])
        _preload_cuda()
        session = onnxruntime.InferenceSession(content, _options(1), providers=[_cuda(device), CPU])
        # Its fallback would answer a failing GPU by a silent move to the CPU.
        session.disable_fallback()
    except Exception as error:
        raise BackendError(f"ONNX Runtime refused graph {graph.name}: {first_line(error)}") from error
    return session


def _options(threads: int) -> "SessionOptions":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = max(1, threads // _MOST_RUNS_AT_ONCE)
    options.inter_op_num_threads = 1
    # A thread that spins while it waits takes a core from the decoding of the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _cuda(device: Device) -> tuple[str, dict[str, str]]:
    # TF32 is a precision of its own: an fp32 graph runs in fp32. The arena grows by what is needed, not by doubling.
    return CUDA, {
        "device_id": str(device.index),
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
    }


def _preload_cuda() -> None:
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        # It reports with print what it misses, and standard output is for results.
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()


def _type(name: str) -> str:
    if name not in _TYPES:
        raise BackendError(f"expected inputs of {', '.join(_TYPES.values())}, found {name}: export the bundle again")
    return _TYPES[name]


def _sides(shape: list[int | str | None]) -> tuple[int | str, ...]:
    return tuple("N" if side is None else side for side in shape)
