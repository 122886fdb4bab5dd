"""The OpenVINO backend, on CPUs."""

import importlib
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from semise_sdk.backends.base import (
    CPU_BATCH_SIZE,
    Arrays,
    Device,
    Graph,
    check_inputs,
    check_outputs,
    check_rows,
    first_line,
)
from semise_sdk.backends.watchdog import allowed_seconds, late
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BackendError
from semise_sdk.spec import Precision
from semise_sdk.system.machine import usable_cores

if TYPE_CHECKING:
    from openvino import CompiledModel, ConstOutput, InferRequest
    from openvino import Type as ElementType

NAME = "openvino"

_TELEMETRY = "openvino_telemetry"
_import_lock = threading.Lock()


def engine() -> ModuleType:
    """Returns the ``openvino`` module, imported so that it stays off the network.

    ``import openvino`` reports itself to a web analytics service wherever ``openvino_telemetry`` is installed, which
    its wheel requires. Where that package cannot be imported, OpenVINO takes its own stub, which sends nothing.
    """
    with _import_lock:
        is_loaded = "openvino" in sys.modules
        hidden = sys.modules.get(_TELEMETRY)
        if not is_loaded:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail
        try:
            return importlib.import_module("openvino")
        finally:
            if not is_loaded:
                del sys.modules[_TELEMETRY]
            if hidden is not None:
                sys.modules[_TELEMETRY] = hidden


def devices() -> tuple[str, ...]:
    """Returns ``cpu``."""
    return ("cpu",) if "CPU" in engine().Core().available_devices else ()


def check_device(device: Device) -> None:
    """Refuses ``cuda``; raises BackendError."""
    if device.kind not in ("auto", "cpu"):
        raise BackendError(
            f"expected device cpu for OpenVINO, found {device.kind}: use --backend onnxruntime on an NVIDIA GPU"
        )


def open_graph(graph: Graph, *, device: Device, threads: int | None) -> "OpenVinoBackend":
    """Returns the graph compiled by OpenVINO for the CPU.

    Raises:
        BackendError: another device was asked for, or the graph is refused.
    """
    check_device(device)
    try:
        core = engine().Core()
        properties = _properties(threads or usable_cores(), graph.precision)
        compiled = core.compile_model(core.read_model(graph.onnx(NAME)), "CPU", properties)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO refused graph {graph.name}: {first_line(error)}") from error
    return OpenVinoBackend(graph, compiled)


class OpenVinoBackend:
    """One compiled graph and as many infer requests as it has streams; each run borrows one, so threads never share."""

    name = NAME
    provider = "CPU"
    batch_size = CPU_BATCH_SIZE

    def __init__(self, graph: Graph, compiled: "CompiledModel") -> None:
        self.concurrency = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._inputs = {
            port.any_name: TensorSpec(_type(port.element_type), tuple(_side(side) for side in port.partial_shape))
            for port in compiled.inputs
        }
        self._outputs = tuple(_output_name(port) for port in compiled.outputs)
        check_outputs(graph, self._outputs)
        self._run_seconds = graph.run_seconds
        self._requests: queue.SimpleQueue[InferRequest | None] = queue.SimpleQueue()
        for _ in range(self.concurrency):
            self._requests.put(compiled.create_infer_request())

    def run(self, inputs: Arrays) -> Arrays:
        """Returns the named outputs; raises BackendError."""
        check_inputs(inputs, self._inputs)
        contiguous = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        outputs = self._infer(contiguous)
        check_rows(inputs, outputs)
        return outputs

    def close(self) -> None:
        """Releases the engine once the runs in progress are done."""
        for _ in range(self.concurrency):
            request = self._requests.get()
            if request is None:
                break
        self._requests.put(None)

    def _infer(self, inputs: Arrays) -> Arrays:
        with self._request() as request:
            try:
                request.start_async(dict(inputs), share_inputs=True)
                self._wait(request, rows=len(next(iter(inputs.values()))))
                # The request's own memory is written again by the next run.
                return {
                    name: np.array(request.get_output_tensor(index).data) for index, name in enumerate(self._outputs)
                }
            except RuntimeError as error:
                raise BackendError(f"OpenVINO could not run the graph: {first_line(error)}") from error

    def _wait(self, request: "InferRequest", *, rows: int) -> None:
        seconds = allowed_seconds(rows, self._run_seconds)
        if not request.wait_for(int(1000 * seconds)):
            request.cancel()
            with suppress(RuntimeError):  # it says that it was cancelled
                request.wait()
            raise BackendError(late(seconds))
        request.wait()  # over by now; this raises what went wrong

    @contextmanager
    def _request(self) -> Iterator["InferRequest"]:
        request = self._requests.get()
        try:
            if request is None:
                raise BackendError("expected an open backend, found it closed: open the predictor again")
            yield request
        finally:
            self._requests.put(request)


def _properties(threads: int, precision: Precision) -> dict[str, object]:
    return {
        # Left to itself it computes an fp32 graph in bf16 on CPUs that have it, and that moved a ranking.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        # Many runs side by side, each on few threads: see the ONNX Runtime backend.
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": threads,
        # A thread bound to its core waits there while the decoding of the next images holds it.
        "ENABLE_CPU_PINNING": False,
    }


def _output_name(port: "ConstOutput") -> str:
    # Compiling may give a port the names of tensors inside of the graph too, and any_name may be one of those; the
    # result node keeps the name that the graph gave its output.
    name = str(port.node.get_friendly_name()).partition("/")[0]
    return name if name in port.names else str(port.any_name)


def _type(element: "ElementType") -> str:
    return str(np.dtype(element.to_dtype()))


def _side(side: object) -> int | str:
    text = str(side)
    return int(text) if text.isdigit() else "N"
