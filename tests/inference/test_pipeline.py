import itertools
import os
import threading
import time
import tracemalloc

import numpy as np
import pytest

from semise_sdk.errors import BackendError
from semise_sdk.inference.pipeline import Pool, in_order, run_stream


@pytest.fixture
def pools():
    images, engines = Pool(3, "test-image"), Pool(2, "test-engine")
    yield images, engines
    images.close()
    engines.close()


def stream(items, pools, *, prepare=lambda item: item, run=list, batch_size=4):
    images, engines = pools
    return run_stream(items, prepare, run, images=images, engines=engines, batch_size=batch_size)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 100])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_every_item_has_one_result_in_order(pools, count, batch_size):
    assert list(stream(range(count), pools, batch_size=batch_size)) == list(range(count))


def test_order_holds_whatever_takes_long(pools):
    def prepare(item):
        time.sleep(0.002 * (item % 3))
        return item

    def run(batch):
        time.sleep(0.004 * (batch[0] % 8 == 0))
        return [10 * item for item in batch]

    assert list(stream(range(60), pools, prepare=prepare, run=run)) == [10 * item for item in range(60)]


def test_batches_are_full_but_for_the_last(pools):
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return batch

    list(stream(range(10), pools, run=run))
    assert sorted(sizes) == [2, 4, 4]


def test_items_are_taken_a_bounded_number_ahead(pools):
    taken = []
    source = (taken.append(item) or item for item in itertools.count())
    results = stream(source, pools)
    most_ahead = 0
    for received in range(1, 400):
        assert next(results) == received - 1
        most_ahead = max(most_ahead, len(taken) - received)
    results.close()
    # 3 batches in flight and 2 being assembled of 4 items each, and one item per decoding thread
    assert most_ahead <= 4 * (3 + 4 + 1) + 3


def test_memory_does_not_grow_with_the_number_of_items(pools):
    def prepare(item):
        return np.full(10_000, item % 256, np.uint8)

    def run(batch):
        return [int(array[0]) for array in batch]

    def peak(count):
        tracemalloc.start()
        assert sum(1 for _ in stream(range(count), pools, prepare=prepare, run=run)) == count
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(50)
    # 3000 items kept would be 30 MB.
    assert peak(3000) < peak(200) + 300_000


def test_the_next_images_are_prepared_while_an_engine_runs(pools):
    prepared_next = threading.Event()

    def prepare(item):
        if item >= 4:
            prepared_next.set()
        return item

    def run(batch):
        if batch[0] == 0:
            assert prepared_next.wait(10)
        return batch

    assert list(stream(range(8), pools, prepare=prepare, run=run)) == list(range(8))


def test_engines_run_side_by_side(pools):
    both = threading.Barrier(2, timeout=10)

    def run(batch):
        both.wait()
        return batch

    assert list(stream(range(8), pools, run=run)) == list(range(8))


def test_an_error_of_the_engine_ends_the_stream_and_leaves_the_pool_usable(pools):
    def run(batch):
        if 8 in batch:
            raise BackendError("out of memory")
        return batch

    results = stream(range(100), pools, run=run)
    assert [next(results) for _ in range(8)] == list(range(8))
    with pytest.raises(BackendError, match="out of memory"):
        list(results)
    assert list(stream(range(5), pools)) == list(range(5))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_source_passes_through(pools, error):
    def source():
        yield from range(50)
        raise error

    with pytest.raises(error):
        list(stream(source(), pools))
    assert list(stream(range(5), pools)) == list(range(5))


def test_a_stream_closed_early_leaves_no_work_behind(pools):
    running = threading.Semaphore(0)
    done = []

    def prepare(item):
        running.release()
        time.sleep(0.01)
        done.append(item)
        return item

    results = stream(itertools.count(), pools, prepare=prepare)
    next(results)
    results.close()
    finished = len(done)
    time.sleep(0.1)
    assert len(done) == finished  # nothing was running any more, nothing waited
    assert list(stream(range(5), pools)) == list(range(5))


def test_a_stream_that_is_dropped_stops_its_source(pools):
    stopped = threading.Event()

    def source():
        try:
            yield from itertools.count()
        finally:
            stopped.set()

    results = stream(source(), pools)
    next(results)
    del results
    assert stopped.is_set()


def test_closed_pools_leave_no_thread():
    before = set(threading.enumerate())
    images, engines = Pool(3, "left-image"), Pool(2, "left-engine")
    assert list(stream(range(20), (images, engines))) == list(range(20))
    assert set(threading.enumerate()) > before
    images.close()
    engines.close()
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("which", [0, 1])
def test_closing_a_pool_ends_its_streams_with_a_clean_error(pools, which):
    results = stream(itertools.count(), pools, prepare=lambda item: (time.sleep(0.001), item)[1])
    next(results)
    pools[which].close()
    with pytest.raises(BackendError, match="found it closed"):
        list(itertools.islice(results, 10_000))
    with pytest.raises(BackendError, match="found it closed"):
        list(stream(range(5), pools))


def test_closing_from_another_thread_never_hangs(pools):
    outcome = []

    def consume():
        try:
            for _ in stream(itertools.count(), pools, run=lambda batch: (time.sleep(0.002), batch)[1]):
                pass
        except BackendError as error:
            outcome.append(str(error))

    threads = [threading.Thread(target=consume) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    for pool in pools:
        pool.close()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(outcome) == 8
    assert all("found it closed" in text for text in outcome)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_refused_and_ends(pools):
    results = stream(itertools.count(), pools)
    next(results)
    child = os.fork()
    if child == 0:  # pragma: no cover
        code = 1
        try:
            next(itertools.islice(results, 1000, None))
        except BackendError as error:
            code = 0 if "fork" in str(error) else 2
        for pool in pools:
            pool.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert next(results) == 1  # the parent's stream goes on


def test_in_order_keeps_no_more_than_asked_in_flight(pools):
    started = []
    results = in_order(pools[0], started.append, itertools.count(), ahead=5)
    next(results)
    time.sleep(0.05)
    assert len(started) == 5
    results.close()
