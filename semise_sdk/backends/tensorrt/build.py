"""Builds an engine from an ONNX graph: strongly typed, so that its precision is the graph's own."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any, Self

from semise_sdk.backends.tensorrt.library import Library, plain
from semise_sdk.backends.tensorrt.precision import NetworkTypes, check_types, network_types
from semise_sdk.errors import BackendError
from semise_sdk.spec import Precision
from semise_sdk.system.progress import Reporter, SilentReporter

CURRENT = "current"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProfile:
    """The batch sizes that an engine takes, and the one that it is tuned for.

    Example:
        >>> str(BatchProfile(minimum=1, optimum=16, maximum=64))
        '1/16/64'
    """

    minimum: int = 1
    optimum: int = 16
    maximum: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise BackendError(f"expected batch sizes 1 <= minimum <= optimum <= maximum, found {self}")

    def __str__(self) -> str:
        return f"{self.minimum}/{self.optimum}/{self.maximum}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the profile of a text such as ``1/16/64``; raises BackendError."""
        sides = text.split("/")
        if len(sides) != 3 or not all(side.isdigit() for side in sides):
            raise BackendError(f"expected batch sizes as minimum/optimum/maximum such as 1/16/64, found {text!r}")
        minimum, optimum, maximum = map(int, sides)
        return cls(minimum=minimum, optimum=optimum, maximum=maximum)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine as TensorRT serializes it.

    Args:
        content: Its bytes.
        seconds: How long the build took.
        types: What its network computes in.
        timing: TensorRT's timing cache after the build; empty for TensorRT for RTX, which has none.
    """

    content: bytes
    seconds: float
    types: NetworkTypes
    timing: bytes = b""


def build_engine(
    library: Library,
    onnx: bytes,
    *,
    graph: str,
    precision: Precision,
    profile: BatchProfile,
    targets: tuple[str, ...] = (),
    timing: bytes = b"",
    reporter: Reporter | None = None,
) -> BuiltEngine:
    """Returns the engine of an ONNX graph; an interrupt stops the build.

    Args:
        library: The TensorRT to build with.
        onnx: The graph.
        graph: Its name, for messages.
        precision: What its types must say.
        profile: Batch sizes that the engine takes.
        targets: Compute capabilities to build for, such as ``8.6``, or ``current`` for the GPU that is there;
            TensorRT for RTX alone knows others.
        timing: Timing cache of an earlier build.
        reporter: Receives progress.

    Raises:
        BackendError: TensorRT refuses the graph, its types are not ``precision``, or its batch is frozen.
    """
    started = time.perf_counter()
    trt = library.trt
    builder = _builder(library)
    network = _parsed(library, builder, onnx, graph)
    types = network_types(network, trt)
    check_types(types, precision, graph)
    config = _config(trt, builder, network, graph=graph, profile=profile)
    _set_targets(trt, config, targets)
    _set_timing(library, config, timing)
    with _interruptible(library, config, graph, reporter or SilentReporter()):
        content = builder.build_serialized_network(network, config)
    if content is None:
        raise BackendError(f"{library} could not build graph {graph}: {library.reason('it gave no reason')}")
    return BuiltEngine(
        content=bytes(content),
        seconds=time.perf_counter() - started,
        types=types,
        timing=_timing(library, config),
    )


# The objects of TensorRT's bindings carry no types, hence Any in what follows.
def _builder(library: Library) -> Any:
    library.messages.take_errors()
    try:
        return library.trt.Builder(library.messages.receiver)
    except Exception as error:  # the bindings raise TypeError where the library returns nothing
        raise BackendError(f"{library} could not start a build: {library.reason(str(error))}") from error


def _parsed(library: Library, builder: Any, onnx: bytes, graph: str) -> Any:
    trt = library.trt
    flags = trt.NetworkDefinitionCreationFlag
    # TensorRT 10 must be asked for strong typing; 11 knows nothing else and may drop the flag.
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0)
    parser = trt.OnnxParser(network, library.messages.receiver)
    if not parser.parse(onnx):
        raise BackendError(f"{library} refused graph {graph}: {_parser_reason(parser)}")
    return network


def _parser_reason(parser: Any) -> str:
    if not parser.num_errors:
        return "it gave no reason"
    error = parser.get_error(0)
    where = f"{error.node_operator()} (node {error.node()}): " if error.node_operator() else ""
    return where + plain(error.desc())


def _config(trt: ModuleType, builder: Any, network: Any, *, graph: str, profile: BatchProfile) -> Any:
    config = builder.create_builder_config()
    # On by default, and a precision of its own: an fp32 graph runs in fp32.
    config.clear_flag(trt.BuilderFlag.TF32)
    # The inspector reads precisions back out of engines that were built with all details.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    sizes = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        batch, *sides = tuple(tensor.shape)
        if batch != -1 or -1 in sides:
            raise BackendError(
                f"expected graph {graph} to take any batch of {tensor.name} and nothing else of it to vary, found "
                f"shape {[batch, *sides]}: export the bundle again"
            )
        sizes.set_shape(tensor.name, *((rows, *sides) for rows in (profile.minimum, profile.optimum, profile.maximum)))
    config.add_optimization_profile(sizes)
    return config


def _set_targets(trt: ModuleType, config: Any, targets: tuple[str, ...]) -> None:
    if not targets:
        return
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        name = "CURRENT" if target == CURRENT else f"SM{target.replace('.', '')}"
        capability = getattr(trt.ComputeCapability, name, None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise BackendError(f"expected a compute capability that TensorRT {trt.__version__} knows, found {target}")


def _set_timing(library: Library, config: Any, timing: bytes) -> None:
    if library.is_rtx:  # it tunes at run time: its timing cache is deprecated and does nothing
        return
    cache = config.create_timing_cache(timing) or config.create_timing_cache(b"")
    if not config.set_timing_cache(cache, False):  # positional in the bindings: ignore_mismatch
        _logger.info("the timing cache is of another GPU or TensorRT: timing anew")
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _timing(library: Library, config: Any) -> bytes:
    cache = None if library.is_rtx else config.get_timing_cache()
    return bytes(cache.serialize()) if cache is not None else b""


@contextmanager
def _interruptible(library: Library, config: Any, graph: str, reporter: Reporter) -> Iterator[None]:
    """Lets Ctrl-C end a build, which takes minutes in native code, and tells the reporter how far it is."""
    interrupted = threading.Event()
    monitor = _monitor(library.trt, graph, reporter, interrupted)
    config.progress_monitor = monitor
    with _handling_interrupt(interrupted):
        yield
    if interrupted.is_set():
        raise KeyboardInterrupt


def _monitor(trt: ModuleType, graph: str, reporter: Reporter, interrupted: threading.Event) -> object:
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # its base is known when TensorRT is loaded
        def __init__(self) -> None:
            base.__init__(self)
            self._outermost = ""

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._outermost = phase_name
                reporter.start(f"building {graph}", num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002  # TensorRT names its arguments
            if phase_name == self._outermost:
                reporter.step("")
            return not interrupted.is_set()

        def phase_finish(self, phase_name: str) -> None:
            """Tells nothing: the steps of the outermost phase were told."""

    return Monitor()


@contextmanager
def _handling_interrupt(interrupted: threading.Event) -> Iterator[None]:
    # An exception must not pass through native code: the signal only raises a flag there.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def remember(_signal: int, _frame: FrameType | None) -> None:
        interrupted.set()

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
