"""Intensity, geometry and canvas against hand-worked numbers and independent arithmetic."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.errors import ImageReadError, SpecError
from semise_sdk.images.preprocess import geometry_for, to_canvas, to_eight_bits
from semise_sdk.images.readers import read_image
from semise_sdk.images.record import ImageRecord
from semise_sdk.spec import InputSpec, Intensity

SIDES = st.integers(1, 3000)
CANVAS_SIDES = st.integers(16, 300)


def levels(array: NDArray[np.generic], policy: str, bits: int | None = None) -> list[object]:
    record = read_image(array)
    if bits is not None:
        record = ImageRecord(pixels=record.pixels, bits=bits, source="x", format="TIFF")
    mapped = to_eight_bits(record, Intensity.parse(policy))
    assert mapped.dtype == np.uint8
    assert mapped.shape == record.pixels.shape
    return list(mapped.ravel())


def noise(*shape: int, seed: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class TestIntensity:
    def test_eight_bits_are_their_own_full_range(self) -> None:
        pixels = noise(5, 6, 3)
        np.testing.assert_array_equal(to_eight_bits(read_image(pixels), Intensity("full_range")), pixels)

    def test_full_range_of_sixteen_bits(self) -> None:
        # 65535 / 255 = 257: level = value / 257, so 128 (0.498) is level 0 and 129 (0.502) is level 1.
        values = np.array([[0, 128, 129, 32767, 32768, 65535]], np.uint16)
        assert levels(values, "full_range") == [0, 0, 1, 127, 128, 255]

    def test_full_range_of_twelve_bits_clips_what_lies_above(self) -> None:
        # 255 / 4095 = 0.06227: 2048 is 127.53.
        values = np.array([[0, 8, 9, 2048, 4095, 5000]], np.uint16)
        assert levels(values, "full_range", bits=12) == [0, 0, 1, 128, 255, 255]

    @pytest.mark.parametrize("kind", [np.int32, np.float32])
    def test_window(self, kind: type) -> None:
        # [-160, 240]: 141 is 301/400 * 255 = 191.89; 40 is 127.5, rounded up.
        values = np.array([[-2000, -160, 40, 141, 240, 3000]], kind)
        assert levels(values, "window(40,400)") == [0, 0, 128, 192, 255, 255]

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    def test_window_of_unsigned_pixels(self, kind: type) -> None:
        # [50, 150]: 100 is 127.5, rounded up; 51 is 2.55.
        assert levels(np.array([[0, 50, 51, 100, 150, 255]], kind), "window(100,100)") == [0, 0, 3, 128, 255, 255]

    def test_window_keeps_large_integers_apart(self) -> None:
        # float32 cannot tell these three apart.
        values = np.array([[2_000_000_000, 2_000_000_001, 2_000_000_002]], np.int32)
        assert levels(values, "window(2000000001,2)") == [0, 128, 255]

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
    def test_percentiles_are_the_images_own(self, kind: type) -> None:
        values = np.arange(101, dtype=kind).reshape(1, 101)  # its p-th percentile is p
        mapped = levels(values, "percentile(10,90)")
        assert mapped[:11] == [0] * 11
        assert (mapped[50], mapped[51]) == (128, 131)  # 127.5 and 41/80 * 255 = 130.69
        assert mapped[90:] == [255] * 11

    def test_percentiles_are_those_of_all_channels_together(self) -> None:
        pixels = np.zeros((10, 10, 3), np.uint8)
        pixels[:, :, 2] = 100
        assert set(levels(pixels, "percentile(0,100)")) == {0, 255}

    def test_coinciding_percentiles_split_the_image(self) -> None:
        assert set(levels(np.full((4, 4), 77, np.uint16), "percentile(1,99)")) == {0}
        values = np.zeros((1, 100), np.float32)
        values[0, 0] = 5
        assert levels(values, "percentile(1,90)") == [255] + [0] * 99

    @pytest.mark.parametrize("kind", [np.int32, np.float32])
    def test_wide_pixels_have_no_full_range(self, kind: type) -> None:
        with pytest.raises(ImageReadError, match="bundle trained with a window or percentile policy") as caught:
            to_eight_bits(read_image(np.zeros((3, 3), kind)), Intensity("full_range"))
        assert caught.value.code == "no_full_range"

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("policy", ["window(0,1)", "percentile(0,100)"])
    def test_pixels_must_be_finite(self, bad: float, policy: str) -> None:
        with pytest.raises(ImageReadError) as caught:
            levels(np.array([[0, bad]], np.float32), policy)
        assert caught.value.code == "not_finite"

    def test_dicom_policy_needs_dicom(self) -> None:
        with pytest.raises(SpecError, match="needs DICOM"):
            levels(noise(3, 3), "dicom_voi")


class TestGeometry:
    @pytest.mark.parametrize(
        ("size", "canvas", "expected"),
        [
            ((100, 200), (224, 224), (56, 0, 112, 224)),
            ((200, 100), (224, 224), (0, 56, 224, 112)),
            ((300, 300), (224, 224), (0, 0, 224, 224)),
            ((10, 10), (32, 64), (0, 16, 32, 32)),
            ((471, 552), (224, 224), (16, 0, 191, 224)),  # 224 * 471 / 552 = 191.13
            ((3, 64), (64, 32), (31, 0, 2, 32)),  # 1.5 rounds up
            ((1, 5000), (224, 224), (111, 0, 1, 224)),
            ((5000, 1), (64, 64), (0, 31, 64, 1)),
        ],
    )
    def test_letterbox_by_hand(
        self, size: tuple[int, int], canvas: tuple[int, int], expected: tuple[int, int, int, int]
    ) -> None:
        found = geometry_for(*size, InputSpec(height=canvas[0], width=canvas[1]))
        assert (found.top, found.left, found.height, found.width) == expected

    def test_stretch_fills_the_canvas(self) -> None:
        found = geometry_for(10, 999, InputSpec(height=64, width=48, fit="stretch"))
        assert (found.top, found.left, found.height, found.width) == (0, 0, 64, 48)

    def test_an_image_without_pixels_is_a_programming_error(self) -> None:
        with pytest.raises(ValueError, match="at least 1 x 1"):
            geometry_for(0, 5, InputSpec(height=64, width=64))

    @given(SIDES, SIDES, CANVAS_SIDES, CANVAS_SIDES)
    @example(99_999_999, 1, 224, 224)
    def test_letterbox_fits_centred_and_keeps_the_aspect(
        self, height: int, width: int, rows: int, columns: int
    ) -> None:
        found = geometry_for(height, width, InputSpec(height=rows, width=columns))
        assert found.height == rows or found.width == columns
        assert 1 <= found.height <= rows
        assert 1 <= found.width <= columns
        assert 0 <= rows - found.height - 2 * found.top <= 1
        assert 0 <= columns - found.width - 2 * found.left <= 1
        scale = min(rows / height, columns / width)
        assert found.height == pytest.approx(max(1, height * scale), abs=0.5 + 1e-6)
        assert found.width == pytest.approx(max(1, width * scale), abs=0.5 + 1e-6)


class TestCanvas:
    @pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos", "box"])
    def test_it_is_pillows_resize_on_a_padded_canvas(self, name: str) -> None:
        pixels = noise(60, 90, 3)
        canvas = to_canvas(read_image(pixels), InputSpec(height=48, width=48, interpolation=name, pad_value=9))
        inner = Image.fromarray(pixels).resize((48, 32), Image.Resampling[name.upper()])
        np.testing.assert_array_equal(canvas.pixels[8:40], np.asarray(inner))
        assert (canvas.pixels[:8] == 9).all()
        assert (canvas.pixels[40:] == 9).all()
        assert canvas.pixels.dtype == np.uint8

    def test_grey_pixels_are_the_same_three_times(self) -> None:
        grey = noise(50, 70)
        spec = InputSpec(height=32, width=48)
        canvas = to_canvas(read_image(grey), spec).pixels
        np.testing.assert_array_equal(canvas, to_canvas(read_image(np.dstack([grey] * 3)), spec).pixels)
        assert canvas.shape == (32, 48, 3)

    def test_an_image_of_the_canvas_size_is_not_touched(self) -> None:
        pixels = noise(40, 56, 3)
        np.testing.assert_array_equal(to_canvas(read_image(pixels), InputSpec(height=40, width=56)).pixels, pixels)

    def test_grey_colour_is_luminance(self) -> None:
        # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[:4], pixels[4:8], pixels[8:12], pixels[12:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 90)
        canvas = to_canvas(read_image(pixels), InputSpec(height=16, width=16, colour="grey")).pixels
        assert [list(canvas[row, 0]) for row in (0, 4, 8, 12)] == [[76] * 3, [150] * 3, [29] * 3, [131] * 3]

    def test_the_same_picture_at_eight_and_sixteen_bits_is_the_same_canvas(self) -> None:
        eight = noise(50, 70)
        spec = InputSpec(height=32, width=32)
        sixteen = to_canvas(read_image(eight.astype(np.uint16) * 257), spec)
        np.testing.assert_array_equal(sixteen.pixels, to_canvas(read_image(eight), spec).pixels)

    @pytest.mark.parametrize("name", ["bilinear", "box"])
    def test_sixteen_bits_stay_within_three_roundings_of_exact_arithmetic(self, name: str) -> None:
        pixels = np.random.default_rng(5).integers(0, 65536, (90, 120), dtype=np.uint16)
        spec = InputSpec(height=32, width=32, fit="stretch", interpolation=name)
        exact = Image.fromarray(pixels.astype(np.float32) / 257).resize((32, 32), Image.Resampling[name.upper()])
        difference = to_canvas(read_image(pixels), spec).pixels[:, :, 0] - np.asarray(exact)
        assert abs(difference).max() <= 1.5
        assert abs(difference).mean() < 0.5

    @pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (2, 3)])
    @pytest.mark.parametrize("fit", ["letterbox", "stretch"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_any_shape_fits(self, size: tuple[int, int], fit: str, channels: int) -> None:
        pixels = np.full((*size, channels), 200, np.uint8)
        canvas = to_canvas(read_image(pixels), InputSpec(height=64, width=64, fit=fit)).pixels
        assert canvas.shape == (64, 64, 3)
        assert canvas.max() == 200

    def test_it_is_the_same_every_time_and_leaves_its_input_alone(self) -> None:
        pixels = noise(33, 44, 3)
        before = pixels.copy()
        first, second = (to_canvas(read_image(pixels), InputSpec(height=32, width=32)) for _ in range(2))
        np.testing.assert_array_equal(first.pixels, second.pixels)
        np.testing.assert_array_equal(pixels, before)
