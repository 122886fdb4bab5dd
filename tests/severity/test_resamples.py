"""The resamples of a bank: against a bank made of each resample, balance, what is left out, what moves the width."""

import numpy as np
import pytest

from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.severity.resamples import RESAMPLES, ResampledBank, interval_ends

MODES = ["mean", "median", "medoid", "knn"]


def bank_vectors(count=21, *, spread=1.0, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(scale=spread, size=(count, 16)) + 2).astype(np.float32)


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=16).astype(np.float32)


@pytest.mark.parametrize("members", [2, 3, 6, 21])
@pytest.mark.parametrize("mode", MODES)
def test_each_resample_measures_as_a_bank_of_its_members_does(mode, members, image):
    vectors = bank_vectors(members)
    bank = ReferenceBank(vectors, mode)
    found = bank.resampled(image)
    assert found.shape == (RESAMPLES,)
    for times, severity in zip(bank._resamples.times.T[::20], found[::20], strict=True):
        drawn = ReferenceBank(np.repeat(vectors, times, axis=0), mode)
        assert severity == pytest.approx(drawn.severity(image[None])[0], abs=1e-6)


@pytest.mark.parametrize("members", [2, 5, 256])
def test_over_all_resamples_each_member_is_drawn_equally_often(members):
    times = ResampledBank.of(np.eye(members), "mean", nearest=5).times
    assert times.shape == (members, RESAMPLES)
    assert (times.sum(axis=0) == members).all()
    assert (times.sum(axis=1) == RESAMPLES).all()
    assert len(np.unique(times, axis=1)) > 1


@pytest.mark.parametrize("mode", MODES)
def test_the_same_references_give_the_same_resamples_and_another_seed_others(mode, image):
    vectors = bank_vectors()
    assert (ReferenceBank(vectors, mode).resampled(image) == ReferenceBank(vectors * 8, mode).resampled(image)).all()
    members = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    one, other = (ResampledBank.of(members, mode, nearest=5, seed=seed).severity(image) for seed in (0, 1))
    assert (one != other).any()


@pytest.mark.parametrize("vectors", [np.ones((1, 4)), np.ones((3, 4)), 1 + 1e-7 * np.eye(4)])
def test_one_image_however_often_leaves_nothing_to_draw(vectors):
    assert ReferenceBank(vectors.astype(np.float32)).resampled(np.ones(4)) is None


def test_a_bank_that_scatters_less_or_is_larger_leaves_less_open(image):
    def width(**options):
        bank = ReferenceBank(bank_vectors(**options))
        low, high = interval_ends(bank.resampled(image), bank.severity(image[None])[0])
        return high - low

    assert width(spread=0.1) < width(spread=1.0) / 5
    # a sample four times as large halves the standard error of its mean
    assert width(count=200) == pytest.approx(width(count=50) / 2, rel=0.35)


def test_the_width_is_that_of_the_mean_direction_worked_out():
    # Two references at +-0.1 rad around the x axis, the image at a right angle to it: the mean of a resample lies at
    # -0.1, 0 or 0.1 rad, so that the severity is 1 - sin of it, and a quarter of the draws has either end.
    vectors = np.array([[np.cos(0.1), np.sin(0.1)], [np.cos(0.1), -np.sin(0.1)]], np.float32)
    found = ReferenceBank(vectors).resampled(np.array([0, 1], np.float32))
    values, counts = np.unique(np.round(found, 6), return_counts=True)
    assert values == pytest.approx([1 - np.sin(0.1), 1, 1 + np.sin(0.1)], abs=1e-6)
    assert counts / RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.1)
    assert interval_ends(found, 1.0) == pytest.approx((1 - np.sin(0.1), 1 + np.sin(0.1)), abs=1e-6)


def test_the_interval_covers_the_severity_of_the_population(image):
    # 120 banks of 60 drawn from one population: about 95 % of their intervals hold what the whole population says.
    population = bank_vectors(20_000, seed=5)
    truth = ReferenceBank(population).severity(image[None])[0]
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(120):
        bank = ReferenceBank(population[generator.choice(len(population), 60, replace=False)])
        low, high = interval_ends(bank.resampled(image), bank.severity(image[None])[0])
        hits += low <= truth <= high
    assert 0.88 <= hits / 120 <= 1


@pytest.mark.parametrize("mode", MODES)
def test_the_interval_holds_the_severity_even_where_the_image_is_the_mean(mode):
    vectors = bank_vectors()
    bank = ReferenceBank(vectors, mode)
    for image in (vectors[3], vectors.mean(axis=0), -vectors.mean(axis=0)):
        severity = bank.severity(image[None])[0]
        low, high = interval_ends(bank.resampled(image), severity)
        assert 0 <= low <= severity <= high <= 2


def test_the_ends_are_the_percentiles_of_numpy():
    values = np.random.default_rng(0).normal(size=RESAMPLES)
    assert interval_ends(values, 0.0) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)


def test_a_resample_that_cancels_out_lies_at_distance_one():
    # mean of all three is a direction, that of one resample (a, a, b, ...) may vanish
    vectors = np.array([[1, 0], [1, 0], [-1, 0], [-1, 1e-3]], np.float32)
    found = ReferenceBank(vectors, "mean").resampled(np.array([0, 1], np.float32))
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 2)).all()
