"""Which images meet: balance, coverage, no repeats, and repeatability."""

from collections import Counter
from itertools import combinations, islice

import numpy as np
import pytest
from numpy.typing import NDArray

from semise_sdk.errors import DataError
from semise_training.data.pairing import PairKind, balanced_batches, sampled_pairs, unlabeled_batches

LEVELS = np.repeat(np.array([0, 1, 2, 4]), [40, 25, 10, 1]).astype(np.int64)
KINDS: tuple[PairKind, ...] = ("binary", "classes", "preference")


def pairs(kind: PairKind, count: int = 4000, *, seed: int = 3) -> NDArray[np.int64]:
    return sampled_pairs(LEVELS, count=count, kind=kind, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_repeatable_indices_of_different_images(kind: PairKind) -> None:
    drawn = pairs(kind)
    assert drawn.shape == (4000, 2)
    assert drawn.dtype == np.int64
    assert set(drawn.ravel()) == set(range(len(LEVELS)))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    np.testing.assert_array_equal(drawn, pairs(kind))
    assert (drawn != pairs(kind, seed=4)).any()


def test_binary_pairs_are_a_quarter_healthy_a_quarter_anomalous_and_half_mixed() -> None:
    anomalous = (LEVELS[pairs("binary")] > 0).sum(axis=1)
    assert Counter(anomalous.tolist()) == {0: 1000, 1: 2000, 2: 1000}


def test_binary_pairs_of_two_anomalies_may_differ_in_level() -> None:
    levels = LEVELS[pairs("binary")]
    both_anomalous = levels[(levels > 0).all(axis=1)]
    assert (both_anomalous[:, 0] != both_anomalous[:, 1]).any()


def test_class_pairs_are_half_similar_and_balanced_over_classes() -> None:
    levels = LEVELS[pairs("classes", 4200)]
    same = levels[:, 0] == levels[:, 1]
    assert same.sum() == 2100
    # The class of one image makes no similar pair; the other three share them.
    assert Counter(levels[same, 0].tolist()) == {0: 700, 1: 700, 2: 700}
    ordered = Counter(map(tuple, levels[~same].tolist()))
    assert set(ordered.values()) == {175}
    assert len(ordered) == 12


def test_similar_and_dissimilar_pairs_are_mixed() -> None:
    levels = LEVELS[pairs("classes")]
    same = levels[:, 0] == levels[:, 1]
    assert 400 < same[:1000].sum() < 600


def test_preference_pairs_are_uniform_over_pairs_of_different_level() -> None:
    levels = np.array([0, 2, 0, 1, 1], np.int64)
    drawn = sampled_pairs(levels, count=16_000, kind="preference", seed=0)
    counts = Counter(map(tuple, drawn.tolist()))
    comparable = {(i, j) for i in range(5) for j in range(5) if levels[i] != levels[j]}
    assert set(counts) == comparable
    # 16 ordered pairs, 1000 of each expected, standard deviation 31.
    assert all(850 < number < 1150 for number in counts.values())


def test_preference_pairs_with_ties_are_any_two_images() -> None:
    levels = np.array([0, 0, 0, 1], np.int64)
    drawn = sampled_pairs(levels, count=12_000, kind="preference", seed=0, ties="half")
    counts = Counter(map(tuple, drawn.tolist()))
    assert len(counts) == 12
    assert all(850 < number < 1150 for number in counts.values())


@pytest.mark.parametrize(
    ("kind", "levels"),
    [("binary", [1, 2, 2]), ("binary", [0, 0]), ("classes", [3, 3]), ("classes", [0, 1, 2]), ("preference", [1, 1])],
)
def test_levels_without_such_pairs_are_refused(kind: PairKind, levels: list[int]) -> None:
    with pytest.raises(DataError, match="expected images of at least two"):
        sampled_pairs(np.array(levels, np.int64), count=4, kind=kind, seed=0)


def epoch_of(batch_size: int, *, epoch: int = 0, batches: int | None = None, seed: int = 5) -> list[NDArray[np.int64]]:
    return list(balanced_batches(LEVELS, batch_size=batch_size, seed=seed, epoch=epoch, batches=batches))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 6, 16, 30])
@pytest.mark.parametrize("epoch", [0, 7])
def test_batches_hold_every_class_equally_often(batch_size: int, epoch: int) -> None:
    batches = epoch_of(batch_size, epoch=epoch)
    assert len(batches) == -(-len(LEVELS) // batch_size)
    for batch in batches:
        assert batch.shape == (batch_size,)
        assert batch.dtype == np.int64
        held = [int((LEVELS[batch] == level).sum()) for level in (0, 1, 2, 4)]
        assert max(held) - min(held) <= 1
    overall = [sum(int((LEVELS[batch] == level).sum()) for batch in batches) for level in (0, 1, 2, 4)]
    assert max(overall) - min(overall) <= 1


@pytest.mark.parametrize("batch_size", [16, 30])
def test_only_a_class_smaller_than_its_share_repeats_within_a_batch(batch_size: int) -> None:
    share = -(-batch_size // 4)
    for epoch in range(12):
        for batch in epoch_of(batch_size, epoch=epoch):
            repeated = [image for image, number in Counter(batch.tolist()).items() if number > 1]
            assert all((LEVELS[image] == LEVELS).sum() < share for image in repeated)


def test_the_largest_class_is_seen_evenly_over_epochs() -> None:
    # 10 of its 40 images a batch of 40, 2 batches an epoch: twice around in 4 epochs.
    seen = Counter(image for epoch in range(4) for batch in epoch_of(40, epoch=epoch) for image in batch.tolist())
    assert {seen[image] for image in range(40)} == {2}


def test_small_classes_cycle_through_permutations() -> None:
    # Level 2 has 10 images and 4 places in each of 20 batches: 80 draws are 8 times around.
    drawn = [image for batch in epoch_of(16, batches=20) for image in batch.tolist() if LEVELS[image] == 2]
    assert set(Counter(drawn).values()) == {8}
    rounds = [tuple(drawn[start : start + 10]) for start in range(0, 80, 10)]
    assert len(set(rounds)) == 8


def test_companions_change_from_round_to_round() -> None:
    together: set[tuple[int, int]] = set()
    for batch in epoch_of(16, batches=60):
        together.update(combinations(sorted(image for image in batch.tolist() if LEVELS[image] == 2), 2))
    assert len(together) == 45


def test_batches_depend_on_seed_and_epoch_only() -> None:
    again = epoch_of(16, epoch=2)
    for one, other in zip(epoch_of(16, epoch=2), again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (np.concatenate(epoch_of(16, epoch=3)) != np.concatenate(again)).any()
    assert (np.concatenate(epoch_of(16, epoch=2, seed=6)) != np.concatenate(again)).any()


def test_a_63_bit_seed_is_accepted() -> None:
    first = next(balanced_batches(LEVELS, batch_size=4, seed=2**63 - 1, epoch=0))
    assert len(first) == 4


@pytest.mark.parametrize(("levels", "batch_size"), [(np.zeros(0, np.int64), 4), (LEVELS, 0)])
def test_nothing_to_deal_is_refused_at_once(levels: NDArray[np.int64], batch_size: int) -> None:
    with pytest.raises(ValueError, match="expected images and a batch size"):
        balanced_batches(levels, batch_size=batch_size, seed=0, epoch=0)


def test_unlabeled_batches_see_every_image_before_any_again() -> None:
    # 6 batches of 10 an epoch, 60 images.
    seen = Counter(np.concatenate(list(unlabeled_batches(np.arange(60), batch_size=10, seed=0, epoch=3))).tolist())
    assert seen == dict.fromkeys(range(60), 1)


def test_unlabeled_batches_never_repeat_an_image() -> None:
    many = unlabeled_batches(np.arange(7), batch_size=5, seed=0, epoch=0, batches=40)
    assert all(len(set(batch.tolist())) == 5 for batch in many)
    few = list(islice(unlabeled_batches(np.arange(3), batch_size=5, seed=0, epoch=0, batches=4), 4))
    assert [sorted(batch.tolist()) for batch in few] == [[0, 1, 2]] * 4
