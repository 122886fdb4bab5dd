"""What is measured of pictures, by hand, and the limits that calibration images set."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from semise_sdk.calibration.gates import fit_quality
from semise_sdk.calibration.quality import (
    MEASURES,
    Limits,
    laplacian_variance,
    layout_correlation,
    limits_of,
    look,
    natural_limits,
)
from semise_sdk.demo.phantoms import draw_phantom
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.results import PASSED
from semise_sdk.spec import InputSpec

SPEC = InputSpec(height=48, width=48)


def seen(pixels, spec=SPEC):
    return look(to_canvas(read_image(np.asarray(pixels, np.uint8)), spec))


@pytest.fixture(scope="module")
def gate():
    return fit_quality([seen(draw_phantom(index % 5, seed=index, size=64).image) for index in range(120)])


def phantom(seed=500, severity=2):
    return draw_phantom(severity, seed=seed, size=64).image


def test_measures_by_hand():
    pixels = np.zeros((32, 64), np.uint8)
    pixels[:, 32:] = 255
    picture = seen(pixels, InputSpec(height=48, width=96))
    assert picture.values["side"] == 32
    assert picture.values["aspect"] == 2.0
    assert picture.values["contrast"] == 255
    for name in ("field", "white"):  # a resize greys the column between
        assert picture.values[name] == pytest.approx(0.5, abs=0.02)
    assert picture.values["brightness"] == pytest.approx(127.5, abs=0.5)
    assert not picture.is_constant


def test_the_bars_of_a_letterbox_do_not_count():
    tall = np.full((96, 24), 200, np.uint8)
    picture = seen(tall)
    assert picture.values["brightness"] == 200
    assert picture.values["field"] == 1
    assert picture.is_constant


def test_laplacian_variance_by_hand():
    grey = np.zeros((3, 4), np.uint8)
    grey[1, 1] = 10
    # around - 4 * middle at the two inner pixels: -40 and 10
    assert laplacian_variance(grey) == np.var([-40, 10])
    assert laplacian_variance(np.zeros((2, 9), np.uint8)) == 0


def test_layout_is_numpys_correlation():
    one, other = np.random.default_rng(0).random((2, 256))
    assert layout_correlation(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert layout_correlation(one, np.ones(256)) == 0
    assert layout_correlation(one, 255 - one) == pytest.approx(-1)


def test_limits_by_hand():
    values = np.arange(0, 201, 1.0)  # 201 values, median 100; 99 % of 202 is 199.98: the 200th, 199
    limits = limits_of(values, MEASURES["brightness"])
    assert (limits.review_low, limits.review_high) == (1, 199)
    assert (limits.abstain_low, limits.abstain_high) == (-98, 298)
    few = limits_of(np.array([50.0, 52.0]), MEASURES["contrast"])
    assert (few.review_low, few.review_high) == (51 - 8, None)  # alike as they are, 8 levels are no difference


def test_correlations_are_held_apart_where_they_crowd():
    layout = MEASURES["layout"]
    assert layout.scaled(0.5) == pytest.approx(0.5 * np.log(1.5 / 0.5))  # Fisher's z
    assert layout.natural(layout.scaled(-0.3)) == pytest.approx(-0.3)
    assert np.isfinite([layout.scaled(1.0), layout.scaled(-1.0)]).all()
    limits = limits_of(np.array([0.6] * 99 + [0.0]), layout)
    assert -1 < layout.natural(limits.abstain_low) == pytest.approx(-0.6)


def test_pictures_like_the_calibrations_pass(gate):
    verdicts = [gate.judge(seen(phantom(seed=1000 + index, severity=index % 5))) for index in range(60)]
    assert sum(verdict.status == "abstain" for verdict in verdicts) <= 1
    assert sum(verdict == PASSED for verdict in verdicts) >= 48


SPOILED = {
    "quality_size": lambda image: np.asarray(Image.fromarray(image).resize((20, 20))),
    "quality_aspect": lambda image: np.asarray(Image.fromarray(image).resize((256, 64))),
    "quality_contrast": lambda image: (image // 16 + 100).astype(np.uint8),
    "quality_blur": lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(6))),
    "quality_exposure": lambda image: np.clip(image.astype(int) + 200, 0, 255),
}


@pytest.mark.parametrize("code", SPOILED)
def test_a_spoiled_picture_is_named(gate, code):
    verdict = gate.judge(seen(SPOILED[code](phantom())))
    assert verdict.status in ("abstain", "review")
    assert f"{code}: expected " in verdict.reason
    assert ", found " in verdict.reason


def test_a_turned_or_inverted_picture_breaks_the_layout():
    generator = np.random.default_rng(2)
    ramp = np.linspace(30, 220, 64)[:, None].repeat(64, axis=1)
    pictures = [ramp + generator.normal(0, 20, (64, 64)) for _ in range(120)]
    gate = fit_quality([seen(np.clip(one, 0, 255)) for one in pictures[:119]])
    last = np.clip(pictures[119], 0, 255).astype(np.uint8)
    assert gate.judge(seen(last)) == PASSED
    for spoiled in (last[::-1], last.T, 255 - last):
        verdict = gate.judge(seen(spoiled))
        assert (verdict.status, verdict.reason.split(":")[0]) == ("abstain", "quality_layout")


def test_limits_are_told_in_natural_units_where_an_image_can_pass_them():
    limits = Limits(review_low=20, abstain_low=-4, review_high=250, abstain_high=255)
    told = natural_limits("brightness", limits)
    assert told == {"review_low": 20, "abstain_low": None, "review_high": 250, "abstain_high": None}
    assert natural_limits("side", Limits(review_low=math.log(65), abstain_low=-0.1)) == {
        "review_low": pytest.approx(64),
        "abstain_low": None,
        "review_high": None,
        "abstain_high": None,
    }
    assert natural_limits("layout", Limits(review_low=0.0, abstain_low=-30))["abstain_low"] is None


def test_every_measure_of_a_picture_lies_in_its_span(gate):
    for picture in (seen(phantom()), seen(np.zeros((32, 32))), seen(np.full((40, 40), 255))):
        for name, value in picture.values.items():
            least, most = MEASURES[name].span
            assert least - 1e-9 <= value <= most + 1e-9  # a sum of shares is rounded
