"""DICOM situations from public reports: each file gives the right picture, or the refusal that its manifest allows."""

import csv
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.errors import ImageReadError
from semise_sdk.images.preprocess import to_eight_bits
from semise_sdk.images.readers import read_image
from semise_sdk.images.readers.dicom import dicom_support
from semise_sdk.images.record import ImageRecord
from semise_sdk.spec import Intensity

FIELD = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "field"
STILL_WRONG: set[str] = set()
"""Files that do not get the right answer yet. The list is strict: one that does has to leave it."""

SAME, SAME_JPEG = 2, 2.0  # levels: of the worst pixel, and of the mean of a JPEG

pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(not FIELD.is_dir(), reason="needs the image packs at ../shared"),
    pytest.mark.skipif(
        any(kind.version is None for kind in dicom_support()),
        reason="needs every decoder of DICOM: pip install 'semise-sdk[dicom]'",
    ),
]


def cases() -> list[object]:
    """Returns a name and what is right for it, of every file of the pack; those still wrong are marked so."""
    if not FIELD.is_dir():
        return [("no pack", "")]
    with (FIELD / "manifest.csv").open(newline="") as stream:
        rows = [(Path(row["file"]), row["right"]) for row in csv.DictReader(stream)]
    strict = pytest.mark.xfail(reason="still wrong", strict=True)
    return [
        pytest.param(file.stem, right, id=file.stem, marks=[strict] if file.stem in STILL_WRONG else [])
        for file, right in rows
        if file.parts[0] == "dicom"
    ]


def answer(file: Path) -> ImageRecord | ImageReadError:
    try:
        return read_image(file)
    except ImageReadError as error:
        return error


def is_right_refusal(error: ImageReadError, name: str, right: str) -> bool:
    """Whether the manifest allows the refusal, and its sentence names what is unusual."""
    if "not_an_image with the way to fix it" in right:
        return error.code == "not_an_image" and "dcmconv" in error.reason
    if error.code != "unsupported_format":
        return False
    if "names the missing element" in right:
        return f"expected {name.partition('_without_')[2]} in the header, found none" in error.reason
    return "refused by name" in right and "window width" in error.reason


@pytest.mark.parametrize(("name", "right"), cases())
def test_the_answer_is_the_manifests(name: str, right: str) -> None:
    record = answer(FIELD / "dicom" / f"{name}.dcm")
    if isinstance(record, ImageReadError):
        assert is_right_refusal(record, name, right), record.reason
        return
    if right.startswith("refused or review by the frame policy"):
        assert any(note.startswith("frame 1 of") for note in record.notes)
        return
    expected = np.load(FIELD / "dicom" / "expected" / f"{'d9_control' if name.startswith('d9') else name}.npy")
    found = to_eight_bits(record, Intensity("dicom_voi"))
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.mean() <= SAME_JPEG if "JPEG decoded by pillow" in record.notes else difference.max() <= SAME
    if "review" in right:
        assert any(note.startswith("the header says") for note in record.notes), record.notes


def test_every_file_is_in_the_manifest() -> None:
    assert {file.stem for file in (FIELD / "dicom").glob("*.dcm")} == {case.id for case in cases()}
