import logging

import numpy as np
import pytest

from semise_sdk.images import reading
from semise_sdk.images.readers import read_image
from semise_sdk.images.reading import FailedImage, ReadImage, read_slot
from semise_sdk.images.record import NamedImage
from semise_sdk.spec import DicomPolicy, InputSpec

SPEC = InputSpec(height=16, width=16)
ARRAY = NamedImage("a", np.zeros((4, 4), np.uint8))


def test_an_image_becomes_its_canvas():
    slot = read_slot(ARRAY, SPEC)
    assert isinstance(slot, ReadImage)
    assert slot.canvas.pixels.shape == (16, 16, 3)


def test_an_image_that_the_policy_does_not_fit_fails_alone():
    slot = read_slot(ARRAY, InputSpec(height=16, width=16, intensity="dicom_voi"))
    assert isinstance(slot, FailedImage)
    assert slot.reason.startswith("does_not_fit: intensity policy dicom_voi needs DICOM")


def test_the_models_own_policy_says_which_dicom_is_read(monkeypatch):
    seen = []
    monkeypatch.setattr(reading, "read_image", lambda source, *, dicom: seen.append(dicom) or read_image(source))
    policy = DicomPolicy(sop_classes=("MG",), frames="fail")
    assert isinstance(read_slot(ARRAY, InputSpec(height=16, width=16, dicom=policy)), ReadImage)
    assert seen == [policy]


def test_whatever_a_decoder_raises_stays_with_its_image_and_is_logged(monkeypatch, caplog):
    def explode(_source, **_options):
        raise ZeroDivisionError("secret.png")

    monkeypatch.setattr(reading, "read_image", explode)
    with caplog.at_level(logging.WARNING):
        slot = read_slot(ARRAY, SPEC)
    assert slot == FailedImage("a", "unforeseen: ZeroDivisionError while reading; please report the file")
    assert "unforeseen way" in caplog.text


def test_a_stop_of_the_user_is_not_an_images_fault(monkeypatch):
    def interrupt(_source, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "read_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_slot(ARRAY, SPEC)


def test_a_canvas_too_large_for_the_memory_fails_its_own_row(monkeypatch):
    def no_memory(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(reading, "to_canvas", no_memory)
    assert read_slot(ARRAY, SPEC) == FailedImage("a", reading.NO_MEMORY)
