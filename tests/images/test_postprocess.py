import math

import numpy as np
import pytest
from scipy import special

from semise_sdk.images.postprocess import mask_of, severity_map_of, sigmoid, softmax
from semise_sdk.images.record import Geometry

# A 20 x 40 source, letterboxed into the middle rows of an 8 x 8 canvas.
GEOMETRY = Geometry(
    source_height=20, source_width=40, canvas_height=8, canvas_width=8, top=2, left=0, height=4, width=8
)


def test_softmax_agrees_with_scipy_even_for_large_logits():
    logits = np.random.default_rng(0).normal(scale=300, size=(50, 4)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), special.softmax(logits.astype(np.float64), axis=1), rtol=1e-12)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-12)


def test_sigmoid_agrees_with_scipy_and_never_overflows():
    logits = np.linspace(-200, 200, 4001, dtype=np.float32)
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits.astype(np.float64)), atol=1e-7)
    assert sigmoid(logits).dtype == np.float32


def test_a_mask_has_the_sources_size_and_leaves_the_bars_out():
    logits = np.full((8, 8), 9.0, np.float32)  # the bars are inside too, and must not count
    mask, area = mask_of(logits, GEOMETRY, threshold=0.5)
    assert mask.shape == (20, 40)
    assert mask.dtype == np.uint8
    assert area == 1.0
    logits[2:6, 4:] = -9.0
    mask, area = mask_of(logits, GEOMETRY, threshold=0.5)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[:, :18] == 255).all()
    assert (mask[:, 22:] == 0).all()
    assert area == pytest.approx((mask > 0).sum() / 800)
    assert area == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("threshold", "inside"), [(0.5, True), (0.7, True), (0.8, False)])
def test_a_pixel_belongs_to_the_mask_from_the_threshold_on(threshold, inside):
    logits = np.full((8, 8), math.log(0.75 / 0.25), np.float32)
    mask, area = mask_of(logits, GEOMETRY, threshold=threshold)
    assert area == float(inside)
    assert (mask > 0).all() == inside


def test_a_severity_map_is_brought_to_the_sources_size():
    places = np.array([[0.2, 0.2], [1.4, 1.4]], np.float32)
    severity_map = severity_map_of(places, GEOMETRY)
    assert severity_map.shape == (20, 40)
    assert severity_map.dtype == np.float32
    assert severity_map[0].mean() < 0.8 < severity_map[-1].mean()
    assert severity_map.min() >= 0.2 - 1e-6
    assert severity_map.max() <= 1.4 + 1e-6
