"""Measures one row, alone in its process: first result, latency, throughput, end to end, memory."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.backends.base import Device
from semise_sdk.bench.memory import gpu_memory
from semise_sdk.bench.rows import Case, Latency, Speed
from semise_sdk.bundle import Bundle
from semise_sdk.errors import BackendError, DataError, SemiseError
from semise_sdk.images.reading import FailedImage, read_slot
from semise_sdk.images.record import NamedImage
from semise_sdk.inference.graphs import Graphs, opener_for
from semise_sdk.predictor import Predictor
from semise_sdk.system.machine import peak_memory

Run = Callable[[], object]

_FEWEST_RUNS = 3
_DISTINCT_IMAGES = 16


class RefusedError(BackendError):
    """A backend that cannot run the graph on the device in the precision: no batch size would change that."""


def measure_speed(bundle: Path, case: Case, images: Sequence[Path], *, seconds: float, ranks: bool) -> Speed:
    """Returns what one row shows.

    Args:
        bundle: The bundle.
        case: What is measured.
        images: Images; the first readable ones fill the engine's batches.
        seconds: How long latency and throughput are measured, each.
        ranks: Whether to measure end to end over all of ``images`` too.

    Raises:
        RefusedError: the backend refuses the bundle's graphs.
        SemiseError: the measurement failed.
    """
    gpu = Device.parse(case.device).index
    gpu_before, started = gpu_memory(gpu), time.perf_counter()
    with opened(bundle, case) as (predictor, graphs):
        _first_answer(predictor, images)
        first_result = time.perf_counter() - started
        encoder = graphs.get("encoder")
        batch = case.batch or encoder.batch_size
        run = engine_run(graphs, _pixels(predictor, images, batch), grades=predictor.model.has_classifier)
        return Speed(
            provider=encoder.provider,
            batch=batch,
            concurrency=encoder.concurrency,
            first_result_seconds=round(first_result, 4),
            latency=latency(run, seconds=seconds),
            images_per_second=round(batch * runs_per_second(run, encoder.concurrency, seconds=seconds), 3),
            rank_images_per_second=round(_rank_rate(predictor, images, batch), 3) if ranks else None,
            gpu_memory_bytes=_held(gpu_before, gpu_memory(gpu)) if on_gpu(encoder.provider) else None,
            peak_memory_bytes=peak_memory(),
        )


@contextmanager
def opened(bundle: Path, case: Case) -> Iterator[tuple[Predictor, Graphs]]:
    """Yields the predictor of a case with its graphs loaded, and these for measuring the engine alone.

    Raises:
        RefusedError: the backend, device or precision cannot be used.
    """
    precision = case.precision or "fp32"
    source = Bundle.open(bundle)
    graphs = Graphs(opener_for(source, backend=case.backend, device=case.device, precision=precision))
    with Predictor(source, graphs, batch_size=case.batch, precision=precision) as predictor:
        try:
            graphs.get("encoder")
            if predictor.model.has_classifier:
                graphs.get("classifier")
        except SemiseError as error:
            raise RefusedError(str(error)) from error
        yield predictor, graphs


def on_gpu(provider: str) -> bool:
    """Returns whether what a backend reports to compute on is a GPU."""
    return "cpu" not in provider.lower()


def engine_run(graphs: Graphs, pixels: NDArray[np.uint8], *, grades: bool) -> Run:
    """Returns one run of what ``rank`` asks of the engine: the encoder and, where there is one, the classifier."""
    encoder = graphs.get("encoder")
    classifier = graphs.get("classifier") if grades else None

    def run() -> None:
        outputs = encoder.run({"pixels": pixels})
        if classifier is not None:
            classifier.run({"embedding": outputs["embedding"]})

    return run


def latency(run: Run, *, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Latency:
    """Returns the percentiles of ``run``, one at a time, over at least ``seconds`` and three runs after a warm-up."""
    run()
    run()
    took: list[float] = []
    end = clock() + seconds
    while len(took) < _FEWEST_RUNS or clock() < end:
        started = clock()
        run()
        took.append(clock() - started)
    return Latency.of(took)


def runs_per_second(run: Run, concurrency: int, *, seconds: float) -> float:
    """Returns how often ``run`` ends in a second when ``concurrency`` of it go on side by side, after a warm-up."""
    with ThreadPoolExecutor(concurrency) as pool:
        for job in [pool.submit(run) for _ in range(2 * concurrency)]:
            job.result()
        started = time.perf_counter()
        jobs = [pool.submit(_repeat, run, until=started + seconds) for _ in range(concurrency)]
        done = sum(job.result() for job in jobs)
        return done / (time.perf_counter() - started)


def _repeat(run: Run, *, until: float) -> int:
    done = 0
    while done < 1 or time.perf_counter() < until:
        run()
        done += 1
    return done


def _pixels(predictor: Predictor, images: Sequence[Path], batch: int) -> NDArray[np.uint8]:
    wanted = min(batch, _DISTINCT_IMAGES)
    canvases: list[NDArray[np.uint8]] = []
    for image in images:
        slot = read_slot(NamedImage(image.name, image), predictor.model.spec)
        if not isinstance(slot, FailedImage):
            canvases.append(slot.canvas.pixels)
        if len(canvases) == wanted:
            break
    if not canvases:
        raise DataError(f"expected a readable image among {len(images)}, found none")
    return np.stack([canvases[index % len(canvases)] for index in range(batch)])


def _rank_rate(predictor: Predictor, images: Sequence[Path], batch: int) -> float:
    predictor.rank(images[: 2 * batch])
    started = time.perf_counter()
    predictor.rank(images)
    return len(images) / (time.perf_counter() - started)


def _first_answer(predictor: Predictor, images: Sequence[Path]) -> None:
    for image in images:
        if predictor.rank(image).rows[0].severity is not None:
            return
    raise DataError(f"expected an image that the model answers for among {len(images)}, found none")


def _held(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)
