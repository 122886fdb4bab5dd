import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semise_sdk.demo.phantoms import COLUMNS, LABELS, draw_phantom, write_phantoms
from semise_sdk.errors import OutputError
from semise_sdk.images.readers import read_image

COUNT, SIZE = 100, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms"), count=COUNT, seed=5, size=SIZE).parent


@pytest.fixture(scope="module")
def rows(folder) -> list[dict[str, str]]:
    with (folder / "data.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def many() -> list[list]:
    """Forty phantoms of each level, all of different patients."""
    return [[draw_phantom(level, seed=100 * level + k, size=SIZE) for k in range(40)] for level in range(5)]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_phantom_is_grey_uint8_with_a_mask_of_two_values():
    phantom = draw_phantom(4, seed=1, size=80)
    assert phantom.image.shape == phantom.mask.shape == (80, 80)
    assert phantom.image.dtype == phantom.mask.dtype == np.uint8
    assert set(np.unique(phantom.mask)) == {0, 255}


def test_equal_arguments_draw_equal_pixels_and_others_do_not():
    first, again = draw_phantom(2, seed=8, size=SIZE), draw_phantom(2, seed=8, size=SIZE)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    for other in (draw_phantom(2, seed=9, size=SIZE), draw_phantom(2, seed=8, size=SIZE, view=1)):
        assert not np.array_equal(first.image, other.image)


def test_healthy_phantoms_have_no_lesion_and_all_others_have_one(many):
    assert not any(phantom.mask.any() for phantom in many[0])
    assert all(phantom.mask.any() for level in many[1:] for phantom in level)


def test_lesion_area_grows_with_severity_on_average(many):
    areas = [float(np.mean([np.mean(phantom.mask > 0) for phantom in level])) for level in many]
    assert areas == sorted(areas)
    assert min(np.diff(areas)) > 0.01


def test_lesion_is_darker_than_its_surroundings_exactly_where_the_mask_is(many):
    healthy = [draw_phantom(0, seed=100 * 3 + k, size=SIZE) for k in range(40)]
    for sick, twin in zip(many[3], healthy, strict=True):
        changed = sick.image.astype(int) - twin.image
        inside = sick.mask > 0
        assert changed[inside].mean() < -15
        assert changed[inside].mean() < 3 * changed[~inside].mean()


def test_one_seed_at_rising_severity_is_one_patient():
    pictures = [draw_phantom(level, seed=21, size=SIZE) for level in (0, 1)]
    untouched = pictures[1].mask == 0
    far = untouched & (np.abs(pictures[0].image.astype(int) - pictures[1].image) <= 1)
    assert far.sum() > 0.8 * untouched.sum()


def test_severity_is_not_the_mean_grey_level(many):
    means = [np.mean([phantom.image.mean() for phantom in level]) for level in many]
    spread = np.mean([np.std([phantom.image.mean() for phantom in level]) for level in many])
    assert abs(means[4] - means[0]) < spread


def test_two_views_of_a_patient_are_alike_in_lesion_and_different_in_pixels():
    first, second = draw_phantom(3, seed=4, size=SIZE), draw_phantom(3, seed=4, size=SIZE, view=1)
    areas = [np.mean(phantom.mask > 0) for phantom in (first, second)]
    assert areas[1] == pytest.approx(areas[0], rel=0.25)
    assert not np.array_equal(first.mask, second.mask)


def test_a_seed_shows_the_same_lesion_at_every_size():
    small, large = (draw_phantom(3, seed=4, size=size) for size in (64, 128))
    assert np.mean(small.mask > 0) == pytest.approx(np.mean(large.mask > 0), rel=0.15)


@pytest.mark.parametrize(
    ("severity", "options"),
    [
        (5, {"seed": 0}),
        (-1, {"seed": 0}),
        (1, {"seed": -1}),
        (1, {"seed": 0, "size": 31}),
        (1, {"seed": 0, "view": -1}),
    ],
)
def test_arguments_outside_their_range_are_refused(severity, options):
    with pytest.raises(ValueError, match="found severity"):
        draw_phantom(severity, **options)


def test_manifest_has_the_columns_and_one_row_per_image(folder, rows):
    assert tuple(rows[0]) == COLUMNS == ("image", "severity", "label", "mask", "group")
    assert len(rows) == COUNT
    assert sorted(row["image"] for row in rows) == sorted(f"images/{p.name}" for p in (folder / "images").iterdir())
    assert {Path(row["image"]).suffix for row in rows} == {".png", ".jpg"}


def test_levels_are_about_equally_frequent_and_a_few_images_are_unlabeled(rows):
    counts = Counter(row["severity"] for row in rows)
    assert counts.pop("") == COUNT // 16
    assert set(counts) == {"0", "1", "2", "3", "4"}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_labels_name_the_level_and_unlabeled_rows_are_bare(rows):
    for row in rows:
        if row["severity"]:
            assert row["label"] == LABELS[int(row["severity"])]
        else:
            assert (row["label"], row["mask"]) == ("", "")


def test_masks_fit_their_image_and_level(folder, rows):
    for row in rows:
        if not row["severity"]:
            continue
        mask = np.asarray(Image.open(folder / row["mask"]))
        assert mask.shape == read_image(folder / row["image"]).pixels.shape
        assert mask.any() == (row["severity"] != "0")


def test_a_group_is_one_or_two_images_of_one_level(rows):
    members = defaultdict(list)
    for row in rows:
        members[row["group"]].append(row["severity"])
    assert {len(levels) for levels in members.values()} == {1, 2}
    assert all(len(set(levels)) == 1 for levels in members.values())


def test_file_names_do_not_tell_the_level(rows):
    levels = [int(row["severity"]) for row in rows if row["severity"]]
    assert abs(np.corrcoef(levels, np.arange(len(levels)))[0, 1]) < 0.3


def test_equal_arguments_write_equal_bytes_and_another_seed_does_not(folder, tmp_path):
    again = write_phantoms(tmp_path / "again", count=COUNT, seed=5, size=SIZE).parent
    assert digests(again) == digests(folder)
    other = write_phantoms(tmp_path / "other", count=10, seed=6, size=SIZE).parent
    assert digests(other)["images/phantom_0000.png"] != digests(folder)["images/phantom_0000.png"]


def test_fewer_levels_and_the_progress_hook(tmp_path):
    done = []
    path = write_phantoms(tmp_path, count=12, levels=3, size=32, on_image=lambda: done.append(1))
    with path.open(newline="", encoding="utf-8") as stream:
        levels = {row["severity"] for row in csv.DictReader(stream)}
    assert levels == {"0", "1", "2"}
    assert len(done) == 12


def test_writing_twice_is_allowed_and_images_of_another_call_are_not(tmp_path):
    write_phantoms(tmp_path, count=12, levels=2, size=32)
    write_phantoms(tmp_path, count=12, levels=2, size=32)
    with pytest.raises(OutputError, match=r"found phantom_0010\.png"):
        write_phantoms(tmp_path, count=10, levels=2, size=32)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="could not write phantoms"):
        write_phantoms(tmp_path / "file", count=10, size=32)


@pytest.mark.parametrize("options", [{"count": 9}, {"count": 20, "levels": 1}, {"count": 20, "levels": 6}])
def test_counts_and_levels_outside_their_range_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="levels"):
        write_phantoms(tmp_path, **options)
    assert not any(tmp_path.iterdir())


def test_phantoms_of_different_patients_are_no_near_duplicates(folder, rows):
    fingerprints = pytest.importorskip("semise_training.data.checks.fingerprints")
    prints = [fingerprints.fingerprint(read_image(folder / row["image"])) for row in rows]
    for members in fingerprints.near_duplicate_sets(prints):
        assert len({rows[index]["group"] for index in members}) == 1
