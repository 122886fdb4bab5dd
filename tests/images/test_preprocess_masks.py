"""Masks go to the canvas and back where their image goes, and no lesion is lost on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from semise_sdk.images.preprocess import geometry_for, mask_to_source, place_mask, to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.images.record import Geometry
from semise_sdk.spec import InputSpec

SOURCE_SIDES = st.integers(1, 700)
CANVAS_SIDES = st.integers(16, 300)


class TestMask:
    def test_half_coverage_decides_by_hand(self) -> None:
        mask = np.zeros((32, 32), np.uint8)
        mask[0:4, 0:4] = 255  # four whole canvas pixels
        mask[0:4, 4] = 255  # half of the two to their right: they belong
        mask[4, 0] = 255  # a quarter of the one below: it does not, for it touches the lesion
        mask[20, 21] = 127  # below the middle: no lesion at all
        placed = place_mask(mask, InputSpec(height=16, width=16))
        expected = np.zeros((16, 16), np.uint8)
        expected[0:2, 0:3] = 255
        np.testing.assert_array_equal(placed, expected)

    def test_half_counts_although_float32_sums_to_a_little_less(self) -> None:
        tile = (np.arange(29 * 6) < 29 * 3).reshape(29, 6)  # Pillow's box filter makes it 0.49999997
        mask = np.tile(np.where(tile, np.uint8(255), np.uint8(0)), (16, 16))
        mask[:29, :6] = 255  # without a fuller neighbour the half covered pixels would count as peaks
        assert (place_mask(mask, InputSpec(height=16, width=16, fit="stretch")) == 255).all()

    @given(st.integers(0, 999), st.integers(0, 1499))
    @settings(max_examples=30, deadline=None)
    def test_a_lesion_of_one_pixel_stays_where_it_is(self, row: int, column: int) -> None:
        mask = np.zeros((1000, 1500), np.uint8)
        mask[row, column] = 255
        rows, columns = np.nonzero(place_mask(mask, InputSpec(height=48, width=48)))
        assert len(rows) == 1
        assert abs(rows[0] - (8 + (row + 0.5) * 32 / 1000 - 0.5)) <= 0.5 + 1e-6
        assert abs(columns[0] - ((column + 0.5) * 48 / 1500 - 0.5)) <= 0.5 + 1e-6

    @given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 5]), st.floats(0.001, 0.3))
    @settings(max_examples=40, deadline=None)
    def test_no_lesion_vanishes_and_none_found_grows(self, seed: int, shrink: int, density: float) -> None:
        mask = np.where(
            np.random.default_rng(seed).random((24 * shrink, 24 * shrink)) < density, np.uint8(255), np.uint8(0)
        )
        placed = place_mask(mask, InputSpec(height=24, width=24)) > 0
        covered = (mask > 0).reshape(24, shrink, 24, shrink).mean((1, 3))
        assert (placed | (covered < 0.499)).all()
        lesions, count = ndimage.label(covered > 0, np.ones((3, 3)))
        assert set(np.unique(lesions[placed])) == set(range(1, count + 1))
        beside = ndimage.binary_dilation(covered >= 0.5, np.ones((3, 3)))
        np.testing.assert_array_equal(placed[beside], (covered >= 0.5)[beside])

    def test_the_area_of_a_lesion_is_kept(self) -> None:
        rows, columns = np.mgrid[:701, :701]
        disc = np.where((rows - 350) ** 2 + (columns - 320) ** 2 < 200**2, np.uint8(255), np.uint8(0))
        placed = place_mask(disc, InputSpec(height=224, width=224))
        assert (placed > 0).mean() == pytest.approx((disc > 0).mean(), rel=0.005)

    def test_it_lies_where_its_image_lies(self) -> None:
        mask = np.zeros((90, 160), np.uint8)
        mask[20:70, 30:75] = 255
        spec = InputSpec(height=64, width=96, pad_value=255)
        geometry = geometry_for(90, 160, spec)
        inside = to_canvas(read_image(mask), spec).pixels[geometry.top : geometry.top + geometry.height, :, 0] > 127
        placed = place_mask(mask, spec)
        assert (placed[geometry.top : geometry.top + geometry.height] > 0).sum() == pytest.approx(
            inside.sum(), rel=0.03
        )
        assert not placed[: geometry.top].any()
        assert not placed[geometry.top + geometry.height :].any()

    @pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
    def test_any_shape_fits(self, size: tuple[int, int]) -> None:
        placed = place_mask(np.full(size, 255, np.uint8), InputSpec(height=16, width=16))
        assert placed.shape == (16, 16)
        assert placed.any()

    @pytest.mark.parametrize("mask", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool), np.zeros((4, 4), float)])
    def test_other_arrays_are_a_programming_error(self, mask: NDArray[np.generic]) -> None:
        with pytest.raises(ValueError, match="expected a mask uint8"):
            place_mask(mask, InputSpec(height=16, width=16))  # type: ignore[arg-type]


class TestMaskToSource:
    def test_bilinear_by_hand(self) -> None:
        # From 2 to 4 pixels the new centres lie at 0.25, 0.75, 1.25, 1.75 source pixels.
        geometry = Geometry(
            source_height=1, source_width=4, canvas_height=2, canvas_width=2, top=0, left=0, height=1, width=2
        )
        found = mask_to_source(np.array([[0, 1], [9, 9]], np.float32), geometry)
        np.testing.assert_allclose(found, [[0, 0.25, 0.75, 1]], atol=1e-6)
        assert found.dtype == np.float32

    def test_a_coarse_map_is_scaled_to_the_canvas_first(self) -> None:
        # 7 x 7 over a 224-pixel canvas: each cell covers 32 pixels, centred at 16, 48, ...
        ramp = np.tile(np.arange(7, dtype=np.float32), (7, 1))
        geometry = geometry_for(224, 224, InputSpec(height=224, width=224))
        found = mask_to_source(ramp, geometry)
        centres = np.arange(224) + 0.5
        np.testing.assert_allclose(found[100], np.clip(centres / 32 - 0.5, 0, 6), atol=1e-5)

    @given(SOURCE_SIDES, SOURCE_SIDES, CANVAS_SIDES, CANVAS_SIDES)
    @settings(max_examples=60, deadline=None)
    def test_the_bars_never_bleed_into_the_image(self, height: int, width: int, rows: int, columns: int) -> None:
        geometry = geometry_for(height, width, InputSpec(height=rows, width=columns))
        probability = np.ones((rows, columns), np.float32)
        inside = np.s_[geometry.top : geometry.top + geometry.height, geometry.left : geometry.left + geometry.width]
        probability[inside] = 0
        found = mask_to_source(probability, geometry)
        assert found.shape == (height, width)
        assert (found == 0).all()

    @given(st.integers(40, 400), st.integers(40, 400), st.sampled_from([(64, 64), (96, 48), (200, 300)]))
    @settings(max_examples=40, deadline=None)
    def test_a_mask_goes_to_the_canvas_and_back(self, height: int, width: int, canvas: tuple[int, int]) -> None:
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : height // 2 + 1, width // 3 : width - width // 5] = 255
        spec = InputSpec(height=canvas[0], width=canvas[1])
        back = mask_to_source((place_mask(mask, spec) / 255).astype(np.float32), geometry_for(height, width, spec))
        rows, columns = np.nonzero(back >= 0.5)
        pixel = max(1.0, height / canvas[0], width / canvas[1])  # one canvas pixel, in source pixels
        assert abs(rows.min() - height // 4) <= pixel
        assert abs(rows.max() - height // 2) <= pixel
        assert abs(columns.min() - width // 3) <= pixel
        assert abs(columns.max() - (width - width // 5 - 1)) <= pixel

    def test_other_shapes_are_a_programming_error(self) -> None:
        geometry = geometry_for(20, 20, InputSpec(height=16, width=16))
        with pytest.raises(ValueError, match=r"expected a map \[h, w\]"):
            mask_to_source(np.zeros((1, 16, 16), np.float32), geometry)
