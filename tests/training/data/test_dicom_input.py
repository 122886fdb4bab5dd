"""DICOM among the images of a training: the model's policy reads it, and low values that are white are turned."""

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.errors import DataError, SpecError
from semise_sdk.spec import DicomPolicy
from semise_sdk.system.progress import SilentReporter
from semise_training.data.cache import build_cache
from semise_training.data.checks.inspection import inspect_sample
from semise_training.data.manifest import Sample
from semise_training.data.masks import read_mask
from semise_training.recipe import build_config

pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
CT, MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2"
PIXELS = np.zeros((40, 40), np.uint8)
PIXELS[10:20, 5:15] = 200


def write(path: Path, pixels: np.ndarray, sop_class: str, photometric: str = "MONOCHROME2") -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "2.25.1"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())
    return path


def sample(image: Path) -> Sample:
    fields = {field.name: None for field in dataclasses.fields(Sample)}
    return Sample(**fields | {"row": 1, "image": image})


def test_the_configuration_says_which_dicom_a_model_takes():
    given = {
        "sop_classes": ["MG", CT],
        "frames": "middle",
        "burned_in": "refuse",
        "for_processing": "accept",
        "laterality": "left",
    }
    config = build_config("recommended", {"data": {"manifest": "data.csv"}, "input": {"dicom": given}})
    assert config.input.spec().dicom == DicomPolicy(
        sop_classes=("MG", CT), frames="middle", burned_in="refuse", for_processing="accept", laterality="left"
    )
    plain = build_config("recommended", {"data": {"manifest": "data.csv"}})
    assert plain.input.spec().dicom == DicomPolicy()
    wrong = build_config("recommended", {"data": {"manifest": "data.csv"}, "input": {"dicom": {"sop_classes": ["CT"]}}})
    with pytest.raises(SpecError, match="expected SOP classes as UIDs or of any, CR"):
        wrong.input.spec()


def test_the_cache_holds_what_the_policy_takes_and_the_check_reads_all(tmp_path):
    paths = [write(tmp_path / "mg.dcm", PIXELS, MAMMOGRAM), write(tmp_path / "ct.dcm", PIXELS, CT)]
    spec = build_config("recommended", {"data": {"manifest": "data.csv"}, "input": {"size": 40}}).input.spec()
    with pytest.raises(DataError, match="CT Image Storage") as caught:
        build_cache(tmp_path / "a", [sample(path) for path in paths], spec, reporter=SilentReporter())
    assert len(caught.value.problems) == 1
    both = dataclasses.replace(spec, dicom=DicomPolicy(sop_classes=("MG", CT)))
    cache = build_cache(tmp_path / "b", [sample(path) for path in paths], both, reporter=SilentReporter())
    np.testing.assert_array_equal(cache.canvases[1], np.repeat(PIXELS[:, :, None], 3, axis=2))
    found = [inspect_sample(sample(path)) for path in paths]
    assert [one.image_error for one in found] == [None, None]


def test_a_turned_image_looks_like_its_complement_to_the_check_and_as_a_mask(tmp_path):
    upright = write(tmp_path / "a.dcm", PIXELS, MAMMOGRAM)
    turned = write(tmp_path / "b.dcm", 255 - PIXELS, MAMMOGRAM, "MONOCHROME1")
    first, second = (inspect_sample(sample(path)).fingerprint for path in (upright, turned))
    np.testing.assert_array_equal(first.gradients, second.gradients)
    np.testing.assert_array_equal(read_mask(turned), PIXELS > 0)
    np.testing.assert_array_equal(read_mask(upright), PIXELS > 0)
