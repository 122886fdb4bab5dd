"""110 real DICOM files of every kind: each is read as pydicom reads it, or refused with a code."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.errors import ImageReadError
from semise_sdk.images.preprocess import to_eight_bits
from semise_sdk.images.readers import find_images, read_image
from semise_sdk.images.readers.dicom import dicom_support
from semise_sdk.images.record import ImageRecord
from semise_sdk.spec import DicomPolicy, Intensity

PACK = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "robustness"
ANY = DicomPolicy(sop_classes=("any",))
REFUSED = {
    "unsupported_sop_class": 11,  # segmentations and parametric maps
    "unsupported_transfer_syntax": 15,  # JPEG lossless and of 12 bits
    "unsupported_format": 4,  # samples of 32 bits
    "truncated": 1,
}
IN_JPEG_LS = 20
REFUSED_BY_PYJPEGLS = 1  # MR1_JLSL, whose stream pydicom reads with GDCM alone

pydicom = pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(not PACK.is_dir(), reason="needs the image packs at ../shared"),
    pytest.mark.skipif(
        {kind.package: kind.version for kind in dicom_support()}["pylibjpeg-openjpeg"] is None,
        reason="needs pylibjpeg-openjpeg: pip install 'semise-sdk[dicom]'",
    ),
]


@cache
def outcomes() -> dict[str, ImageRecord | str]:
    """Returns the record of each file, or the code of its refusal."""
    found: dict[str, ImageRecord | str] = {}
    for image in find_images([PACK / "dicom_pydicom", PACK / "dicom_wg04"]):
        try:
            found[str(image.source.relative_to(PACK))] = read_image(image.source, dicom=ANY)
        except ImageReadError as error:
            found[str(image.source.relative_to(PACK))] = error.code
    return found


def codes() -> dict[str, int]:
    refusals = [outcome for outcome in outcomes().values() if isinstance(outcome, str)]
    return {code: refusals.count(code) for code in set(refusals)}


def read() -> dict[str, ImageRecord]:
    return {file: outcome for file, outcome in outcomes().items() if not isinstance(outcome, str)}


def dataset_of(file: str) -> pydicom.Dataset:
    return pydicom.dcmread(PACK / file, force=True)  # some have no preamble


def manifest() -> dict[str, dict[str, str]]:
    with (PACK / "manifest.csv").open(newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream) if row["kind"].startswith("dicom")}


def test_every_file_is_read_or_refused_by_a_listed_code() -> None:
    counted = codes()
    in_jpeg_ls = counted.pop("missing_package", 0)
    assert in_jpeg_ls in (0, IN_JPEG_LS)
    assert counted == (REFUSED if in_jpeg_ls else {**REFUSED, "damaged": REFUSED_BY_PYJPEGLS})
    assert set(outcomes()) == set(manifest())


def test_what_pydicom_cannot_decode_is_refused() -> None:
    failing = [file for file, row in manifest().items() if row["decodes"] != "ok"]
    assert len(failing) == 13
    assert [file for file in failing if file in read()] == []


def test_values_are_pydicoms() -> None:
    grey = {file: record for file, record in read().items() if record.grey is not None}
    assert len(grey) >= 29
    for file, record in grey.items():
        dataset = dataset_of(file)
        stored = dataset.pixel_array
        stored = stored[0] if stored.ndim == 3 else stored
        np.testing.assert_array_equal(record.pixels, stored, err_msg=file)
        assert record.grey is not None
        if "SharedFunctionalGroupsSequence" not in dataset:
            modality = pydicom.pixels.apply_modality_lut(stored, dataset)
            np.testing.assert_array_equal(record.grey.modality[record.pixels - record.grey.first], modality)


def test_windows_are_pydicoms() -> None:
    windowed = 0
    for file, record in read().items():
        if record.grey is None or record.grey.shown is None:
            continue
        dataset = dataset_of(file)
        if dataset.get("WindowCenter") is None:
            continue
        windowed += 1
        modality = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
        by_pydicom = pydicom.pixels.apply_windowing(modality, dataset)
        ends = pydicom.pixels.apply_windowing(np.array([-1e9, 1e9]), dataset)
        share = (by_pydicom - ends[0]) / (ends[1] - ends[0])
        levels = 255 * (1 - share if dataset.PhotometricInterpretation == "MONOCHROME1" else share)
        found = to_eight_bits(record, Intensity("dicom_voi"))
        assert np.abs(found - levels).max() <= 0.5 + 1e-6, file
    assert windowed >= 15


def test_colours_are_pydicoms() -> None:
    colour = {file: record for file, record in read().items() if record.grey is None}
    assert len(colour) >= 25
    for file, record in colour.items():
        dataset = dataset_of(file)
        pixels = dataset.pixel_array
        if dataset.get("NumberOfFrames", 1) > 1:
            pixels = pixels[0]
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            pixels = pydicom.pixels.apply_color_lut(pixels, dataset)
        pixels = pixels[0] if pixels.ndim == 4 else pixels
        expected = pixels >> 8 if pixels.dtype.itemsize == 2 else pixels
        np.testing.assert_array_equal(record.pixels, expected, err_msg=file)


def test_the_radiographs_whose_low_values_are_white_are_turned() -> None:
    for file in ("dicom_pydicom/RG3_J2KI.dcm", "dicom_wg04/RG1_J2KI.dcm"):
        record = read()[file]
        levels = to_eight_bits(record, Intensity("dicom_voi"))
        assert np.corrcoef(levels.ravel(), record.pixels.ravel())[0, 1] < -0.9


def test_what_the_default_policy_takes() -> None:
    for file in ("dicom_wg04/MG1_J2KI.dcm", "dicom_pydicom/US1_J2KR.dcm", "dicom_wg04/RG1_J2KI.dcm"):
        assert read_image(PACK / file).format == "DICOM"
    with pytest.raises(ImageReadError, match="CT Image Storage"):
        read_image(PACK / "dicom_wg04/CT1_J2KR.dcm")
