"""Runs an engine: batches split and padded to what it takes, several execution contexts side by side."""

import logging
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from semise_sdk.backends.base import Arrays, Graph, check_inputs, check_outputs, check_rows, first_line
from semise_sdk.backends.tensorrt.bindings import Engine
from semise_sdk.backends.tensorrt.lane import EngineShape, Lane
from semise_sdk.backends.tensorrt.library import Library
from semise_sdk.backends.tensorrt.precision import EngineTypes, engine_types
from semise_sdk.errors import BackendError

NAME = "tensorrt"
# One computes while the other's pixels and answers are on their way.
LANES = 2

_logger = logging.getLogger(__name__)


class TensorRtBackend:
    """One engine with several execution contexts; each run borrows one, so threads never share.

    Args:
        graph: The graph that it was built from.
        provider: What is reported with every result.
        shape: What the engine takes and gives.
        lanes: Its execution contexts.
        on_close: Called once when the backend is closed, before its contexts go.

    Raises:
        BackendError: an output is missing.
    """

    name = NAME

    def __init__(
        self,
        graph: Graph,
        *,
        provider: str,
        shape: EngineShape,
        lanes: tuple[Lane, ...],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        check_outputs(graph, tuple(shape.outputs))
        self.provider = provider
        self.concurrency = len(lanes)
        self.batch_size = shape.optimum
        self._shape = shape
        self._on_close = on_close
        self._lanes: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        for lane in lanes:
            self._lanes.put(lane)

    def run(self, inputs: Arrays) -> Arrays:
        """Returns the named outputs of any number of rows; raises BackendError."""
        check_inputs(inputs, self._shape.inputs)
        check_rows(inputs, {})
        rows = len(next(iter(inputs.values())))
        with self._lane() as lane:
            parts = [lane.run(part) for part in split_rows(inputs, rows, self._shape)]
        return {name: np.concatenate([part[name] for part in parts])[:rows] for name in self._shape.outputs}

    def close(self) -> None:
        """Releases the engine once the runs in progress are done."""
        lanes = []
        for _ in range(self.concurrency):
            lane = self._lanes.get()
            if lane is None:
                break
            lanes.append(lane)
        if lanes:
            self._on_close()
        for lane in lanes:
            lane.close()
        self._lanes.put(None)

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._lanes.get()
        try:
            if lane is None:
                raise BackendError("expected an open backend, found it closed: open the predictor again")
            yield lane
        finally:
            self._lanes.put(lane)


def split_rows(inputs: Arrays, rows: int, shape: EngineShape) -> Iterator[Arrays]:
    """Yields the rows of a batch in batches that the engine takes, the last one padded with zeros where it is short."""
    for start in range(0, max(rows, 1), shape.maximum):
        part = {name: array[start : start + shape.maximum] for name, array in inputs.items()}
        missing = shape.minimum - min(shape.maximum, rows - start)
        yield {name: _padded(array, missing) for name, array in part.items()} if missing > 0 else part


def _padded(array: NDArray[np.generic], missing: int) -> NDArray[np.generic]:
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])


def deserialize(library: Library, content: bytes) -> Engine:
    """Returns the ``ICudaEngine`` of an engine's bytes.

    Raises:
        BackendError: TensorRT refuses it.
    """
    library.messages.take_errors()
    try:
        engine: Engine | None = library.trt.Runtime(library.messages.receiver).deserialize_cuda_engine(content)
    except Exception as error:  # the bindings raise TypeError where the library returns nothing
        raise BackendError(f"{library} could not start: {library.reason(first_line(error))}") from error
    if engine is None:
        raise BackendError(f"{library} refused the engine: {library.reason('it gave no reason')}")
    return engine


def check_engine(library: Library, engine: Engine, graph: Graph) -> EngineTypes:
    """Returns the types that the inspector reads back out of an engine, after refusing those of another precision.

    Raises:
        BackendError: the engine computes in another precision than its graph.
    """
    inspector = engine.create_engine_inspector()
    types = engine_types(inspector.get_engine_information(library.trt.LayerInformationFormat.JSON))
    evidence = types.evidence(graph.precision)
    if evidence == "contradicted":
        raise BackendError(
            f"expected an engine of graph {graph.name} in {graph.precision}, found {types}: report it with its ONNX"
        )
    if evidence == "hidden":
        _logger.info("the engine of graph %s hides its types (%s): its network was checked", graph.name, types)
    return types
