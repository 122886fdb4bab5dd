"""Which backends there are, which of them work here, and opening a graph with one."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata, util
from typing import Protocol

from semise_sdk.backends.base import Backend, Device, Graph, check_precision
from semise_sdk.errors import BackendError
from semise_sdk.spec import PRECISIONS, Precision
from semise_sdk.system.machine import has_nvidia_gpu

_logger = logging.getLogger(__name__)

# They install into the same folder, so the one installed last has overwritten parts of the others.
ONNXRUNTIME_WHEELS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendEntry:
    """A backend that this SDK can use.

    Args:
        name: Its name in ``--backend``.
        modules: Python modules that it needs; the first is the engine.
        alternatives: Modules of which it needs any one, where its engine comes under several names.
        wheels: Names under which the engine may be installed.
        pip: The command that brings it.
        devices: Kinds of device that it can use at best.
        precisions: What it can compute in.
    """

    name: str
    modules: tuple[str, ...]
    wheels: tuple[str, ...]
    pip: str
    devices: tuple[str, ...]
    alternatives: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")


# `auto` takes the first that works. On CPUs ONNX Runtime was as fast as OpenVINO or faster (docs/results), and both
# twice as fast as torch.
BACKENDS = (
    BackendEntry(
        name="onnxruntime",
        modules=("onnxruntime",),
        wheels=ONNXRUNTIME_WHEELS,
        pip="pip install 'semise-sdk[cpu]'",
        devices=("cpu", "cuda", "tensorrt", "tensorrt_rtx"),
    ),
    BackendEntry(
        name="openvino",
        modules=("openvino",),
        wheels=("openvino",),
        pip="pip install 'semise-sdk[openvino]'",
        devices=("cpu",),
        precisions=PRECISIONS,
    ),
    BackendEntry(
        name="tensorrt",
        modules=("cuda",),
        wheels=("tensorrt", "tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
        pip="pip install 'semise-sdk[rtx]', or 'semise-sdk[trt]' on a data-centre GPU",
        devices=("cuda",),
        alternatives=("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"),
    ),
    BackendEntry(
        name="pytorch",
        modules=("torch", "timm", "segmentation_models_pytorch"),
        wheels=("torch",),
        precisions=("fp32",),
        pip="pip install 'semise-sdk[train]'",
        devices=("cpu", "cuda"),
    ),
)


class BackendModule(Protocol):
    """What a module of this package offers."""

    def devices(self) -> tuple[str, ...]:
        """Returns the devices usable here; raises BackendError where the engine cannot be loaded."""

    def check_device(self, device: Device) -> None:
        """Refuses a device that cannot be used here; raises BackendError with the reason and the remedy."""

    def open_graph(self, graph: Graph, *, device: Device, threads: int | None) -> Backend:
        """Returns the graph on a device, ``auto`` being its best one; raises BackendError where it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a backend works here.

    Args:
        name: The backend.
        version: Version of its engine, None where it is missing.
        devices: Devices usable here.
        reason: Why it cannot be used; empty where it can.
        pip: The command that brings it.
        missing: Why each of its other devices cannot be used here.
    """

    name: str
    version: str | None
    devices: tuple[str, ...]
    reason: str
    pip: str
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_available(self) -> bool:
        """True when the backend can be used."""
        return not self.reason


def available() -> tuple[Availability, ...]:
    """Returns every backend of ``BACKENDS``, the missing ones with the reason; loads the engines that are there."""
    return tuple(_availability(entry) for entry in BACKENDS)


def conflicts() -> tuple[str, ...]:
    """Returns one sentence per pair of installed packages that break each other."""
    installed = [wheel for wheel in ONNXRUNTIME_WHEELS if _version((wheel,)) is not None]
    if len(installed) < 2:
        return ()
    names = " ".join(installed)
    return (
        f"{' and '.join(installed)} overwrite each other's files: pip uninstall -y {names}, then install one of "
        "'semise-sdk[cpu]' and 'semise-sdk[gpu]'",
    )


def check_backend(backend: str, device: str, precision: Precision = "fp32") -> None:
    """Refuses a backend, device or precision that cannot be used here, before any graph is opened.

    Raises:
        BackendError: with the reason and what to do.
    """
    wanted = Device.parse(device)
    if backend != "auto":
        entry = _entry(backend)
        check_precision(precision, backend, entry.precisions)
        _module(entry).check_device(wanted)
        return
    reasons = []
    for entry in BACKENDS:
        try:
            _module(entry).check_device(wanted)
        except BackendError as error:
            reasons.append(f"{entry.name}: {error}")
        else:
            return
    raise BackendError(f"expected a backend for device {device}, found none that works here: {'; '.join(reasons)}")


def open_graph(graph: Graph, *, backend: str = "auto", device: str = "auto", threads: int | None = None) -> Backend:
    """Returns a graph on a backend, ready to run.

    ``auto`` takes the first backend that can; its choice is logged. A backend or device that was asked for is never
    replaced by another.

    Args:
        graph: What to run.
        backend: ``auto`` or a name of ``BACKENDS``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``tensorrt`` or ``tensorrt_rtx`` with ONNX Runtime.
        threads: Cores that it may use; None for all that this process may.

    Raises:
        BackendError: the backend is unknown, missing, cannot use the device or refuses the graph.
    """
    wanted = Device.parse(device)
    if backend == "auto":
        return _open_first(graph, device=wanted, threads=threads)
    entry = _entry(backend)
    check_precision(graph.precision, backend, entry.precisions)
    opened = _module(entry).open_graph(graph, device=wanted, threads=threads)
    _logger.info("graph %s runs on %s:%s", graph.name, opened.name, opened.provider)
    return opened


def _open_first(graph: Graph, *, device: Device, threads: int | None) -> Backend:
    reasons = []
    for entry in _candidates(graph, device):
        try:
            opened = _module(entry).open_graph(graph, device=device, threads=threads)
        except BackendError as error:
            _logger.info("backend auto: not %s: %s", entry.name, error)
            reasons.append(f"{entry.name}: {error}")
            continue
        _logger.info("backend auto: graph %s runs on %s:%s", graph.name, opened.name, opened.provider)
        _warn_of_idle_gpu(opened, device)
        return opened
    found = "; ".join(reasons) or "neither an ONNX graph nor weights"
    raise BackendError(f"expected a backend that can run graph {graph.name}, found none: {found}")


def _warn_of_idle_gpu(opened: Backend, device: Device) -> None:
    if device.kind == "auto" and "cpu" in opened.provider.lower() and has_nvidia_gpu():
        _logger.warning(
            "an NVIDIA GPU is present, but %s runs on the CPU: pip uninstall -y onnxruntime, then "
            "pip install 'semise-sdk[gpu]'; --device cpu silences this",
            opened.name,
        )


def _candidates(graph: Graph, device: Device) -> Iterator[BackendEntry]:
    for entry in BACKENDS:
        has_source = graph.weights is not None if entry.name == "pytorch" else graph.content is not None
        if has_source and device.kind in ("auto", *entry.devices) and graph.precision in entry.precisions:
            yield entry


def _entry(name: str) -> BackendEntry:
    for entry in BACKENDS:
        if entry.name == name:
            return entry
    raise BackendError(f"expected backend auto, {', '.join(entry.name for entry in BACKENDS)}, found {name!r}")


def _module(entry: BackendEntry) -> BackendModule:
    _require(entry)
    if entry.name == "onnxruntime":
        from semise_sdk.backends import onnxruntime

        return onnxruntime
    if entry.name == "openvino":
        from semise_sdk.backends import openvino

        return openvino
    if entry.name == "tensorrt":
        from semise_sdk.backends import tensorrt

        return tensorrt
    from semise_sdk.backends import pytorch

    return pytorch


def _require(entry: BackendEntry) -> None:
    missing = [name for name in entry.modules if util.find_spec(name) is None]
    if entry.alternatives and not any(util.find_spec(name) for name in entry.alternatives):
        missing.append(f"one of {', '.join(entry.alternatives)}")
    if missing:
        raise BackendError(f"backend {entry.name} needs {', '.join(missing)}, not installed here: {entry.pip}")


def _availability(entry: BackendEntry) -> Availability:
    devices: tuple[str, ...] = ()
    reason, missing = "", {}
    try:
        module = _module(entry)
        devices = module.devices()
        missing = {kind: _refusal(module, kind) for kind in entry.devices if kind not in devices}
    except (BackendError, ImportError, OSError) as error:  # a broken wheel fails while its library is loaded
        reason = str(error)
    return Availability(
        name=entry.name,
        version=_version(entry.wheels),
        devices=devices,
        reason=reason,
        pip=entry.pip,
        missing=missing,
    )


def _refusal(module: BackendModule, kind: str) -> str:
    try:
        module.check_device(Device(kind))
    except BackendError as error:
        return str(error)
    return f"expected {kind}, found that nothing here offers it"


def _version(wheels: tuple[str, ...]) -> str | None:
    for wheel in wheels:
        try:
            return metadata.version(wheel)
        except metadata.PackageNotFoundError:
            continue
    return None
