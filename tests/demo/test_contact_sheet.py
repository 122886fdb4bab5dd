import logging

import numpy as np
import pytest
from PIL import Image

from semise_sdk.demo import contact_sheet as module
from semise_sdk.demo.contact_sheet import SheetItem, contact_sheet, ranked_item
from semise_sdk.errors import SpecError
from semise_sdk.results import RankedImage

SIDE, MARGIN, GAP = 40, 16, 12
BELOW = 5 + 6 + 5
LINE = 16


def grey(value: int, shape: tuple[int, int] = (40, 40)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def ranked(**changes) -> RankedImage:
    fields = {"rank": 2, "file": "a/b.png", "severity": 0.12345, "grade": "mild", "status": "ok", "reason": ""}
    return RankedImage(**{**fields, **changes})


def pixels(sheet: Image.Image) -> np.ndarray:
    return np.asarray(sheet)


def corner(row: int, column: int, *, lines: int = 0) -> tuple[int, int]:
    return MARGIN + row * (SIDE + BELOW + LINE * lines + GAP), MARGIN + column * (SIDE + GAP)


def thumbnail(sheet: Image.Image, row: int, column: int, *, lines: int = 0) -> np.ndarray:
    top, left = corner(row, column, lines=lines)
    return pixels(sheet)[top : top + SIDE, left : left + SIDE]


def test_size_follows_from_tiles_columns_and_caption_lines():
    items = [SheetItem(image=grey(0), caption=("one", "two"), severity=0.1)] * 5
    sheet = contact_sheet(items, columns=3, thumbnail=SIDE)
    assert sheet.mode == "RGB"
    assert sheet.size == (2 * MARGIN + 3 * SIDE + 2 * GAP, 2 * MARGIN + 2 * (SIDE + BELOW + 2 * LINE) + GAP)


def test_thumbnails_lie_in_reading_order_on_white():
    items = [SheetItem(image=grey(value), severity=0.1) for value in (10, 60, 110, 160, 210)]
    sheet = contact_sheet(items, columns=3, thumbnail=SIDE)
    for index, value in enumerate((10, 60, 110, 160, 210)):
        assert (thumbnail(sheet, *divmod(index, 3)) == value).all()
    canvas = pixels(sheet)
    assert (canvas[:MARGIN] == 255).all()
    assert (canvas[:, -MARGIN:] == 255).all()
    assert (thumbnail(sheet, 1, 2) == 255).all()


def test_images_keep_their_aspect_ratio_and_small_ones_are_enlarged():
    sheet = contact_sheet([SheetItem(image=grey(50, (10, 20)), severity=0.1)], columns=4, thumbnail=SIDE)
    tile = thumbnail(sheet, 0, 0)
    assert (tile[10:30] == 50).all()
    assert (tile[:10] == 255).all()
    assert (tile[30:] == 255).all()


def test_colour_images_keep_their_colour():
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    sheet = contact_sheet([SheetItem(image=red)], thumbnail=SIDE)
    assert (thumbnail(sheet, 0, 0) == (200, 0, 0)).all()


def test_deep_images_go_through_the_intensity_policy():
    deep = np.full((40, 40), 1000, np.uint16)
    shown = [
        contact_sheet([SheetItem(image=deep)], thumbnail=SIDE, intensity=policy)
        for policy in ("full_range", "window(1000,2000)")
    ]
    assert [int(thumbnail(sheet, 0, 0)[0, 0, 0]) for sheet in shown] == [4, 128]


def test_an_unknown_policy_is_refused():
    with pytest.raises(SpecError, match="intensity policy"):
        contact_sheet([SheetItem(image=grey(0))], intensity="guess")


def test_bars_span_the_range_of_severities_from_green_to_red():
    items = [SheetItem(image=grey(0), severity=value) for value in (1.5, 1.0, 0.5)]
    canvas = pixels(contact_sheet(items, columns=3, thumbnail=SIDE))
    bars = [canvas[MARGIN + SIDE + 5, left : left + SIDE] for left in (corner(0, k)[1] for k in range(3))]
    track = np.array((230, 232, 235))
    lengths = [int((bar != track).any(axis=1).sum()) for bar in bars]
    assert lengths == [40, 21, 4]
    assert [tuple(int(v) for v in bar[0]) for bar in bars] == [(207, 34, 46), (230, 180, 34), (46, 160, 67)]


def test_equal_severities_draw_a_sliver_and_failed_items_no_bar():
    items = [SheetItem(image=grey(0), severity=0.4), SheetItem(image=None, failure="x")]
    canvas = pixels(contact_sheet(items, columns=2, thumbnail=SIDE))
    row = canvas[MARGIN + SIDE + 5]
    assert tuple(row[MARGIN]) == (46, 160, 67)
    assert (row[MARGIN + SIDE + GAP : MARGIN + 2 * SIDE + GAP] == 255).all()


def test_captions_are_drawn_below_the_bar_and_stay_inside_the_tile():
    items = [SheetItem(image=grey(255), caption=("W" * 200,)), SheetItem(image=grey(255))]
    canvas = pixels(contact_sheet(items, columns=2, thumbnail=SIDE))
    text = canvas[MARGIN + SIDE + BELOW : MARGIN + SIDE + BELOW + LINE]
    assert (text[:, MARGIN : MARGIN + SIDE] < 128).any()
    assert (text[:, MARGIN + SIDE :] == 255).all()


def test_mask_outline_is_the_inner_edge_of_the_mask():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    tile = thumbnail(contact_sheet([SheetItem(image=grey(0), mask=mask)], thumbnail=SIDE), 0, 0)
    drawn = (tile == (255, 210, 0)).all(axis=2)
    expected = np.zeros((40, 40), bool)
    expected[10:30, 10:30] = True
    expected[11:29, 11:29] = False
    assert np.array_equal(drawn, expected)


def test_mask_is_scaled_with_the_image():
    mask = np.zeros((80, 80), np.uint8)
    mask[20:60, 20:60] = 255
    tile = thumbnail(contact_sheet([SheetItem(image=grey(0, (80, 80)), mask=mask)], thumbnail=SIDE), 0, 0)
    rows = np.flatnonzero((tile == (255, 210, 0)).all(axis=2).any(axis=1))
    assert (rows[0], rows[-1]) == (10, 29)


def test_an_unreadable_image_is_a_grey_tile_with_its_reason(tmp_path, caplog):
    items = [SheetItem(image=tmp_path / "none.png", severity=0.2), SheetItem(image=grey(7), severity=0.1)]
    with caplog.at_level(logging.WARNING):
        sheet = contact_sheet(items, columns=2, thumbnail=SIDE)
    tile = thumbnail(sheet, 0, 0)
    assert tuple(tile[0, 0]) == (216, 219, 224)
    assert (tile < 128).any()
    assert (thumbnail(sheet, 0, 1) == 7).all()
    assert "not_found" in caplog.text


def test_longer_rankings_are_sampled_evenly_and_the_sheet_says_so():
    items = [SheetItem(image=grey(value), severity=0.1) for value in range(0, 101)]
    sheet = contact_sheet(items, columns=5, thumbnail=SIDE, max_tiles=5)
    plain = contact_sheet(items[:5], columns=5, thumbnail=SIDE)
    header = sheet.height - plain.height
    assert header == LINE + GAP
    row = pixels(sheet)[MARGIN + header]
    assert [int(row[corner(0, column)[1], 0]) for column in range(5)] == [0, 25, 50, 75, 100]
    assert (pixels(sheet)[MARGIN : MARGIN + LINE] < 128).any()


def test_sampled_tiles_include_both_ends_and_never_repeat():
    for count in range(2, 60):
        for most in range(2, 20):
            indices = module._evenly(count, most)
            assert (indices[0], indices[-1]) == (0, count - 1)
            assert len(set(indices)) == len(indices) == min(count, most)


def test_large_thumbnails_leave_room_for_fewer_tiles(monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 30_000)
    items = [SheetItem(image=grey(value), severity=0.1) for value in range(50)]
    sheet = contact_sheet(items, columns=3, thumbnail=SIDE)
    tiles = 30_000 // ((SIDE + GAP) * (SIDE + BELOW + GAP))
    assert tiles == 8
    assert sheet.height == 2 * MARGIN + LINE + GAP + 3 * (SIDE + BELOW) + 2 * GAP


def test_the_default_sheet_stays_below_its_largest_size():
    items = [SheetItem(image=None, caption=("a", "b", "c"), failure="x")] * 1000
    for side in (128, 512):
        sheet = contact_sheet(items, thumbnail=side)
        assert sheet.width * sheet.height < 1.1 * module.MAX_PIXELS


def test_ranked_item_captions_rank_severity_and_grades(tmp_path):
    item = ranked_item(ranked(), tmp_path / "b.png", true_grade="severe")
    assert item.caption == ("#2   0.123", "mild", "true: severe")
    assert ranked_item(ranked(grade=None), None).caption == ("#2   0.123",)


def test_ranked_item_of_a_failed_row_names_the_file_and_the_reason():
    row = ranked(rank=None, severity=None, grade=None, status="error", reason="truncated: b.png")
    item = ranked_item(row, None, true_grade="mild")
    assert (item.caption, item.failure, item.severity) == (("b.png",), "truncated: b.png", None)


@pytest.mark.parametrize("options", [{"columns": 0}, {"thumbnail": 31}, {"thumbnail": 513}, {"max_tiles": 1}])
def test_numbers_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match="expected items"):
        contact_sheet([SheetItem(image=grey(0))], **options)


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="0 items"):
        contact_sheet([])
