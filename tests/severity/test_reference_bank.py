"""Severity from reference vectors: formulas against SciPy, order, exact zeros, damage."""

import doctest

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from semise_sdk.errors import BundleError, OutputError, ReferenceImageError, SpecError
from semise_sdk.severity import reference_bank as references
from semise_sdk.severity.reference_bank import ReferenceBank, has_direction

MODES = ["mean", "median", "medoid", "knn"]


@pytest.fixture
def healthy():
    generator = np.random.default_rng(0)
    return (generator.normal(size=(21, 16)) + 2).astype(np.float32)


@pytest.fixture
def images():
    generator = np.random.default_rng(1)
    return (generator.normal(size=(40, 16)) * 3 + np.linspace(-2, 2, 40)[:, None]).astype(np.float32)


def distances(images, healthy):
    return cdist(images.astype(np.float64), healthy.astype(np.float64), "cosine")


def test_mean_mode_ranks_as_the_mean_distance_to_the_bank(healthy, images):
    severity = ReferenceBank(healthy).severity(images)
    mean_distance = distances(images, healthy).mean(axis=1)
    assert (rankdata(severity) == rankdata(mean_distance)).all()
    # the two are one line: mean distance = 1 - |mean direction| (1 - severity)
    units = healthy / np.linalg.norm(healthy, axis=1, keepdims=True)
    length = np.linalg.norm(units.mean(axis=0))
    assert 1 - length * (1 - severity) == pytest.approx(mean_distance, abs=1e-6)


def test_median_mode_is_the_median_distance(healthy, images):
    severity = ReferenceBank(healthy, "median").severity(images)
    assert severity == pytest.approx(np.median(distances(images, healthy), axis=1), abs=1e-6)


def test_medoid_mode_is_the_distance_to_the_most_central_member(healthy, images):
    centre = distances(healthy, healthy).sum(axis=1).argmin()
    severity = ReferenceBank(healthy, "medoid").severity(images)
    assert severity == pytest.approx(distances(images, healthy)[:, centre], abs=1e-6)


@pytest.mark.parametrize("members", [1, 3, 5, 21])
def test_knn_mode_is_the_mean_of_the_five_smallest_distances(healthy, images, members):
    bank = healthy[:members]
    expected = np.sort(distances(images, bank), axis=1)[:, :5].mean(axis=1)
    assert ReferenceBank(bank, "knn").severity(images) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_an_image_measured_from_itself_is_exactly_zero(healthy, mode):
    for row in range(len(healthy)):
        itself = healthy[row : row + 1]
        assert ReferenceBank(itself, mode).severity(itself).tolist() == [0.0]
        assert ReferenceBank(itself, mode).severity(itself * 7).tolist() == [0.0]


@pytest.mark.parametrize("mode", MODES)
def test_the_opposite_of_the_reference_is_exactly_two(healthy, mode):
    assert ReferenceBank(healthy[:1], mode).severity(-healthy[:1]).tolist() == [2.0]


@pytest.mark.parametrize("mode", MODES)
def test_severity_is_rounded_bounded_and_free_of_scale_and_company(healthy, images, mode):
    bank = ReferenceBank(healthy, mode)
    severity = bank.severity(images)
    assert severity.dtype == np.float64
    assert severity.min() >= 0
    assert severity.max() <= 2
    assert (severity == np.round(severity, 6)).all()
    assert (bank.severity(images * np.float32(8)) == severity).all()
    alone = np.concatenate([bank.severity(image[None]) for image in images])
    assert (alone == severity).all()
    assert (ReferenceBank(healthy[::-1] * 4, mode).severity(images) == severity).all()


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e30, 3e38])
def test_very_short_and_very_long_vectors_keep_their_direction(size):
    bank = ReferenceBank(np.array([[size, 0]], dtype=np.float32))
    vectors = np.array([[size, 0], [size, size], [0, size]], dtype=np.float32)
    assert bank.severity(vectors) == pytest.approx([0, 1 - np.sqrt(0.5), 1], abs=1e-6)


def test_no_images_have_no_severity(healthy):
    assert ReferenceBank(healthy).severity(np.empty((0, 16), np.float32)).shape == (0,)


@pytest.mark.parametrize("mode", MODES)
def test_map_is_the_severity_of_each_place(healthy, images, mode):
    bank = ReferenceBank(healthy, mode)
    severity_map = bank.severity_map(images.reshape(2, 4, 5, 16))
    assert severity_map.dtype == np.float32
    assert severity_map.shape == (2, 4, 5)
    assert severity_map.ravel() == pytest.approx(bank.severity(images))


def test_map_puts_empty_places_at_distance_one(healthy, images):
    places = images.reshape(2, 4, 5, 16).copy()
    places[1, 2, 3] = 0
    severity_map = ReferenceBank(healthy).severity_map(places)
    assert severity_map[1, 2, 3] == 1
    assert np.isfinite(severity_map).all()


FAULTS = {"0": "zeros alone", "nan": "NaN or infinity", "inf": "NaN or infinity"}


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_references_without_a_direction_are_refused_by_number(healthy, value):
    healthy[4] = value
    with pytest.raises(ReferenceImageError, match=f"found {FAULTS[str(value)]} in reference 5 of 21"):
        ReferenceBank(healthy)


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_images_without_a_direction_are_refused_by_row_and_can_be_found_first(healthy, images, value):
    images[7] = value
    with pytest.raises(SpecError, match=f"found {FAULTS[str(value)]} in row 7"):
        ReferenceBank(healthy).severity(images)
    assert np.flatnonzero(~has_direction(images)).tolist() == [7]


def test_map_that_is_not_finite_is_refused(healthy, images):
    images[3, 2] = np.nan
    with pytest.raises(SpecError, match="finite"):
        ReferenceBank(healthy).severity_map(images.reshape(2, 4, 5, 16))


@pytest.mark.parametrize("shape", [(0, 16), (3, 0)])
def test_an_empty_bank_is_refused(shape):
    with pytest.raises(ReferenceImageError, match="found none"):
        ReferenceBank(np.empty(shape, np.float32))


def test_references_that_cancel_out_have_no_mean_but_have_the_other_modes():
    opposite = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    with pytest.raises(ReferenceImageError, match="cancel out"):
        ReferenceBank(opposite)
    assert ReferenceBank(opposite, "median").severity(opposite).tolist() == [1, 1]


def test_wrong_shapes_and_modes_are_refused(healthy, images):
    bank = ReferenceBank(healthy)
    with pytest.raises(SpecError, match="same model"):
        bank.severity(images[:, :8])
    with pytest.raises(SpecError, match="same model"):
        bank.severity(images[0])
    with pytest.raises(SpecError, match="same model"):
        bank.severity_map(images)
    with pytest.raises(SpecError, match="reference vectors"):
        ReferenceBank(healthy[0])
    with pytest.raises(SpecError, match="mean, median, medoid, knn"):
        ReferenceBank(healthy, "mode")


def test_bank_keeps_a_copy_that_nobody_can_change(healthy, images):
    bank = ReferenceBank(healthy)
    before = bank.severity(images)
    healthy[:] = 1
    assert (bank.severity(images) == before).all()
    with pytest.raises(ValueError, match="read-only"):
        bank.vectors[0, 0] = 1


@pytest.mark.parametrize("mode", MODES)
def test_saved_bank_comes_back_bit_for_bit(tmp_path, healthy, images, mode):
    bank = ReferenceBank(healthy, mode)
    bank.save(tmp_path / "references.safetensors")
    again = ReferenceBank.from_file(tmp_path / "references.safetensors", mode=mode)
    assert again.mode == mode
    assert (again.vectors == bank.vectors).all()
    assert (again.severity(images) == bank.severity(images)).all()


def write_text(path):
    path.write_bytes(b"not a safetensors file")


def write_float8(path):
    header = b'{"vectors":{"dtype":"F8_E4M3","shape":[1,2],"data_offsets":[0,2]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"11")


def write_truncated(path):
    ReferenceBank(np.eye(3, dtype=np.float32)).save(path)
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: None,
        lambda path: path.mkdir(),
        write_text,
        write_truncated,
        write_float8,
        lambda path: path.write_bytes(b""),
        lambda path: save_file({}, path),
        lambda path: save_file({"other": np.eye(2, dtype=np.float32)}, path),
        lambda path: save_file({"vectors": np.eye(2, dtype=np.float32), "more": np.eye(2)}, path),
        lambda path: save_file({"vectors": np.eye(2, dtype=np.float64)}, path),
        lambda path: save_file({"vectors": np.ones(2, dtype=np.float32)}, path),
        lambda path: save_file({"vectors": np.zeros((2, 2), dtype=np.float32)}, path),
        lambda path: save_file({"vectors": np.full((2, 2), np.nan, dtype=np.float32)}, path),
        lambda path: save_file({"vectors": np.empty((0, 2), dtype=np.float32)}, path),
    ],
    ids=[
        "missing",
        "folder",
        "text",
        "truncated",
        "float8",
        "empty",
        "no-tensor",
        "misnamed",
        "extra",
        "float64",
        "flat",
        "zero",
        "nan",
        "no-rows",
    ],
)
def test_damaged_files_are_one_bundle_error_that_names_the_file(tmp_path, damage):
    path = tmp_path / "references.safetensors"
    damage(path)
    with pytest.raises(BundleError, match=r"references\.safetensors"):
        ReferenceBank.from_file(path)


def test_a_bank_that_cannot_be_written_is_an_output_error(tmp_path, healthy):
    with pytest.raises(OutputError, match="could not write"):
        ReferenceBank(healthy).save(tmp_path / "absent" / "references.safetensors")


def test_examples_in_the_documentation_hold():
    result = doctest.testmod(references)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_nearest_reference_is_that_of_the_smallest_angle_whatever_its_length():
    bank = ReferenceBank(np.array([[100, 0], [0.1, 0.1], [0, 5]], np.float32))
    assert [bank.nearest(np.array(vector, np.float32)) for vector in ([9, 1], [2, 3], [-1, 4])] == [0, 1, 2]
    with pytest.raises(SpecError, match="expected 1-dimensional vectors of 2 numbers"):
        bank.nearest(np.zeros(3, np.float32))


def test_a_bank_of_another_width_is_refused_and_so_is_one_of_another_shape(tmp_path):
    ReferenceBank(np.eye(3, dtype=np.float32), "median").save(tmp_path / "bank")
    content = (tmp_path / "bank").read_bytes()
    assert ReferenceBank.from_bytes(content, mode="median", name="bank", width=3).vectors.shape == (3, 3)
    with pytest.raises(BundleError, match=r"expected vectors of shape \[M, 7\] in bank, found \[3, 3\]"):
        ReferenceBank.from_bytes(content, name="bank", width=7)
    save_file({"vectors": np.ones(3, np.float32)}, tmp_path / "bank")
    with pytest.raises(BundleError, match=r"expected vectors of shape \[M, D\] in bank, found \[3\]"):
        ReferenceBank.from_bytes((tmp_path / "bank").read_bytes(), name="bank")


def test_a_file_that_is_not_there_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match="to hold reference vectors"):
        ReferenceBank.from_file(tmp_path / "nowhere")
