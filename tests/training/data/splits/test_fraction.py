"""Fewer labels: how many stay, which ones, and what stays untouched."""

import itertools

import numpy as np

from semise_training.data.dataset import UNLABELED, Dataset
from semise_training.data.splits.fraction import hide_labels


def dataset():
    levels = np.array([0] * 30 + [1] * 10 + [2] * 3 + [0, 1, 2] * 3 + [UNLABELED] * 2)
    train, val, test, unlabeled = np.split(np.arange(len(levels)), [43, 46, 52])
    return Dataset(
        canvases=np.zeros((len(levels), 2, 2, 3), np.uint8),
        masks=np.zeros((len(levels), 2, 2), np.uint8),
        has_mask=levels != UNLABELED,
        levels=levels,
        groups=np.arange(len(levels)),
        parts={"train": train, "val": val, "test": test, "calibration": train[:0]},
        unlabeled=unlabeled,
        labels=("a", "b", "c"),
    )


def kept(fraction, seed=0):
    return hide_labels(dataset(), fraction=fraction, seed=seed)


def test_each_grade_keeps_its_share_and_two_at_least():
    levels = {fraction: np.bincount(kept(fraction).levels[kept(fraction).parts["train"]]) for fraction in (0.5, 0.1)}
    assert levels[0.5].tolist() == [15, 5, 2]
    assert levels[0.1].tolist() == [3, 2, 2]


def test_smaller_fractions_are_nested_in_larger_ones():
    trains = [set(kept(fraction).parts["train"]) for fraction in (0.05, 0.1, 0.25, 0.5, 0.9, 1.0)]
    assert all(small <= large for small, large in itertools.pairwise(trains))
    assert len(trains[0]) < len(trains[-1])


def test_what_is_hidden_becomes_unlabeled_and_loses_its_mask():
    before, after = dataset(), kept(0.1)
    hidden = np.setdiff1d(before.parts["train"], after.parts["train"])
    assert (after.levels[hidden] == UNLABELED).all()
    assert not after.has_mask[hidden].any()
    assert set(after.unlabeled) == set(before.unlabeled) | set(hidden)
    for part in ("val", "test"):
        assert np.array_equal(after.parts[part], before.parts[part])
        assert np.array_equal(after.levels[after.parts[part]], before.levels[before.parts[part]])
        assert after.has_mask[after.parts[part]].all()


def test_the_seed_draws_and_all_labels_change_nothing():
    assert np.array_equal(kept(0.3, seed=1).parts["train"], kept(0.3, seed=1).parts["train"])
    assert not np.array_equal(kept(0.3, seed=1).parts["train"], kept(0.3, seed=2).parts["train"])
    whole = dataset()
    assert hide_labels(whole, fraction=1, seed=0) is whole
