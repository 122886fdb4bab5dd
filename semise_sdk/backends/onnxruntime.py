"""The ONNX Runtime backend, on CPUs and on NVIDIA GPUs."""

import logging
from typing import TYPE_CHECKING

import numpy as np

from semise_sdk.backends.base import (
    CPU_BATCH_SIZE,
    GPU_BATCH_SIZE,
    Arrays,
    Device,
    Graph,
    check_inputs,
    check_outputs,
    check_rows,
    first_line,
)
from semise_sdk.backends.onnxruntime_binding import BoundSession
from semise_sdk.backends.onnxruntime_providers import (
    CPU,
    Target,
    check_device,
    check_placement,
    devices,
    target_of,
)
from semise_sdk.backends.watchdog import Watchdog
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BackendError
from semise_sdk.system.machine import usable_cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, RunOptions, SessionOptions

__all__ = ["NAME", "OnnxRuntimeBackend", "check_device", "devices", "open_graph"]

NAME = "onnxruntime"

_MOST_RUNS_AT_ONCE = 16
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
_HINTS = {
    "cuda": "check nvidia-smi and the CUDA and cuDNN versions that this onnxruntime-gpu needs",
    "tensorrt": "check nvidia-smi, and pip install the version of TensorRT that this onnxruntime-gpu was built for",
    "tensorrt_rtx": "check nvidia-smi and the driver's version",
}
_logger = logging.getLogger(__name__)


def open_graph(graph: Graph, *, device: Device, threads: int | None) -> "OnnxRuntimeBackend":
    """Returns the graph on ONNX Runtime; ``auto`` is CUDA where a GPU answers, else the CPU.

    Raises:
        BackendError: the device was asked for and cannot be used, or the graph is refused.
    """
    check_device(device)
    content = graph.onnx(NAME)
    cores = threads or usable_cores()
    if device.kind == "auto":
        return _open_best(graph, content, index=device.index, cores=cores)
    return _open(graph, content, target_of(device, graph, content), cores=cores)


def _open_best(graph: Graph, content: bytes, *, index: int, cores: int) -> "OnnxRuntimeBackend":
    if "cuda" in devices():
        cuda = Device("cuda", index)
        try:
            return _open(graph, content, target_of(cuda, graph, content), cores=cores)
        except _NoAnswerError as error:
            _logger.warning("ONNX Runtime has CUDA but no GPU answers: running on the CPU (%s)", error)
    return _open(graph, content, Target(Device("cpu"), {}), cores=cores)


class _NoAnswerError(BackendError):
    """A provider that is built in, but that found no GPU."""


def _open(graph: Graph, content: bytes, target: Target, *, cores: int) -> "OnnxRuntimeBackend":
    on_cpu = target.device.kind == "cpu"
    try:
        session = target.open(content, _options(cores if on_cpu else 1))
    except BackendError:
        raise
    except Exception as error:  # its errors share no base class but Exception
        raise BackendError(f"ONNX Runtime refused graph {graph.name}: {first_line(error)}") from error
    if not on_cpu:
        if session.get_providers()[0] != target.provider:
            raise _NoAnswerError(
                f"expected a GPU that ONNX Runtime can use as {target.device.kind}, found none: "
                f"{_HINTS[target.device.kind]}"
            )
        check_placement(session, graph, target.provider)
    return OnnxRuntimeBackend(graph, session, target, threads=cores)


class OnnxRuntimeBackend:
    """One graph in one session.

    On a CPU many runs go side by side, each on few threads: measured 10 to 25 % faster than one run on all cores,
    and no core waits for another while images are decoded beside it.
    """

    name = NAME

    def __init__(self, graph: Graph, session: "InferenceSession", target: Target, *, threads: int) -> None:
        self.provider: str = session.get_providers()[0]
        on_cpu = self.provider == CPU
        self.concurrency = min(threads, _MOST_RUNS_AT_ONCE) if on_cpu else 1
        self.batch_size = CPU_BATCH_SIZE if on_cpu else target.best_rows or GPU_BATCH_SIZE
        self._inputs = {node.name: TensorSpec(_type(node.type), _sides(node.shape)) for node in session.get_inputs()}
        self._outputs = tuple(node.name for node in session.get_outputs())
        self._most_rows = target.most_rows
        self._session: InferenceSession | None = session
        self._watchdog = Watchdog(graph.run_seconds)
        self._bound = None if on_cpu else BoundSession(session, self._outputs, target.place)
        check_outputs(graph, self._outputs)

    def run(self, inputs: Arrays) -> Arrays:
        """Returns the named outputs; raises BackendError."""
        check_inputs(inputs, self._inputs)
        rows, most = len(next(iter(inputs.values()))), self._most_rows
        if most is None or rows <= most:
            return self._run(inputs)
        # An engine of TensorRT takes no more rows than it was built for.
        blocks = [
            self._run({name: array[start : start + most] for name, array in inputs.items()})
            for start in range(0, rows, most)
        ]
        return {name: np.concatenate([block[name] for block in blocks]) for name in self._outputs}

    def close(self) -> None:
        """Releases the session once the last run in progress is done."""
        self._session = self._bound = None
        self._watchdog.close()

    def _run(self, inputs: Arrays) -> Arrays:
        session, bound = self._session, self._bound
        if session is None:
            raise BackendError("expected an open backend, found it closed: open the predictor again")
        options = _run_options()
        try:
            with self._watchdog.watch(rows=len(next(iter(inputs.values()))), stop=lambda: _terminate(options)):
                if bound is None:
                    values = session.run(self._outputs, dict(inputs), options)
                else:
                    values = bound.run(inputs, options)
        except BackendError:
            raise
        except Exception as error:  # its errors share no base class but Exception
            raise BackendError(f"ONNX Runtime could not run the graph: {first_line(error)}") from error
        outputs = dict(zip(self._outputs, values, strict=True))
        check_rows(inputs, outputs)
        return outputs


def _options(threads: int) -> "SessionOptions":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = max(1, threads // _MOST_RUNS_AT_ONCE)
    options.inter_op_num_threads = 1
    # A thread that spins while it waits takes a core from the decoding of the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _run_options() -> "RunOptions":
    import onnxruntime

    return onnxruntime.RunOptions()


def _terminate(options: "RunOptions") -> None:
    # Looked at between two nodes: a kernel that has started ends first.
    options.terminate = True


def _type(name: str) -> str:
    if name not in _TYPES:
        raise BackendError(f"expected inputs of {', '.join(_TYPES.values())}, found {name}: export the bundle again")
    return _TYPES[name]


def _sides(shape: list[int | str | None]) -> tuple[int | str, ...]:
    return tuple("N" if side is None else side for side in shape)
