"""ONNX Runtime's ways to compute: which of them are there, how each is opened, and what then runs where."""

import contextlib
import hashlib
import importlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from semise_sdk.backends.base import Device, Graph
from semise_sdk.backends.onnxruntime_binding import Place
from semise_sdk.backends.onnxruntime_rtx import RTX, WHEELS, rtx_device
from semise_sdk.errors import BackendError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

_PROVIDERS = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT, "tensorrt_rtx": RTX}
_GPU_BUILD = "pip uninstall -y onnxruntime, then pip install 'semise-sdk[gpu]'"
# What these compute is shapes: ONNX Runtime keeps them on the CPU on purpose, where shapes are needed.
_SHAPE_OPERATORS = {"Shape", "Size", "Gather", "Slice", "Squeeze", "Unsqueeze", "Concat", "Cast", "Range", "Constant"}

_logger = logging.getLogger(__name__)


def devices() -> tuple[str, ...]:
    """Returns the kinds of device that are not known to be missing.

    Of ``cuda`` and ``tensorrt`` only the build is looked at: whether a GPU answers is known when a graph is opened.
    """
    found = []
    for kind in _PROVIDERS:
        with contextlib.suppress(BackendError):
            check_device(Device(kind))
            found.append(kind)
    return tuple(found)


def check_device(device: Device) -> None:
    """Refuses a device that this installation of ONNX Runtime has no provider for; raises BackendError."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if device.kind == "cuda" and CUDA not in available:
        raise BackendError(f"expected ONNX Runtime with CUDA, found a build without it: {_GPU_BUILD}")
    if device.kind == "tensorrt" and TENSORRT not in available:
        raise BackendError(
            f"expected ONNX Runtime with TensorRT, found a build without it: {_GPU_BUILD} and the TensorRT that it "
            "was built for; or use --backend tensorrt"
        )
    if device.kind == "tensorrt_rtx":
        rtx_device(device.index)


# Moves the rounding to 8 bits before max pooling, whose 8-bit kernel took 20 times as long as that of fp32: a seventh
# of an int8 ResNet-50. The answers are the same either way.
_SLOWING = ("QDQPropagationTransformer",)


@dataclass(frozen=True, slots=True)
class Target:
    """A device with what a session on it needs beside the graph.

    Args:
        device: The device.
        options: Its provider's own options.
        most_rows: Rows that one run takes at most; None for any number.
        best_rows: Rows that its engine is tuned for; None where it makes no difference.
    """

    device: Device
    options: Mapping[str, str]
    most_rows: int | None = None
    best_rows: int | None = None

    @property
    def provider(self) -> str:
        """The provider that must do the computing."""
        return _PROVIDERS[self.device.kind]

    @property
    def place(self) -> Place:
        """Where the tensors of a run lie."""
        # Memory of TensorRT for RTX belongs to its plugin: it fetches and brings the tensors itself.
        if self.device.kind in ("cuda", "tensorrt"):
            return Place("cuda", self.device.index, is_resident=True)
        return Place()

    def open(self, content: bytes, options: "SessionOptions") -> "InferenceSession":
        """Returns a session of ONNX ``content`` on the device; whatever ONNX Runtime says against it is raised as is.

        Where the GPU does not answer, its providers are another's than :attr:`provider`.
        """
        import onnxruntime

        if self.device.kind == "cpu":
            return onnxruntime.InferenceSession(content, options, providers=[CPU], disabled_optimizers=_SLOWING)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if self.device.kind == "tensorrt_rtx":
            options.add_provider_for_devices([rtx_device(self.device.index)], dict(self.options))
            return onnxruntime.InferenceSession(content, options)
        _preload(tensorrt=self.device.kind == "tensorrt")
        cuda = (CUDA, cuda_options(self.device.index))
        chain = [cuda] if self.device.kind == "cuda" else [(TENSORRT, dict(self.options)), cuda]
        session = onnxruntime.InferenceSession(content, options, providers=[*chain, CPU])
        # Its fallback would answer a failing GPU by a silent move to the CPU.
        session.disable_fallback()
        return session


def target_of(device: Device, graph: Graph, content: bytes) -> Target:
    """Returns what opening ``graph`` on a device takes.

    Raises:
        BackendError: the folder for engines cannot be used.
    """
    if device.kind not in ("tensorrt", "tensorrt_rtx"):
        return Target(device, {})
    from semise_sdk.backends.tensorrt.engines import DEFAULT_PROFILE as PROFILE

    folder = str(_engine_folder(device, graph, content))
    sizes = {"min": PROFILE.minimum, "opt": PROFILE.optimum, "max": PROFILE.maximum}
    shapes = _input_shapes(content)
    is_rtx = device.kind == "tensorrt_rtx"
    prefix = "nv" if is_rtx else "trt"
    profiles = {f"{prefix}_profile_{name}_shapes": _shapes_text(shapes, rows) for name, rows in sizes.items()}
    own = {"nv_runtime_cache_path": folder} if is_rtx else tensorrt_options(device.index, graph, folder)
    return Target(device, {**own, **profiles}, most_rows=PROFILE.maximum, best_rows=PROFILE.optimum)


def cuda_options(index: int) -> dict[str, str]:
    """Returns the options of the CUDA provider on GPU ``index``."""
    # TF32 is a precision of its own: an fp32 graph runs in fp32. The arena grows by what is needed, not by doubling.
    return {"device_id": str(index), "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}


def tensorrt_options(index: int, graph: Graph, folder: str) -> dict[str, str]:
    """Returns the options of the TensorRT provider on GPU ``index``, which keeps engines and timings in ``folder``."""
    return {
        "device_id": str(index),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        # TensorRT 10 takes a type that stands in the graph only where the builder may use it.
        "trt_fp16_enable": str(int(graph.precision == "fp16")),
        "trt_int8_enable": str(int(graph.precision == "int8")),
    }


def check_placement(session: "InferenceSession", graph: Graph, provider: str) -> None:
    """Looks at where the nodes of an open session run, and warns of those that compute on the CPU beside a GPU.

    Raises:
        BackendError: none of them runs on ``provider``, though it was asked for.
    """
    placed = placement(session)
    if not placed:
        return
    total = sum(sum(operators.values()) for operators in placed.values())
    if not placed.get(provider):
        raise BackendError(f"expected graph {graph.name} on {provider}, found all its {total} nodes elsewhere")
    on_cpu = placed.get(CPU, Counter())
    computing = {name: count for name, count in on_cpu.items() if name not in _SHAPE_OPERATORS}
    level = logging.WARNING if computing else logging.INFO
    if on_cpu:
        named = ", ".join(f"{count} {name}" for name, count in (computing or on_cpu).items())
        _logger.log(
            level, "graph %s on %s: %d of %d nodes run on the CPU (%s)", graph.name, provider, on_cpu.total(), total,
            named,
        )  # fmt: skip


def placement(session: "InferenceSession") -> dict[str, Counter[str]]:
    """Returns how many nodes of each operator run on each provider; empty where this ONNX Runtime does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    placed: dict[str, Counter[str]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        placed.setdefault(subgraph.ep_name, Counter()).update(node.op_type for node in subgraph.get_nodes())
    return placed


def _engine_folder(device: Device, graph: Graph, content: bytes) -> Path:
    """Returns the folder of this graph's engines alone: the providers would take another model's of the same name."""
    from semise_sdk.backends.tensorrt.cache import EngineCache

    key = [
        graph.sha256 or hashlib.sha256(content).hexdigest(),
        device.kind,
        graph.precision,
        *(f"{name} {_version(name)}" for name in ("onnxruntime", "onnxruntime-gpu", "tensorrt", *WHEELS)),
    ]
    folder = EngineCache.open().folder / f"onnxruntime-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BackendError(f"could not make {folder} for engines: {error.strerror}") from error
    return folder


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _input_shapes(content: bytes) -> dict[str, list[int | str | None]]:
    """Returns the shapes of a graph's inputs as it names them, from a session that is not optimised and not kept."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=[CPU])
    return {node.name: node.shape for node in session.get_inputs()}


def _shapes_text(shapes: Mapping[str, list[int | str | None]], rows: int) -> str:
    sides = {
        name: "x".join(str(side if isinstance(side, int) else rows) for side in shape) for name, shape in shapes.items()
    }
    return ",".join(f"{name}:{text}" for name, text in sides.items())


def _preload(*, tensorrt: bool) -> None:
    import onnxruntime

    # Both report with print what they miss, and standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        if tensorrt and util.find_spec("tensorrt") is not None:
            # The provider looks for TensorRT's libraries by name alone; its wheel's own import brings them in.
            with contextlib.suppress(ImportError, OSError):
                importlib.import_module("tensorrt")
