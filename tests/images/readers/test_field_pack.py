"""Inputs of public bug reports: what is right of each file is in the pack's manifest.csv, and is checked here."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.images.record import ImageRecord
from semise_sdk.spec import InputSpec

PACK = Path(__file__).resolve().parents[4] / "shared" / "data" / "field"
SPEC = InputSpec(height=160, width=160)
STILL_WRONG = {"r7_wide_gamut.jpg", "r7_wide_gamut.png"}
"""Files that are not read rightly yet. The test of one fails as soon as it is: take it off the list then."""

pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(not PACK.is_dir(), reason="needs the image packs at ../shared"),
]


def canvas(source: Path | NDArray[np.generic]) -> NDArray[np.uint8]:
    return to_canvas(read_image(source), SPEC).pixels


def is_read(path: Path) -> ImageRecord:
    record = read_image(path)
    assert (record.height, record.width) == (160, 160)
    return record


def is_severe(path: Path) -> None:
    np.testing.assert_array_equal(canvas(path), canvas(path.with_name("severe.png")))


def is_severe_with_a_note(path: Path) -> None:
    is_severe(path)
    assert read_image(path).notes


def refusal(path: Path) -> ImageReadError | None:
    try:
        read_image(path)
    except ImageReadError as error:
        return error
    return None


def is_severe_or_unsupported(path: Path) -> None:
    error = refusal(path)
    if error is None:
        is_severe(path)
    else:
        assert error.code == "unsupported_format"
        assert "save" in str(error)


def has_the_right_colours(path: Path) -> None:
    right, found = canvas(path.with_name("r7_right_srgb.png")), canvas(path)
    is_converted = np.abs(found.astype(int) - right).max() <= 3
    assert is_converted or any("profile" in note for note in read_image(path).notes)


def is_array_of_its_file(path: Path) -> None:
    np.testing.assert_array_equal(canvas(np.load(path)), canvas(path.with_suffix(".png")))


def is_refused(*codes: str) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        error = refusal(path)
        assert error is not None
        assert error.code in codes

    return check


RIGHT: dict[str, Callable[[Path], object]] = {
    "read: the whole picture": is_read,
    "read: equal to severe.png": is_severe,
    "read: the second page (full resolution), with a note, or refused by name": is_severe_with_a_note,
    "read: the full-resolution SubIFD, or refused as camera raw": is_severe_with_a_note,
    "read": is_read,
    "read as sRGB": is_read,
    "read, or unsupported_format": is_severe_or_unsupported,
    "error: truncated or damaged": is_refused("truncated", "damaged"),
    "error: truncated": is_refused("truncated"),
    "error: damaged": is_refused("damaged"),
    "abstain or read opaque with a note": is_severe_with_a_note,
    "read: the colours that r7_wide_gamut means": is_read,
    "read: as r7_right_srgb.png, or a note that the profile was not applied": has_the_right_colours,
    "as an array: equal to r8_rgb16.png": is_array_of_its_file,
}


def rows() -> list[dict[str, str]]:
    if not PACK.is_dir():
        return []
    with (PACK / "manifest.csv").open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["file"].startswith("raster/")]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_a_file_of_a_report_is_read_rightly(row: dict[str, str], request: pytest.FixtureRequest) -> None:
    path = PACK / row["file"]
    if path.name in STILL_WRONG:
        request.applymarker(pytest.mark.xfail(strict=True))
    RIGHT[row["right"]](path)


def test_the_list_of_what_is_still_wrong_names_files_of_the_pack() -> None:
    assert {Path(row["file"]).name for row in rows()} >= STILL_WRONG
