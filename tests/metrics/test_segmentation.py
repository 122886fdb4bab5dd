"""Overlap metrics against scikit-learn and hand-worked counts."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from semise_sdk import metrics

NONE = np.empty((0, 3), dtype=np.int64)


@pytest.fixture
def masks():
    generator = np.random.default_rng(0)
    predicted = generator.random((9, 12, 17)) < np.linspace(0.1, 0.9, 9)[:, None, None]
    truth = generator.random((9, 12, 17)) < 0.4
    return predicted, truth


def counts_of(predicted, truth):
    return np.array([metrics.mask_counts(p, t) for p, t in zip(predicted, truth, strict=True)])


def test_agrees_with_scikit_learn(masks):
    counts = counts_of(*masks)
    flat = [(truth.ravel(), predicted.ravel()) for predicted, truth in zip(*masks, strict=True)]
    assert metrics.iou(counts) == pytest.approx(np.mean([jaccard_score(*pair) for pair in flat]))
    assert metrics.dice(counts) == pytest.approx(np.mean([f1_score(*pair) for pair in flat]))
    everything = masks[1].ravel(), masks[0].ravel()
    assert metrics.pooled_iou(counts) == pytest.approx(jaccard_score(*everything))
    assert metrics.pooled_dice(counts) == pytest.approx(f1_score(*everything))


def test_hand_worked_counts():
    # one image half right, one perfect, one with nothing to find and nothing found, one with a false alarm
    counts = np.array([[2, 4, 4], [90, 90, 90], [0, 0, 0], [0, 7, 0]])
    assert metrics.iou(counts) == pytest.approx((2 / 6 + 1 + 1 + 0) / 4)
    assert metrics.dice(counts) == pytest.approx((4 / 8 + 1 + 1 + 0) / 4)
    assert metrics.pooled_iou(counts) == pytest.approx(92 / (101 + 94 - 92))
    assert metrics.pooled_dice(counts) == pytest.approx(2 * 92 / (101 + 94))


@pytest.mark.parametrize("metric", [metrics.iou, metrics.dice, metrics.pooled_iou, metrics.pooled_dice])
def test_degenerate_counts(metric):
    assert metric(NONE) is None
    assert metric(np.zeros((3, 3), dtype=np.int64)) == 1
    assert metric(np.array([[0, 5, 6]])) == 0
    assert metric(np.array([[5, 5, 5]], dtype=np.uint8)) == 1


def test_small_unsigned_counts_do_not_wrap_around():
    assert metrics.pooled_dice(np.array([[200, 200, 200]] * 3, dtype=np.uint8)) == 1


def test_pixel_counts_of_bool_and_of_0_255_masks(masks):
    predicted, truth = masks[0][3], masks[1][3]
    expected = (int((predicted & truth).sum()), int(predicted.sum()), int(truth.sum()))
    assert metrics.mask_counts(predicted, truth) == expected
    assert metrics.mask_counts(predicted.astype(np.uint8) * 255, truth) == expected
    # 128 & 1 is 0: masks drawn with different values must still intersect
    assert metrics.mask_counts(np.full((2, 2), 128, np.uint8), np.ones((2, 2), np.uint8)) == (4, 4, 4)


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        (np.zeros((2, 3), bool), np.zeros((3, 2), bool)),
        (np.zeros((2, 3, 1), bool), np.zeros((2, 3, 1), bool)),
        (np.zeros((2, 3), np.float32), np.zeros((2, 3), bool)),
    ],
    ids=["sizes differ", "three axes", "probabilities"],
)
def test_arrays_that_are_no_masks_are_refused(predicted, truth):
    with pytest.raises(ValueError, match="expected"):
        metrics.mask_counts(predicted, truth)
