"""The graphs of an open model, each loaded when it is first needed."""

import threading
from collections.abc import Callable

from semise_sdk.backends import Backend, Graph, open_graph
from semise_sdk.bundle import GraphName
from semise_sdk.errors import CLOSED, BackendError
from semise_sdk.inference.model_source import ModelSource
from semise_sdk.spec import Precision

Opener = Callable[[GraphName], Backend]


class Graphs:
    """Opens each graph once, whichever thread asks first.

    Args:
        opener: Opens a graph by its name.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._opened: dict[GraphName, Backend] = {}
        self._is_closed = False

    def get(self, name: GraphName) -> Backend:
        """Returns a graph, ready to run; raises BackendError once closed."""
        with self._lock:
            if self._is_closed:
                raise BackendError(CLOSED)
            if name not in self._opened:
                self._opened[name] = self._opener(name)
            return self._opened[name]

    def any_opened(self) -> Backend | None:
        """Returns a graph that is already open; all of them run on the same backend and device."""
        with self._lock:
            return next(iter(self._opened.values()), None)

    def close(self) -> None:
        """Closes every graph."""
        with self._lock:
            self._is_closed = True
            for backend in self._opened.values():
                backend.close()
            self._opened.clear()


def opener_for(
    source: ModelSource,
    *,
    backend: str,
    device: str,
    threads: int | None = None,
    precision: Precision = "fp32",
    run_seconds: float | None = None,
) -> Opener:
    """Returns what opens the graphs of ``source``: all of them with the backend that the first one got.

    A run that takes longer than ``run_seconds`` (see :class:`Graph`) is stopped.
    """
    chosen: list[str] = []

    def open_named(name: GraphName) -> Backend:
        file = source.graph(name, precision)
        graph = Graph(
            name=name,
            content=None if file.path is None else file.read,
            sha256=file.sha256,
            precision=precision,
            outputs=tuple(file.outputs),
            network=source.model.network,
            weights=file.weights,
            weights_sha256=file.weights_sha256,
            run_seconds=run_seconds,
        )
        opened = open_graph(graph, backend=chosen[0] if chosen else backend, device=device, threads=threads)
        chosen.append(opened.name)
        return opened

    return open_named
