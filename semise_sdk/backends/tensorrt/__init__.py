"""The TensorRT backend, on NVIDIA GPUs: engines are built here from the bundle's ONNX and kept in a cache."""

import logging

from semise_sdk.backends.base import Device, Graph, check_precision
from semise_sdk.backends.tensorrt.bindings import Engine
from semise_sdk.backends.tensorrt.cache import EngineCache, EngineKey
from semise_sdk.backends.tensorrt.cuda import CudaMemory, Gpu, find_gpu, use_gpu
from semise_sdk.backends.tensorrt.engines import obtain_engine
from semise_sdk.backends.tensorrt.lane import Contexts, EngineShape, Lane
from semise_sdk.backends.tensorrt.library import Library, load_library
from semise_sdk.backends.tensorrt.runtime import LANES, NAME, TensorRtBackend, check_engine, deserialize
from semise_sdk.errors import BackendError, OutputError
from semise_sdk.spec import Precision

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

_logger = logging.getLogger(__name__)


def devices() -> tuple[str, ...]:
    """Returns ``cuda``.

    Raises:
        BackendError: TensorRT cannot be loaded, or there is no GPU that CUDA can use.
    """
    find_gpu()
    load_library()
    return ("cuda",)


def check_device(device: Device) -> None:
    """Refuses any device but a GPU that is there; raises BackendError."""
    if device.kind not in ("auto", "cuda"):
        raise BackendError(
            f"expected device cuda for TensorRT, found {device.kind}: use --backend onnxruntime for {device.kind}"
        )
    find_gpu(device.index)


def open_graph(
    graph: Graph,
    *,
    device: Device,
    threads: int | None,  # noqa: ARG001  # no core of the CPU computes
    cache: EngineCache | None = None,
) -> TensorRtBackend:
    """Returns the graph on a GPU; its first opening builds the engine, which can take minutes.

    Args:
        graph: The graph, with its ONNX.
        device: ``auto``, ``cuda`` or ``cuda:N``.
        threads: Without effect.
        cache: Where engines are kept; the machine's cache by default.

    Raises:
        BackendError: no GPU, no TensorRT, or the graph or its precision is refused.
    """
    check_precision(graph.precision, NAME, PRECISIONS)
    check_device(device)
    gpu = find_gpu(device.index)
    library = load_library()
    kept = cache or EngineCache.open()
    use_gpu(gpu)
    engine, key = _engine(library, graph, cache=kept, gpu=gpu)
    check_engine(library, engine, graph)
    return _backend(library, graph, engine, key=key, cache=kept, gpu=gpu)


def _engine(library: Library, graph: Graph, *, cache: EngineCache, gpu: Gpu) -> tuple[Engine, EngineKey]:
    """Returns the engine on the GPU; one out of the cache that TensorRT refuses is built again, once."""
    obtained = obtain_engine(library, graph, cache=cache, gpu=gpu)
    try:
        return deserialize(library, obtained.engine.content), obtained.key
    except BackendError as error:
        if not obtained.is_cached:
            raise
        _logger.info("building the engine of graph %s again: %s", graph.name, error)
        cache.discard(obtained.key)
    obtained = obtain_engine(library, graph, cache=cache, gpu=gpu)
    return deserialize(library, obtained.engine.content), obtained.key


def _backend(
    library: Library, graph: Graph, engine: Engine, *, key: EngineKey, cache: EngineCache, gpu: Gpu
) -> TensorRtBackend:
    kept = f"kernels-{key.stem}-{gpu.capability}"
    contexts = Contexts(library, engine, cache.notes(kept))
    shape = EngineShape.of(library, engine)
    lanes: list[Lane] = []
    try:
        for _ in range(LANES):
            lanes.append(Lane(library, contexts.make(), shape, CudaMemory(gpu)))  # noqa: PERF401  # closed on failure
    except BaseException:
        for lane in lanes:
            lane.close()
        raise

    def keep_kernels() -> None:
        kernels = contexts.kernels()
        try:
            if kernels:
                cache.keep_notes(kept, kernels)
        except OutputError as error:  # the answers are given; only the next start is slower
            _logger.warning("%s", error)

    return TensorRtBackend(
        graph, provider=f"{library} {gpu.name}", shape=shape, lanes=tuple(lanes), on_close=keep_kernels
    )
