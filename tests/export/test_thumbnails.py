"""Thumbnails of the references in a bundle: of the right images, and only where asked for."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semise_export.model_card import model_card
from semise_export.run import TrainedRun
from semise_export.thumbnails import write_reference_thumbnails
from semise_sdk.bundle import open_run, reference_picture
from semise_sdk.errors import DataError
from semise_sdk.predictor import Predictor


@pytest.fixture(scope="module")
def run(tiny_run) -> TrainedRun:
    return TrainedRun.open(tiny_run)


def test_each_reference_has_the_picture_of_the_image_that_it_was_made_of(run, tmp_path):
    count = write_reference_thumbnails(run, tmp_path)
    bank = open_run(run.root).references()
    assert count == len(bank.vectors)
    pictures = [tmp_path / reference_picture(index) for index in range(count)]
    assert sorted(tmp_path.rglob("*.png")) == pictures
    with Predictor.open(run.root, backend="pytorch", device="cpu") as predictor:
        # phantoms of 64 pixels are smaller than a thumbnail, so that theirs are the images themselves
        again = predictor.reference_bank(pictures).vectors
    np.testing.assert_allclose(again, bank.vectors, atol=1e-3)


def test_an_image_that_is_gone_is_named(run, tmp_path):
    rows = tuple(replace(row, image=Path("gone.png")) if row.part == "train" else row for row in run.rows)
    with pytest.raises(DataError, match=r"healthy training images for thumbnails, found \d+ of \d+ missing"):
        write_reference_thumbnails(replace(run, rows=rows), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_images_that_the_references_were_not_made_of_are_refused(run, tmp_path):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "black.png")
    rows = tuple(replace(row, image=tmp_path / "black.png") if row.part == "train" else row for row in run.rows)
    with pytest.raises(DataError, match="were the images changed since"):
        write_reference_thumbnails(replace(run, rows=rows), tmp_path / "out")


def test_the_card_says_whether_pixels_of_patients_are_in_the_bundle(run):
    assert "Patient pixels are not part of this bundle." in model_card(run, ())
    card = model_card(run, (), has_pictures=True)
    assert "This bundle carries patient pixels" in card
    assert "are not part" not in card


def test_a_picture_carries_what_it_is_for(run, tmp_path):
    write_reference_thumbnails(run, tmp_path)
    picture = Image.open(io.BytesIO((tmp_path / reference_picture(0)).read_bytes()))
    assert picture.text["Description"] == "Healthy reference. Research use only. Not for diagnostic use."
