import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from semise_sdk.images.preprocess import display_pixels
from semise_sdk.images.readers import read_image
from semise_sdk.reports.overlay import MAP_TOP, encode_png, mask_layer, mask_overlay, severity_layer, severity_overlay
from semise_sdk.results import INTENDED_USE
from semise_sdk.spec import InputSpec

GREY = np.full((10, 12, 3), 100, np.uint8)


def test_no_severity_leaves_the_image_as_it_is():
    np.testing.assert_array_equal(severity_overlay(GREY, np.zeros((10, 12), np.float32)), GREY)


@pytest.mark.parametrize("severity", [0.25, 0.5, 0.75, 1.0, 2.0])
def test_colours_are_infernos_on_a_scale_that_is_the_same_for_every_image(severity):
    share = min(severity / MAP_TOP, 1.0)
    expected = 100 + 0.7 * share * (255 * np.array(mpl.colormaps["inferno"](share)[:3]) - 100)
    drawn = severity_overlay(GREY, np.full((10, 12), severity, np.float32))
    assert np.abs(drawn[0, 0] - expected).max() < 12  # between the eight anchors we go straight
    assert (drawn == drawn[0, 0]).all()


def test_more_severe_is_brighter_everywhere_on_the_scale():
    levels = np.linspace(0.2, 1, 50, dtype=np.float32)[None]
    drawn = severity_overlay(np.zeros((1, 50, 3), np.uint8), levels)
    assert (np.diff(drawn.astype(int).sum(axis=2)) >= 0).all()


def test_a_mask_is_tinted_with_a_full_outline():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    drawn = mask_overlay(np.full((40, 40, 3), 100, np.uint8), mask)
    assert tuple(drawn[10, 20]) == (255, 64, 64)
    assert tuple(drawn[20, 20]) == (139, 91, 91)  # a quarter of the way
    assert tuple(drawn[5, 5]) == (100, 100, 100)
    assert tuple(drawn[9, 20]) == (100, 100, 100)


def test_an_empty_mask_changes_nothing():
    np.testing.assert_array_equal(mask_overlay(GREY, np.zeros((10, 12), np.uint8)), GREY)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_the_smallest_pictures_are_drawn(side):
    pixels = np.zeros((side, side, 3), np.uint8)
    assert mask_overlay(pixels, np.full((side, side), 255, np.uint8)).shape == (side, side, 3)
    assert severity_overlay(pixels, np.ones((side, side), np.float32)).shape == (side, side, 3)


def test_deep_and_grey_images_are_shown_as_the_model_sees_them():
    deep = np.array([[0, 1000], [2000, 3000]], np.uint16)
    spec = InputSpec(height=16, width=16, intensity="window(1500,1000)")
    shown = display_pixels(read_image(deep), spec)
    np.testing.assert_array_equal(shown[:, :, 0], [[0, 0], [255, 255]])
    assert shown.shape == (2, 2, 3)
    assert (shown[:, :, 0] == shown[:, :, 2]).all()


def test_a_png_comes_back_the_same_every_time_with_its_purpose_inside():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data = encode_png(pixels, "Severity map.")
    assert data == encode_png(pixels, "Severity map.")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert image.info["Description"] == f"Severity map. {INTENDED_USE}"
    with Image.open(io.BytesIO(encode_png(pixels[:, :, 0]))) as image:
        assert image.mode == "L"
        assert "Description" not in image.info


def laid_over(layer: np.ndarray, opacity: float) -> np.ndarray:
    """Returns what a browser shows of a layer over GREY at an opacity."""
    alpha = opacity * layer[:, :, 3:] / 255
    return alpha * layer[:, :, :3] + (1 - alpha) * GREY


def test_a_layer_at_the_overlays_opacity_is_the_overlay():
    severity = np.linspace(0, 1.2, 120, dtype=np.float32).reshape(10, 12)
    assert np.abs(laid_over(severity_layer(severity), 0.7) - severity_overlay(GREY, severity)).max() < 1.5


def test_a_mask_layer_is_the_mask_overlay():
    mask = np.zeros((10, 12), np.uint8)
    mask[2:8, 3:9] = 255
    layer = mask_layer(mask)
    assert np.abs(laid_over(layer, 1) - mask_overlay(GREY, mask)).max() < 1.5
    assert (layer[mask == 0, 3] == 0).all()
