"""The ISIC 2018 importer on small trees in the published layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semise_sdk import metrics
from semise_sdk.errors import DataError
from semise_sdk.system.progress import SilentReporter
from semise_training.data.checks.check import check_file
from semise_training.data.importers import Imported, import_dataset
from semise_training.data.importers.isic import LABELS
from semise_training.data.manifest import load_manifest

COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # as the published files have them
LESIONS = "ISIC2018_Task3_Training_LesionGroupings.csv"
ALL = ("NV", "DF", "BKL", "VASC", "AKIEC", "BCC", "MEL")
OFFICIAL_TEST = {"MEL": 171, "NV": 909, "BCC": 93, "AKIEC": 43, "BKL": 217, "DF": 44, "VASC": 35}


def one_hot(image: str, *diagnoses: str) -> str:
    return ",".join([image, *("1.0" if column in diagnoses else "0.0" for column in COLUMNS)])


def write_images(source: Path, part: str, images: Sequence[str]) -> None:
    folder = source / f"ISIC2018_Task3_{part}_Input"
    folder.mkdir()
    (folder / "ATTRIBUTION.txt").touch()
    for image in images:
        (folder / f"{image}.jpg").touch()


def write_truth(source: Path, part: str, rows: Sequence[str]) -> None:
    folder = source / f"ISIC2018_Task3_{part}_GroundTruth"
    folder.mkdir(exist_ok=True)
    text = "\n".join([",".join(["image", *COLUMNS]), *rows]) + "\n"
    (folder / f"{folder.name}.csv").write_text(text)


def write_part(source: Path, part: str, diagnoses: Sequence[str], *, first: int) -> list[str]:
    images = [f"ISIC_{first + index:07d}" for index in range(len(diagnoses))]
    write_images(source, part, images)
    write_truth(source, part, [one_hot(image, name) for image, name in zip(images, diagnoses, strict=True)])
    return images


def write_lesions(source: Path, images: Sequence[str]) -> None:
    """Two images for each lesion."""
    rows = [f"{image},HAM_{index // 2:07d},histopathology" for index, image in enumerate(images)]
    (source / LESIONS).write_text("\n".join(["image,lesion_id,diagnosis_confirm_type", *rows]) + "\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A whole download: 14 training images of 7 lesions, 7 for validation and 7 for testing."""
    folder = tmp_path / "download"
    folder.mkdir()
    write_lesions(folder, write_part(folder, "Training", [name for name in ALL for _ in range(2)], first=100))
    write_part(folder, "Validation", ALL, first=200)
    write_part(folder, "Test", ALL, first=300)
    return folder


def run(source: Path) -> Imported:
    return import_dataset("isic", source, source.parent / "out", reporter=SilentReporter())


def problems(source: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        run(source)
    assert not (source.parent / "out").exists()
    return caught.value.problems


def test_diagnoses_become_levels_parts_become_splits_and_lesions_groups(source: Path) -> None:
    imported = run(source)
    manifest = load_manifest(source.parent / "out")
    assert manifest.labels == LABELS == ALL
    assert [sample.severity for sample in manifest.samples] == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
        5,
        6,
        6,
        *range(7),
        *range(7),
    ]
    assert [sample.split for sample in manifest.samples] == ["train"] * 14 + ["val"] * 7 + ["test"] * 7
    assert [sample.group for sample in manifest.samples[:4]] == ["HAM_0000000"] * 2 + ["HAM_0000001"] * 2
    assert [sample.group for sample in manifest.samples[-2:]] == ["ISIC_0000305", "ISIC_0000306"]
    assert all(sample.image.is_file() and sample.mask is None for sample in manifest.samples)
    assert imported.notes == ("the splits are the published ones",)
    assert imported.manifest.samples[5].row == manifest.samples[5].row == 7


def test_images_are_referenced_where_they_lie(source: Path) -> None:
    run(source)
    lines = (source.parent / "out/data.csv").read_text().splitlines()
    assert lines[0] == "image,severity,label,group,split"
    assert lines[1] == "../download/ISIC2018_Task3_Training_Input/ISIC_0000100.jpg,0,NV,HAM_0000000,train"


def test_a_link_as_output_folder_leads_to_the_images_too(source: Path) -> None:
    (source.parent / "far/away").mkdir(parents=True)
    (source.parent / "out").symlink_to(source.parent / "far/away")
    run(source)
    assert all(sample.image.is_file() for sample in load_manifest(source.parent / "out").samples)


def test_masks_of_task_1_go_with_their_images(source: Path) -> None:
    for part, image in (("Training", "ISIC_0000103"), ("Validation", "ISIC_0000300"), ("Test", "ISIC_9999999")):
        folder = source / f"ISIC2018_Task1_{part}_GroundTruth"
        folder.mkdir()
        (folder / f"{image}_segmentation.png").touch()
    run(source)
    masks = {sample.image.stem: sample.mask for sample in load_manifest(source.parent / "out").samples if sample.mask}
    assert sorted(masks) == ["ISIC_0000103", "ISIC_0000300"]
    assert masks["ISIC_0000300"].samefile(
        source / "ISIC2018_Task1_Validation_GroundTruth/ISIC_0000300_segmentation.png"
    )


def test_without_test_ground_truth_its_images_are_left_out_and_the_splits_to_the_training(source: Path) -> None:
    (source / "ISIC2018_Task3_Test_GroundTruth/ISIC2018_Task3_Test_GroundTruth.csv").unlink()
    imported = run(source)
    manifest = load_manifest(source.parent / "out")
    assert len(manifest.samples) == 21
    assert not manifest.names_splits
    assert imported.notes[0] == "Test: no ground truth was found, 7 images are left out"
    assert "left to the training, by lesion" in imported.notes[1]


def test_images_without_a_row_are_counted(source: Path) -> None:
    (source / "ISIC2018_Task3_Validation_Input/ISIC_0000999.jpg").touch()
    assert run(source).notes[0] == "Validation: 1 images without a row in the ground truth are left out"


def test_a_ground_truth_beside_the_folders_is_found(source: Path) -> None:
    name = "ISIC2018_Task3_Training_GroundTruth.csv"
    (source / name.removesuffix(".csv") / name).rename(source / name)
    assert len(run(source).manifest.samples) == 28


def test_a_constant_majority_prediction_has_its_golden_values(source: Path) -> None:
    for file in (source / "ISIC2018_Task3_Test_Input").iterdir():
        file.unlink()
    (source / "ISIC2018_Task3_Test_Input").rmdir()
    write_part(source, "Test", [name for name, count in OFFICIAL_TEST.items() for _ in range(count)], first=1000)
    run(source)
    samples = load_manifest(source.parent / "out").samples
    levels = np.array([sample.severity for sample in samples if sample.split == "test"])
    assert np.bincount(levels).tolist() == [909, 44, 217, 35, 43, 93, 171]
    majority = np.full(levels.size, LABELS.index("NV"))
    assert metrics.macro_f1(levels, majority, num_classes=7) == pytest.approx(0.10728, abs=5e-6)
    assert metrics.recall(levels, majority, num_classes=7) == pytest.approx(1 / 7)
    assert metrics.maee(levels, majority) == pytest.approx(58.513, abs=5e-4)


def test_the_manifest_passes_the_data_check(source: Path) -> None:
    for seed, path in enumerate(sorted(source.glob("ISIC2018_Task3_*_Input/*.jpg"))):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(path)
    run(source)
    assert check_file(source.parent / "out").findings == ()


def test_every_deviating_row_is_reported_at_once(source: Path) -> None:
    rows = [
        one_hot("ISIC_0000100", "NV"),
        one_hot("ISIC_0000101", "NV", "MEL"),
        one_hot("ISIC_0000102"),
        one_hot("ISIC_0000103", "DF").replace("0.0", "0.5", 1),
        one_hot("ISIC_0000777", "DF"),
        one_hot("ISIC_0000100", "NV"),
        one_hot("ISIC_0000104", "BKL") + ",1.0",
    ]
    write_truth(source, "Training", rows)
    found = problems(source)
    assert len(found) == 7
    assert found[0].endswith("expected one class of 1 and the others of 0, found NV 1.0, MEL 1.0")
    assert found[1] == "Training ISIC_0000102: expected one class of 1 and the others of 0, found none of 1"
    assert found[2].endswith("found DF 1.0, MEL 0.5")
    assert found[3].endswith("expected ISIC_0000777.jpg in ISIC2018_Task3_Training_Input, found none")
    assert found[4].startswith("Training ISIC_0000777: expected its lesion in " + LESIONS)
    assert "found 9; quote" in found[5]
    assert found[6] == "Training ISIC_0000100: expected one row, found rows 2 and 7"


def test_missing_files_and_unknown_classes_are_reported_at_once(source: Path) -> None:
    (source / LESIONS).unlink()
    (source / "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv").unlink()
    table = source / "ISIC2018_Task3_Validation_GroundTruth/ISIC2018_Task3_Validation_GroundTruth.csv"
    table.write_text(table.read_text().replace("VASC", "VASC,UNK"))
    test = source / "ISIC2018_Task3_Test_GroundTruth/ISIC2018_Task3_Test_GroundTruth.csv"
    test.write_text(test.read_text().replace("image,", "image_id,"))
    found = problems(source)
    assert len(found) == 4
    assert found[0].startswith("expected the file ISIC2018_Task3_Training_GroundTruth.csv in ")
    assert found[1].endswith("in ISIC2018_Task3_Validation_GroundTruth.csv, found UNK too")
    assert "expected the columns image in ISIC2018_Task3_Test_GroundTruth.csv, found image_id, MEL" in found[2]
    assert found[3].startswith(f"expected the file {LESIONS} in ")


def test_a_ground_truth_without_its_images_is_reported(source: Path) -> None:
    (source / "ISIC2018_Task3_Test_Input").rename(source / "elsewhere")
    assert problems(source) == (
        "expected the folder ISIC2018_Task3_Test_Input of the images in ISIC2018_Task3_Test_GroundTruth.csv, "
        "found none",
    )
