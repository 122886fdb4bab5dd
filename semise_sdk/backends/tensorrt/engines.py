"""From a graph to its engine: out of the cache where that is sound, else built and kept."""

import dataclasses
import hashlib
import logging
from dataclasses import dataclass

from semise_sdk.backends.base import Graph
from semise_sdk.backends.tensorrt.build import CURRENT, BatchProfile, BuiltEngine, build_engine
from semise_sdk.backends.tensorrt.cache import EngineCache, EngineKey
from semise_sdk.backends.tensorrt.cuda import Gpu, use_gpu
from semise_sdk.backends.tensorrt.library import Library
from semise_sdk.errors import BackendError
from semise_sdk.system.progress import Reporter

DEFAULT_PROFILE = BatchProfile()
# What TensorRT for RTX builds one portable engine for; it wants Turing (7.5) apart, and refuses fp32 products on it.
RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedEngine:
    """An engine and where it came from.

    Args:
        engine: The engine.
        key: What it was built for.
        is_cached: True where it came out of the cache.
        reason: Why it was built; empty where it was not.
    """

    engine: BuiltEngine
    key: EngineKey
    is_cached: bool
    reason: str = ""


def obtain_engine(
    library: Library,
    graph: Graph,
    *,
    cache: EngineCache,
    gpu: Gpu | None,
    profile: BatchProfile | None = None,
    reporter: Reporter | None = None,
) -> CachedEngine:
    """Returns the engine of a graph, built only where the cache holds none that is whole and of the same key.

    Args:
        library: The TensorRT to use.
        graph: The graph, with its ONNX.
        cache: Where engines are kept.
        gpu: The GPU that it shall run on; None to build for the GPUs that TensorRT for RTX knows.
        profile: Batch sizes; None for those of the engine that is kept, else ``DEFAULT_PROFILE``.
        reporter: Receives progress.

    Raises:
        BackendError: the graph is refused, or this TensorRT builds only where a GPU is.
        OutputError: the engine cannot be kept.
    """
    onnx = graph.onnx("tensorrt")
    sha256 = hashlib.sha256(onnx).hexdigest()
    key = engine_key(library, graph, gpu=gpu, profile=profile or DEFAULT_PROFILE, onnx_sha256=sha256)
    if profile is None:
        key = dataclasses.replace(key, profile=cache.kept_profile(key) or key.profile)
    found = cache.lookup(key)
    if found.engine is not None:
        return CachedEngine(engine=found.engine, key=key, is_cached=True)
    _logger.info("building an engine of graph %s in %s: %s", graph.name, graph.precision, found.reason)
    notes = f"timing-{library.name}-{library.version}-{key.capability}"
    if gpu is not None:
        use_gpu(gpu)
    built = build_engine(
        library,
        onnx,
        graph=graph.name,
        precision=graph.precision,
        profile=key.profile,
        targets=_targets(library, gpu),
        timing=cache.notes(notes),
        reporter=reporter,
    )
    if built.timing:
        cache.keep_notes(notes, built.timing)
    cache.store(key, built)
    return CachedEngine(engine=built, key=key, is_cached=False, reason=found.reason)


def engine_key(
    library: Library, graph: Graph, *, gpu: Gpu | None, profile: BatchProfile, onnx_sha256: str
) -> EngineKey:
    """Returns what the engine of a graph depends on here; raises BackendError where none can be built."""
    targets = _targets(library, gpu)
    is_portable = bool(targets) and targets != (CURRENT,)
    return EngineKey(
        graph=graph.name,
        onnx_sha256=onnx_sha256,
        precision=graph.precision,
        profile=profile,
        library=library.name,
        version=library.version,
        gpu=gpu.name if gpu and not is_portable else "",
        capability=gpu.capability if gpu and not is_portable else "+".join(targets),
        driver=gpu.driver if gpu and not is_portable else "",
    )


def _targets(library: Library, gpu: Gpu | None) -> tuple[str, ...]:
    if library.is_rtx:
        # The engine built ahead of time is the one that its GPUs run, so that it need not be built again there.
        is_covered = gpu is None or gpu.capability in RTX_CAPABILITIES
        return RTX_CAPABILITIES if is_covered else (CURRENT,)
    if gpu is None:
        raise BackendError(
            f"expected a GPU to build with {library}, found none: TensorRT for RTX builds without one, "
            "pip install 'semise-sdk[rtx]'"
        )
    return ()
