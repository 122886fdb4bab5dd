"""Decode, batch and run as one stream: in input order, in bounded memory, each stage beside the others.

A stream is a chain of generators that its consumer pulls. Every stage keeps a bounded number of jobs in flight on the
threads of a :class:`Pool`, so the next images are decoded while an engine runs and while the consumer looks at a
result; when the consumer stops, so does the stream.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TypeVar

from semise_sdk.errors import CLOSED, BackendError

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Result = TypeVar("Result")

FORKED = (
    "expected the process that opened the predictor, found a fork of it, which has none of its threads: open the "
    "predictor again in the new process, or start it with multiprocessing's forkserver"
)


class Pool:
    """Threads that any number of streams share, so a hundred streams at once need no more of them than one.

    Args:
        threads: How many.
        name: What they are called in a debugger.
    """

    def __init__(self, threads: int, name: str) -> None:
        self.threads = threads
        self._owner = os.getpid()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def submit(self, work: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Returns ``work(item)`` as a job; raises BackendError once the pool is closed, and in a forked process."""
        self.check_process()
        try:
            return self._executor.submit(work, item)
        except RuntimeError as error:  # the executor was shut down
            raise BackendError(CLOSED) from error

    def drop(self, jobs: Iterable[Future[Result]]) -> None:
        """Cancels the jobs that wait and returns when those in progress have ended."""
        if not self.is_forked:  # in a fork they never would
            wait([job for job in jobs if not job.cancel()])

    @property
    def is_forked(self) -> bool:
        """True in a fork of the process that made the pool: none of its threads came along."""
        return os.getpid() != self._owner

    def check_process(self) -> None:
        """Refuses a forked process, where no job would ever be done; raises BackendError."""
        if self.is_forked:
            raise BackendError(FORKED)

    def close(self) -> None:
        """Drops the jobs that wait, lets those in progress end, and ends the threads."""
        if not self.is_forked:
            self._executor.shutdown(wait=True, cancel_futures=True)


def run_stream(
    items: Iterable[Item],
    prepare: Callable[[Item], Ready],
    run: Callable[[Sequence[Ready]], Sequence[Result]],
    *,
    images: Pool,
    engines: Pool,
    batch_size: int,
) -> Generator[Result]:
    """Yields one result per item, in order.

    ``items`` is consumed lazily, in the consumer's thread, a bounded number ahead of the results. What is wrong with
    a single item is for ``prepare`` and ``run`` to say in its result: an error that they raise ends the stream.

    Args:
        items: What comes in.
        prepare: Makes one item ready, on a thread of ``images``.
        run: Turns a batch of ready items into as many results, on a thread of ``engines``.
        images: Threads that prepare.
        engines: Threads that run.
        batch_size: Items in a batch; the last batch may be smaller.

    Raises:
        BackendError: the pools were closed meanwhile, or this is a fork of the process that made them.
    """
    # One batch runs on each engine thread, one waits so that none of them idles, one is being assembled.
    batches = engines.threads + 1
    ready = in_order(images, prepare, items, ahead=batch_size * (batches + 1) + images.threads)
    results = in_order(engines, run, _batched(ready, batch_size), ahead=batches)
    with closing(ready), closing(results):
        for batch in results:
            yield from batch


def in_order(pool: Pool, work: Callable[[Item], Result], items: Iterable[Item], *, ahead: int) -> Generator[Result]:
    """Yields ``work(item)`` of every item in order, with at most ``ahead`` of them in flight on the pool's threads.

    Closing the generator cancels the jobs that wait and returns when those in progress have ended.

    Raises:
        BackendError: the pool was closed meanwhile, or this is a fork of the process that made it.
    """
    jobs: deque[Future[Result]] = deque()
    try:
        for item in items:
            jobs.append(pool.submit(work, item))
            if len(jobs) >= ahead:
                yield _first(pool, jobs)
        while jobs:
            yield _first(pool, jobs)
    finally:
        pool.drop(jobs)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while batch := list(itertools.islice(source, size)):
        yield batch


def _first(pool: Pool, jobs: deque[Future[Result]]) -> Result:
    """Returns the first job's result; the job leaves the queue when it is done, so that closing can wait for it."""
    pool.check_process()
    try:
        result = jobs[0].result()
    except CancelledError as error:
        raise BackendError(CLOSED) from error
    jobs.popleft()
    return result
