"""The clustered bootstrap: width, coverage, determinism, and when it declines to answer."""

import math

import numpy as np
import pytest
from scipy import stats

from semise_sdk.metrics import Estimate, bootstrap_interval, estimate, estimates
from semise_sdk.metrics.bootstrap import weighted_mean


def mean_of(values):
    return lambda rows: float(values[rows].mean())


def width(interval):
    return interval.high - interval.low


def test_interval_of_a_mean_agrees_with_scipy_and_with_its_standard_error():
    values = np.random.default_rng(0).normal(size=200)
    interval = bootstrap_interval(mean_of(values), np.arange(200), repeats=4000)
    oracle = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert interval == pytest.approx((oracle.low, oracle.high), abs=0.02)
    assert width(interval) == pytest.approx(2 * 1.96 * values.std() / math.sqrt(200), rel=0.06)


def test_coverage_is_near_its_level():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        patients = np.repeat(np.arange(30), 3)
        values = generator.normal(size=30)[patients] + generator.normal(size=90)
        low, high = bootstrap_interval(mean_of(values), patients, repeats=200, seed=seed)
        covered += low <= 0 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_repeated_images_of_a_patient_widen_the_interval():
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 9)
    values = generator.normal(size=40)[patients]
    clustered = bootstrap_interval(mean_of(values), patients)
    independent = bootstrap_interval(mean_of(values), np.arange(patients.size))
    assert width(clustered) == pytest.approx(3 * width(independent), rel=0.2)


def test_many_metrics_at_once_have_the_intervals_of_a_slow_bootstrap():
    values, patients = np.random.default_rng(0).normal(size=60), np.arange(60) // 3
    generator, slow = np.random.default_rng(5), []
    for _ in range(150):
        drawn = generator.integers(20, size=20)
        slow.append(np.mean([values[patients == patient].mean() for patient in drawn]))

    def figures(times):
        mean = weighted_mean(values, times)
        return {"mean": mean, "undefined": np.full(len(times), np.nan), "lower": mean - 1}

    found = estimates(figures, patients, repeats=150, seed=5)
    low, high = np.quantile(slow, [0.025, 0.975])
    assert found["mean"].value == pytest.approx(values.mean(), abs=1e-15)
    assert (found["mean"].low, found["mean"].high) == pytest.approx((low, high), abs=1e-12)
    assert (found["lower"].low, found["lower"].high) == pytest.approx((low - 1, high - 1), abs=1e-12)
    assert found["mean"].n == 60
    assert found["undefined"] == Estimate.undefined()
    of_rows = estimate(mean_of(values), patients, repeats=150, seed=5)
    assert (of_rows.low, of_rows.high) == pytest.approx((low, high), abs=1e-12)


def test_equal_seeds_give_equal_intervals_and_paired_resamples():
    values, groups = np.random.default_rng(0).normal(size=60), np.arange(60) // 2
    first = bootstrap_interval(mean_of(values), groups, repeats=100)
    assert first == bootstrap_interval(mean_of(values), groups, repeats=100)
    assert first != bootstrap_interval(mean_of(values), groups, repeats=100, seed=1)
    shifted = bootstrap_interval(mean_of(values + 1), groups, repeats=100)
    assert shifted == pytest.approx((first.low + 1, first.high + 1))


def test_text_and_number_groups_are_the_same_groups():
    values = np.random.default_rng(0).normal(size=20)
    numbers = np.arange(20) // 2 + 10
    as_text = bootstrap_interval(mean_of(values), [f"patient {n}" for n in numbers], repeats=50)
    assert as_text == bootstrap_interval(mean_of(values), numbers, repeats=50)


def test_higher_level_is_wider():
    values, groups = np.random.default_rng(0).normal(size=50), np.arange(50)
    narrow, wide = (bootstrap_interval(mean_of(values), groups, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("groups", [[], [0], [0, 0, 0, 0, 0], [0, 1, 2, 2, 1]])
def test_too_few_groups_have_no_interval(groups):
    assert bootstrap_interval(lambda _: 1.0, groups) == (None, None)


def test_four_groups_have_one():
    assert bootstrap_interval(lambda _: 1.0, [0, 1, 2, 3], repeats=10) == (1, 1)


def test_undefined_resamples_are_left_out_but_not_when_they_are_half():
    values = np.zeros(50)
    values[0] = 1.0

    def only_with_the_first_row(rows):
        return float(rows.size) if values[rows].any() else None

    def only_without_it(rows):
        return None if values[rows].any() else float(rows.size)

    # a row is absent from a resample with probability .36
    assert bootstrap_interval(only_with_the_first_row, np.arange(50), repeats=200) == (50, 50)
    assert bootstrap_interval(only_without_it, np.arange(50), repeats=200) == (None, None)


def test_estimate_joins_value_interval_and_number():
    values = np.random.default_rng(0).normal(size=30)
    result = estimate(mean_of(values), np.arange(30), repeats=100)
    assert result.value == values.mean()
    assert (result.low, result.high) == bootstrap_interval(mean_of(values), np.arange(30), repeats=100)
    assert result.to_json() == {"value": result.value, "low": result.low, "high": result.high, "n": 30}


def test_undefined_estimate_is_null_with_no_rows():
    result = estimate(lambda _: None, np.arange(30))
    assert result == Estimate.undefined()
    assert result.to_json() == {"value": None, "low": None, "high": None, "n": 0}


def test_no_repeats_give_the_value_alone():
    assert estimate(lambda _: 0.5, np.arange(30), repeats=0) == Estimate(0.5, None, None, 30)


def test_an_estimate_is_never_nan():
    with pytest.raises(ValueError, match="finite"):
        Estimate(float("nan"), None, None, 3)


def test_a_metric_of_rows_that_says_nan_is_refused():
    with pytest.raises(ValueError, match="found NaN; return None"):
        estimate(lambda _: float("nan"), np.arange(30))
