"""DICOM mammograms as 8-bit images: the arithmetic always, the decoding where pydicom is installed."""

from pathlib import Path

import numpy as np
import pytest

from semise_sdk.errors import ImageReadError
from semise_training.data.importers.mammogram import cut_to_breast, read_mammogram

BREAST = (slice(20, 70), slice(0, 30))
NIPPLE = (slice(44, 46), slice(30, 33))
MARKER = (slice(2, 7), slice(70, 75))
CUT = (50, 33)
TISSUE, BRIGHT = 2000, 3000
GREY = 125  # 2000 / 4095 * 255 = 124.54


def stored(*, is_right: bool = False) -> np.ndarray:
    """12-bit pixels ``[100, 80]``: a left breast of 2000 on air, its nipple, and a burnt-in marker of 3000."""
    pixels = np.zeros((100, 80), dtype=np.uint16)
    pixels[BREAST] = pixels[NIPPLE] = TISSUE
    pixels[MARKER] = BRIGHT
    return np.ascontiguousarray(pixels[:, ::-1]) if is_right else pixels


def grey() -> np.ndarray:
    return (stored() // 16).astype(np.uint8)


def test_the_cut_is_the_box_of_the_breast_without_the_marker() -> None:
    cut = cut_to_breast(grey())
    assert cut.shape == CUT
    assert (cut[:, :30] == TISSUE // 16).all()
    assert cut[25, 32] == TISSUE // 16
    assert cut[0, 32] == 0


def test_the_cut_goes_around_faint_skin_and_leaves_noise_out() -> None:
    image = grey()
    image[70:74, 0:30] = 20
    image[80:90, 40:60] = 9
    assert cut_to_breast(image).shape == (54, 33)


def test_air_that_is_not_black_is_air_and_a_blackened_name_is_not() -> None:
    image = np.maximum(grey(), 30)
    image[90:98, 60:78] = 0
    assert cut_to_breast(image).shape == CUT


def test_an_image_without_anything_bright_is_kept_whole() -> None:
    assert cut_to_breast(np.full((40, 30), 7, dtype=np.uint8)).shape == (40, 30)


def write_dicom(path: Path, pixels: np.ndarray, **tags: object) -> Path:
    """Writes a digital mammogram of 12 bits, explicit VR little endian, with further tags."""
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = 12 if pixels.dtype.itemsize == 2 else 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


FULL_WINDOW = {"WindowCenter": 2047.5, "WindowWidth": 4095, "VOILUTFunction": "LINEAR_EXACT"}


def read(path: Path, *, is_right: bool = False) -> np.ndarray:
    cut = read_mammogram(path, is_right=is_right)
    assert cut.dtype == np.uint8
    assert cut.shape == CUT
    return cut


def test_a_window_is_applied(tmp_path: Path) -> None:
    full = write_dicom(tmp_path / "full.dicom", stored(), **FULL_WINDOW)
    assert read(full)[0, 0] == GREY
    # (2000 - 1500) / 2000 + .5 is three quarters of the range; the second window is another view.
    narrow = FULL_WINDOW | {"WindowCenter": [1500, 9], "WindowWidth": [2000, 9]}
    assert read(write_dicom(tmp_path / "narrow.dicom", stored(), **narrow))[0, 0] == 191


def test_monochrome1_is_turned_so_that_air_is_black(tmp_path: Path) -> None:
    inverted = write_dicom(
        tmp_path / "x.dicom", 4095 - stored(), PhotometricInterpretation="MONOCHROME1", **FULL_WINDOW
    )
    upright = write_dicom(tmp_path / "y.dicom", stored(), **FULL_WINDOW)
    np.testing.assert_array_equal(read(inverted), read(upright))


def test_a_right_breast_is_mirrored_to_a_left_one(tmp_path: Path) -> None:
    right = write_dicom(tmp_path / "x.dicom", stored(is_right=True), **FULL_WINDOW)
    left = write_dicom(tmp_path / "y.dicom", stored(), **FULL_WINDOW)
    np.testing.assert_array_equal(read(right, is_right=True), read(left))


def test_a_rescale_comes_before_the_window(tmp_path: Path) -> None:
    # 2000 * 2 - 100 is 3900 of -100 to 8090, the same share as 2000 of 0 to 4095.
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 3995, "WindowWidth": 8190}
    path = write_dicom(tmp_path / "x.dicom", stored(), VOILUTFunction="LINEAR_EXACT", **tags)
    assert read(path)[0, 0] == GREY


@pytest.mark.parametrize("rescaled", [False, True])
def test_a_voi_table_is_applied_and_its_own_ends_are_black_and_white(tmp_path: Path, rescaled: bool) -> None:
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]  # 16 bits declared, 12 used
    table["LUTDescriptor"].VR = "US"
    table.LUTData = list(range(4096))
    table["LUTData"].VR = "US"
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0} if rescaled else {}
    path = write_dicom(tmp_path / "x.dicom", stored(), VOILUTSequence=Sequence([table]), **tags)
    assert read(path)[0, 0] == GREY


def test_without_a_window_the_image_s_own_range_is_shown(tmp_path: Path) -> None:
    assert read(write_dicom(tmp_path / "x.dicom", stored()))[0, 0] == 170  # 2000 / 3000 * 255


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    whole = write_dicom(tmp_path / "x.dicom", stored())
    (tmp_path / "cut.dicom").write_bytes(whole.read_bytes()[:-3000])
    (tmp_path / "text.dicom").write_text("not DICOM at all")
    colour = np.zeros((10, 10, 3), dtype=np.uint8)
    write_dicom(tmp_path / "rgb.dicom", colour, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    expected = {"cut": "truncated", "text": "not_an_image", "rgb": "unsupported_format", "gone": "not_found"}
    for name, code in expected.items():
        with pytest.raises(ImageReadError) as caught:
            read_mammogram(tmp_path / f"{name}.dicom", is_right=False)
        assert caught.value.code == code
        assert "\n" not in caught.value.reason


@pytest.mark.real_images
def test_a_real_mammogram_in_jpeg_2000_is_read(packs: Path) -> None:
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg: pip install 'semise-sdk[dicom]'")
    path = packs / "robustness/dicom_wg04/MG1_J2KI.dcm"
    left, mirrored = (read_mammogram(path, is_right=is_right) for is_right in (False, True))
    assert left.dtype == np.uint8
    assert 4000 < left.shape[0] <= 4664
    assert 2000 < left.shape[1] <= 3064
    np.testing.assert_array_equal(mirrored, left[:, ::-1])
    assert left[:, :300].mean() > left[:, -300:].mean() + 50
