"""Builds a bundle's TensorRT engines into this machine's cache: ahead of time where no GPU is, proven where one is."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from semise_sdk.backends import Graph
from semise_sdk.backends.base import Device
from semise_sdk.backends.tensorrt import PRECISIONS, open_graph
from semise_sdk.backends.tensorrt.build import BatchProfile
from semise_sdk.backends.tensorrt.cache import EngineCache
from semise_sdk.backends.tensorrt.cuda import Gpu, find_gpu
from semise_sdk.backends.tensorrt.engines import DEFAULT_PROFILE, CachedEngine, obtain_engine
from semise_sdk.backends.tensorrt.library import Library, load_library
from semise_sdk.bundle import Bundle, GraphName
from semise_sdk.errors import BackendError
from semise_sdk.spec import Precision
from semise_sdk.system.progress import Reporter, SilentReporter

GRAPHS: tuple[GraphName, ...] = ("encoder", "classifier", "unet")
UNPROVEN = "built ahead of time: running it is unproven here, no GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """One engine of a bundle, or why there is none.

    Args:
        graph: ``encoder``, ``classifier`` or ``unet``.
        precision: Precision of the graph.
        library: The TensorRT that built it, with its version; empty where none was built.
        target: Compute capabilities or GPU that it was built for.
        megabytes: Its size in units of 10^6 bytes.
        seconds: How long its build took, also where it was built earlier.
        types: What the strongly typed network computes in, counted.
        is_cached: True where an earlier build was sound and of the same key.
        is_proven: True where a GPU of this machine opened and ran it.
        reason: Why it was skipped or built, or is unproven.
    """

    graph: GraphName
    precision: Precision
    library: str = ""
    target: str = ""
    megabytes: float = 0.0
    seconds: float = 0.0
    types: str = ""
    is_cached: bool = False
    is_proven: bool = False
    reason: str = ""

    @property
    def is_skipped(self) -> bool:
        """True where no engine was built."""
        return not self.library

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data."""
        return dataclasses.asdict(self) | {"is_skipped": self.is_skipped}


def build_engines(
    bundle: Bundle,
    *,
    precisions: Sequence[Precision] | None = None,
    profile: BatchProfile = DEFAULT_PROFILE,
    cache: EngineCache | None = None,
    reporter: Reporter | None = None,
) -> tuple[EngineRow, ...]:
    """Returns a row per graph and precision, each engine built into the cache or found there.

    With a GPU every engine is also opened, its precision read back, and run on one batch below and one above its
    largest; whether its answers are torch's is for the parity gate.

    Args:
        bundle: The bundle.
        precisions: Precisions to build; all that the bundle carries by default.
        profile: Batch sizes that the engines take.
        cache: Where engines are kept; the machine's cache by default.
        reporter: Receives progress.

    Raises:
        BackendError: TensorRT is missing, or it or the GPU refuses a graph.
        BundleError: the bundle lacks a precision asked for.
        OutputError: an engine cannot be kept.
    """
    gpu = _gpu()
    library = load_library(prefer_rtx=gpu is None)
    kept = cache or EngineCache.open()
    listener = reporter or SilentReporter()
    rows = []
    for graph, name in _graphs(bundle, precisions or bundle.precisions):
        if graph.precision not in PRECISIONS:
            reason = f"{graph.precision} is a precision of the CPU runtimes"
            rows.append(EngineRow(graph=name, precision=graph.precision, reason=reason))
            continue
        engine = obtain_engine(library, graph, cache=kept, gpu=gpu, profile=profile, reporter=listener)
        if gpu is not None:
            _run_once(graph, bundle, name, gpu=gpu, cache=kept, rows=profile.maximum + 1)
        rows.append(_row(name, library, engine, is_proven=gpu is not None))
        listener.say(f"{name} {graph.precision}: {rows[-1].types}, {rows[-1].megabytes:.1f} MB")
    return tuple(rows)


def _gpu() -> Gpu | None:
    try:
        return find_gpu()
    except BackendError:
        return None


def _graphs(bundle: Bundle, precisions: Sequence[Precision]) -> Iterator[tuple[Graph, GraphName]]:
    for precision in precisions:
        for name in GRAPHS:
            key = name if precision == "fp32" else f"{name}_{precision}"
            if key not in bundle.manifest.graphs and precision in bundle.precisions:
                continue  # the model has no such task; a precision that is missing altogether is refused below
            file = bundle.graph(name, precision)
            yield (
                Graph(
                    name=name,
                    content=file.read,
                    sha256=file.sha256,
                    precision=precision,
                    outputs=tuple(file.outputs),
                ),
                name,
            )


def _run_once(graph: Graph, bundle: Bundle, name: GraphName, *, gpu: Gpu, cache: EngineCache, rows: int) -> None:
    backend = open_graph(graph, device=Device("cuda", gpu.index), threads=None, cache=cache)
    inputs = bundle.graph(name, graph.precision).inputs
    try:
        for count in (1, rows):
            sides = {key: [side for side in spec.shape[1:] if isinstance(side, int)] for key, spec in inputs.items()}
            backend.run({key: np.zeros((count, *sides[key]), spec.dtype) for key, spec in inputs.items()})
    finally:
        backend.close()


def _row(name: GraphName, library: Library, found: CachedEngine, *, is_proven: bool) -> EngineRow:
    return EngineRow(
        graph=name,
        precision=found.key.precision,
        library=str(library),
        target=found.key.gpu or found.key.capability,
        megabytes=len(found.engine.content) / 1e6,
        seconds=found.engine.seconds,
        types=str(found.engine.types),
        is_cached=found.is_cached,
        is_proven=is_proven,
        reason=found.reason if is_proven else UNPROVEN,
    )
