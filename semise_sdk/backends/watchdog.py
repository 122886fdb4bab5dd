"""Stops an engine's run that does not come to an end."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from semise_sdk.errors import BackendError

BASE_SECONDS = 120.0
SECONDS_PER_ROW = 60.0
"""Generous, for it is there for runs that never end and not for slow ones."""

_TICK = 1.0


@dataclass(slots=True, eq=False)
class _Run:
    """One run in progress."""

    deadline: float
    stop: Callable[[], object]
    is_late: bool = False


class Watchdog:
    """Watches the runs of one engine from a thread of its own, which is there from the first run to :meth:`close`.

    Args:
        seconds: What one run may take; None for 120 and 60 more for each row.

    Example:
        >>> dog = Watchdog(5.0)
        >>> with dog.watch(rows=4, stop=lambda: None):
        ...     pass
        >>> dog.close()
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"expected seconds of a run above 0, found {seconds}")
        self._seconds = seconds
        self._runs: set[_Run] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._finalizer = weakref.finalize(self, self._closed.set)

    @contextmanager
    def watch(self, *, rows: int, stop: Callable[[], object]) -> Iterator[None]:
        """Calls ``stop`` from another thread once the block takes too long.

        Args:
            rows: Images of the run.
            stop: Makes the engine give up; called once.

        Raises:
            BackendError: the block ended by an error after it was stopped.
        """
        allowed = allowed_seconds(rows, self._seconds)
        run = _Run(time.monotonic() + allowed, stop)
        with self._lock:
            self._runs.add(run)
            if self._thread is None:
                self._start()
        try:
            yield
        except Exception as error:
            if run.is_late:
                raise BackendError(late(allowed)) from error
            raise
        finally:
            with self._lock:
                self._runs.discard(run)

    def close(self) -> None:
        """Ends the thread; closing twice does nothing."""
        self._finalizer()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        tick = _TICK if self._seconds is None else min(_TICK, self._seconds / 4)
        # The thread holds no reference to this object, so that one which is dropped unclosed ends it too.
        self._thread = threading.Thread(
            target=_patrol, args=(self._runs, self._lock, self._closed, tick), name="semise-watchdog", daemon=True
        )
        self._thread.start()


def allowed_seconds(rows: int, seconds: float | None = None) -> float:
    """Returns what a run of so many rows may take: ``seconds`` where given, else 120 and 60 more for each row."""
    return BASE_SECONDS + SECONDS_PER_ROW * rows if seconds is None else seconds


def late(seconds: float) -> str:
    """Returns what is said of a run that was stopped after so many seconds."""
    return (
        f"expected a run of the engine within {seconds:g} s, found it still going and stopped it: look at the load of "
        "this machine, and get the bundle again if that is not it"
    )


def _patrol(runs: set[_Run], lock: threading.Lock, closed: threading.Event, tick: float) -> None:
    while not closed.wait(tick):
        now = time.monotonic()
        with lock:
            over = [run for run in runs if now > run.deadline and not run.is_late]
            for run in over:
                run.is_late = True
        for run in over:
            run.stop()
