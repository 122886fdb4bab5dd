"""Draws of whole groups, and sums and means over the rows of many resamples, by hand and by loops."""

import numpy as np
import pytest

from semise_sdk.metrics import bootstrap
from semise_sdk.metrics.bootstrap import blocks, once, over, quotient, resamples, single, sums_by, weighted_mean


def times_of(groups, *, repeats, seed=0):
    return np.concatenate(list(resamples(groups, repeats=repeats, seed=seed)))


def test_resamples_hold_whole_groups():
    groups = ["b", "a", "b", "c", "d", "a", "b"]
    times = times_of(groups, repeats=300, seed=4)
    assert times.shape == (300, 7)
    for group in "abcd":
        of_group = times[:, [name == group for name in groups]]
        assert (of_group == of_group[:, :1]).all()
    assert (times[:, [0, 1, 3, 4]].sum(axis=1) == 4).all()
    assert times.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)
    assert len(set(times.sum(axis=1))) > 3


def test_a_resample_is_one_draw_of_the_generator_so_that_published_intervals_stay():
    groups = np.array([7, 3, 7, 9, 3, 7, 1, 4, 4])
    names = np.unique(groups)
    generator = np.random.default_rng(6)
    for times in times_of(groups, repeats=150, seed=6):
        drawn = names[generator.integers(len(names), size=len(names))]
        assert times.tolist() == [np.count_nonzero(drawn == group) for group in groups]


def test_resamples_come_in_blocks_that_change_no_draw(monkeypatch):
    groups = np.arange(9)
    assert [len(times) for times in resamples(groups, repeats=150, seed=0)] == [64, 64, 22]
    in_blocks = times_of(groups, repeats=150)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 1000)
    assert np.array_equal(times_of(groups, repeats=150), in_blocks)
    assert not np.array_equal(times_of(groups, repeats=150, seed=1), in_blocks)


@pytest.mark.parametrize("groups", [[], [0], [0, 0, 0, 0, 0], [0, 1, 2, 2, 1]])
def test_fewer_than_four_groups_are_not_resampled(groups):
    assert list(resamples(groups, repeats=10, seed=0)) == []


def test_blocks_are_measured_one_by_one_and_joined():
    times = np.arange(300.0).reshape(150, 2)
    seen = []

    def total(some):
        seen.append(len(some))
        return {"total": some.sum(axis=1)}

    assert np.array_equal(over(total, blocks(times))["total"], times.sum(axis=1))
    assert seen == [64, 64, 22]
    assert over(total, []) == {}


def test_sums_by_code_by_hand():
    weights = np.array([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    assert sums_by(np.array([2, 0, 2, 0]), weights, count=4).tolist() == [[6, 0, 4, 0], [14, 0, 12, 0]]
    own = np.array([[0, 0, 0, 1], [1, 1, 0, 1]])
    assert sums_by(own, weights, count=2).tolist() == [[6, 4], [7, 19]]
    assert sums_by(np.zeros(0, int), np.ones((1, 0)), count=0).shape == (1, 0)


def test_means_by_hand_and_the_mean_of_no_rows():
    found = weighted_mean(np.array([1.0, 4.0]), np.array([[1.0, 2.0], [0.0, 0.0]]))
    assert found[0] == 3
    assert np.isnan(found[1])
    assert single(found) == 3.0
    assert single(found[1:]) is None
    assert single(weighted_mean(np.zeros(0), once([]))) is None


def test_a_mean_has_the_same_last_bits_alone_and_among_others():
    random = np.random.default_rng(0)
    values, weights = random.random(500), random.integers(0, 4, (100, 500)).astype(float)
    among_others = weighted_mean(values, np.asfortranarray(weights))
    alone = [weighted_mean(values, row[None])[0] for row in weights]
    assert among_others.tolist() == alone


def test_a_quotient_by_zero_is_undefined():
    assert np.isnan(quotient(np.array([0.0, 3.0]), np.array([0, 0]))).all()
    assert quotient(np.array([3.0]), np.array([2])).tolist() == [1.5]


def test_a_part_of_many_rows_holds_few_resamples() -> None:
    sizes = [len(part) for part in bootstrap.blocks(np.ones((70, 100_000)))]
    assert sizes == [2] * 35
    assert [len(part) for part in bootstrap.blocks(np.ones((70, 10)))] == [64, 6]
    drawn = list(bootstrap.resamples([str(row) for row in range(100_000)], repeats=3, seed=0))
    assert [part.shape for part in drawn] == [(2, 100_000), (1, 100_000)]
