"""What every backend is, and what it is given to run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BackendError
from semise_sdk.spec import NetworkConfig, Precision

Arrays = Mapping[str, NDArray[np.generic]]

CPU_BATCH_SIZE = 4
GPU_BATCH_SIZE = 32


class Backend(Protocol):
    """One graph, ready to run.

    Any number of threads may call ``run`` at once: its results do not depend on what runs beside it.
    """

    @property
    def name(self) -> str:
        """Name of the backend, such as ``onnxruntime``."""

    @property
    def provider(self) -> str:
        """What really computes, such as ``CPUExecutionProvider``: reported with every result."""

    @property
    def concurrency(self) -> int:
        """How many runs side by side serve it best."""

    @property
    def batch_size(self) -> int:
        """How many rows in one run serve it best."""

    def run(self, inputs: Arrays) -> Arrays:
        """Returns the named outputs of the named inputs; raises BackendError when they do not fit or the run fails."""

    def close(self) -> None:
        """Releases the engine; closing twice does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One graph to open.

    Args:
        name: ``encoder``, ``classifier`` or ``unet``.
        content: Returns its ONNX; None where there is none, as in a run folder.
        sha256: Of that ONNX; None where there is none.
        precision: What it computes in. ``bf16`` is a way to run an fp32 graph, every other one stands in its types.
        outputs: Outputs that it must have.
        network: Architecture, for the pytorch backend.
        weights: Weights of the whole network, for the pytorch backend; None where there are none.
        weights_sha256: What that file must be; None where nobody promised it, as in a run folder.
        run_seconds: After how many seconds a run is stopped, where the engine lets itself be stopped; None for the
            watchdog's own limit.
    """

    name: str
    content: Callable[[], bytes] | None = None
    sha256: str | None = None
    precision: Precision = "fp32"
    outputs: tuple[str, ...] = ()
    network: NetworkConfig | None = None
    weights: Path | None = None
    weights_sha256: str | None = None
    run_seconds: float | None = None

    def onnx(self, backend: str) -> bytes:
        """Returns the ONNX graph; raises BackendError when there is none for ``backend``."""
        if self.content is None:
            raise BackendError(f"expected an ONNX graph for backend {backend}, found a run folder: export it first")
        return self.content()


DEVICE_KINDS = ("auto", "cpu", "cuda", "tensorrt", "tensorrt_rtx")


@dataclass(frozen=True, slots=True)
class Device:
    """``auto``, ``cpu``, ``cuda``, or ONNX Runtime's two ways through TensorRT; and which of several GPUs."""

    kind: str
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "Device":
        """Returns the device of a name such as ``auto`` or ``cuda:1``; raises BackendError for an unknown one."""
        kind, colon, index = text.partition(":")
        if kind not in DEVICE_KINDS or (colon and not (kind not in ("auto", "cpu") and index.isdigit())):
            raise BackendError(f"expected device {', '.join(DEVICE_KINDS)}, or cuda:N for GPU N, found {text!r}")
        return cls(kind, int(index or 0))


def check_precision(precision: Precision, backend: str, known: tuple[Precision, ...]) -> None:
    """Refuses a precision that a backend does not compute in; raises BackendError."""
    if precision not in known:
        raise BackendError(
            f"expected precision {', '.join(known)} for backend {backend}, found {precision}: choose another "
            "--backend or --precision"
        )


def check_inputs(inputs: Arrays, expected: Mapping[str, TensorSpec]) -> None:
    """Refuses arrays that a graph does not take.

    Raises:
        BackendError: a name is missing or unknown, or a type or a fixed side of a shape differs.
    """
    if set(inputs) != set(expected):
        raise BackendError(f"expected inputs {', '.join(expected)}, found {', '.join(inputs) or 'none'}")
    for name, array in inputs.items():
        spec = expected[name]
        if array.dtype != np.dtype(spec.dtype) or not _fits(array.shape, spec.shape):
            raise BackendError(
                f"expected {name} as {spec.dtype} {list(spec.shape)}, found {array.dtype} {list(array.shape)}"
            )


def check_outputs(graph: Graph, outputs: tuple[str, ...]) -> None:
    """Refuses an engine that lacks an output of its graph; raises BackendError."""
    missing = [name for name in graph.outputs if name not in outputs]
    if missing:
        raise BackendError(f"expected outputs {', '.join(missing)} of graph {graph.name}, found {', '.join(outputs)}")


def check_rows(inputs: Arrays, outputs: Arrays) -> None:
    """Refuses answers that are not one row per row asked; raises BackendError.

    Some engines do not notice when a graph reshapes its batch away, and answer with memory that holds anything.
    """
    rows = {len(array) for array in inputs.values()} | {len(array) for array in outputs.values()}
    if len(rows) > 1:
        found = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        raise BackendError(f"expected one row of output per row of input, found {found}: export the bundle again")


def first_line(error: BaseException) -> str:
    """Returns the first line of a foreign error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return (said or lines or [type(error).__name__])[0]


def _fits(found: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    return len(found) == len(expected) and all(
        side == fixed for side, fixed in zip(found, expected, strict=True) if isinstance(fixed, int)
    )
