"""R16: the same images give the same scores and the same ranking in any batch, on any number of threads."""

import pytest

from semise_sdk.demo.phantoms import draw_phantom
from semise_sdk.predictor import Predictor

BATCHES, THREADS = (1, 7, 32), (1, 2, 4)


def ranking(bundle, images, **options):
    with Predictor.open(bundle, backend="onnxruntime", **options) as predictor:
        return predictor.rank(images)


def _without_numbers(row):
    return row.file, row.rank, row.grade, row.grade_set, row.status, row.reason.split(":")[0]


@pytest.fixture(scope="module")
def images(amount):
    return [draw_phantom(index % 5, seed=8000 + index, size=64).image for index in range(amount(40, 500))]


def test_batches_and_threads_change_no_answer(calibrated_bundle, images, figure):
    first = ranking(calibrated_bundle, images, batch_size=32, threads=1)
    error, differences = 0.0, 0
    for batch_size in BATCHES:
        for threads in THREADS:
            found = ranking(calibrated_bundle, images, batch_size=batch_size, threads=threads, workers=threads)
            for one, other in zip(first.rows, found.rows, strict=True):
                differences += _without_numbers(one) != _without_numbers(other)
                if one.severity is not None and other.severity is not None:
                    error = max(error, abs(one.severity - other.severity))
    figure(f"largest difference of a score, {len(images)} images", error)
    figure("rows whose rank, grade, set or status differs", differences)
    assert error <= 1e-6
    assert differences == 0


def test_a_second_run_is_the_first(calibrated_bundle, images):
    first, second, third = (ranking(calibrated_bundle, images, threads=2) for _ in range(3))
    assert first == second == third
