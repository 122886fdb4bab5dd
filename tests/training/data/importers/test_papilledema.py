"""The Papilledema importer on small trees in the published layout."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semise_sdk import metrics
from semise_sdk.errors import ConfigError, DataError
from semise_sdk.system.progress import SilentReporter
from semise_training.data.checks.check import check_file
from semise_training.data.importers import Imported, import_dataset
from semise_training.data.importers.papilledema import LABELS
from semise_training.data.manifest import load_manifest

FOLDERS = ("Normal", "Pseudopapilledema", "Papilledema")


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A download of four different images of each class."""
    for place, name in enumerate(FOLDERS):
        (tmp_path / "download" / name).mkdir(parents=True)
        for index in range(4):
            picture(10 * place + index).save(tmp_path / "download" / name / f"{index}.png")
    return tmp_path / "download"


def run(source: Path, *, force: bool = False) -> Imported:
    return import_dataset("papilledema", source, source.parent / "out", reporter=SilentReporter(), force=force)


def problems(source: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        run(source)
    assert not (source.parent / "out").exists()
    return caught.value.problems


def test_folders_become_levels_in_severity_order(source: Path) -> None:
    imported = run(source)
    manifest = load_manifest(source.parent / "out")
    assert manifest.labels == ("normal", "pseudopapilledema", "papilledema")
    assert [sample.severity for sample in manifest.samples] == [0] * 4 + [1] * 4 + [2] * 4
    assert [sample.image.parent.name for sample in manifest.samples[::4]] == list(FOLDERS)
    assert all(sample.image.is_file() for sample in manifest.samples)
    assert not manifest.names_splits
    assert imported.notes == ("12 images are in 12 groups of near-duplicates, the largest of 1",)
    assert imported.to_json()["counts"] == {
        "images": 12,
        "classes": {"normal": 4, "pseudopapilledema": 4, "papilledema": 4},
        "splits": {},
        "masks": 0,
        "groups": 12,
    }


def test_images_that_look_alike_are_one_group_across_classes(source: Path) -> None:
    picture(0).save(source / "Papilledema/again.jpg", quality=95)
    picture(21).save(source / "Papilledema/copy.png")
    imported = run(source)
    groups = {sample.image.name: sample.group for sample in load_manifest(source.parent / "out").samples}
    assert groups["again.jpg"] == "Normal/0.png"
    assert groups["copy.png"] == "Papilledema/1.png"
    assert imported.notes == ("14 images are in 12 groups of near-duplicates, the largest of 2",)


def test_the_manifest_passes_the_data_check(source: Path) -> None:
    run(source)
    assert check_file(source.parent / "out").findings == ()


def test_folder_names_are_compared_without_case(source: Path) -> None:
    (source / "Normal").rename(source / "NORMAL")
    (source / "Papilledema").rename(source / "papilledema")
    assert load_manifest(run(source).manifest.path).labels == LABELS


def test_files_that_are_no_images_are_left_out_and_listed(source: Path) -> None:
    (source / "Normal/Thumbs.db").write_bytes(b"not an image")
    damaged = source / "Papilledema/3.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    imported = run(source)
    assert [failure.file for failure in imported.failed] == ["Normal/Thumbs.db", "Papilledema/3.png"]
    assert imported.failed[0].reason.startswith("not_an_image: ")
    assert len(load_manifest(imported.manifest.path).samples) == 11
    assert [sample.row for sample in imported.manifest.samples] == list(range(2, 13))


def test_nothing_but_unreadable_files_is_an_error(source: Path) -> None:
    for path in source.glob("*/*.png"):
        path.write_bytes(b"gone")
    with pytest.raises(DataError, match="found none that can be read"):
        run(source)


def test_every_deviation_is_reported_at_once(source: Path) -> None:
    (source / "Papilledema").rename(source / "Papilloedema")
    (source / "normal").mkdir(exist_ok=True)
    for path in (source / "Pseudopapilledema").iterdir():
        path.unlink()
    assert problems(source) == (
        "expected a folder Papilledema, found none",
        "expected one folder Normal, found 2",
        "expected only the three classes, found the folder papilloedema",
        "expected images in the folder Pseudopapilledema, found none",
        "expected images in the folder normal, found none",
    )


def test_a_constant_majority_prediction_has_its_golden_values(tmp_path: Path) -> None:
    """Values of method.md's class counts, worked out by hand: by the imported manifest, on the official folders."""
    pixels = np.random.default_rng(0)
    for name, count in {"Normal": 779, "Papilledema": 295, "Pseudopapilledema": 295}.items():
        (tmp_path / "download" / name).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(pixels.integers(0, 256, (9, 9), dtype=np.uint8))
            image.save(tmp_path / "download" / name / f"{number}.png")
    imported = import_dataset("papilledema", tmp_path / "download", tmp_path / "out", reporter=SilentReporter())
    levels = np.array([sample.severity for sample in imported.manifest.samples])
    majority = np.full(levels.size, np.bincount(levels).argmax())
    assert metrics.macro_f1(levels, majority, num_classes=3) == pytest.approx(0.24178, abs=5e-6)
    assert metrics.recall(levels, majority, num_classes=3) == pytest.approx(1 / 3)
    assert metrics.maee(levels, majority) == pytest.approx(2.7470, abs=5e-5)


def test_a_manifest_is_never_overwritten_unasked(source: Path) -> None:
    run(source)
    with pytest.raises(ConfigError, match=r"data\.csv yet, found one"):
        run(source)
    (source / "Normal/0.png").unlink()
    assert len(run(source, force=True).manifest.samples) == 11


def test_unknown_names_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a data set of vindr-mammo, papilledema, isic, found 'busi'"):
        import_dataset("busi", tmp_path, tmp_path / "out", reporter=SilentReporter())
    with pytest.raises(DataError, match="found no folder at"):
        import_dataset("isic", tmp_path / "none", tmp_path / "out", reporter=SilentReporter())


def test_the_manifest_may_lie_within_the_download_and_be_written_again(source: Path) -> None:
    for force in (False, True):
        imported = import_dataset("papilledema", source, source / "data", reporter=SilentReporter(), force=force)
        assert len(imported.manifest.samples) == 12
    assert len(load_manifest(source / "data").samples) == 12
