"""The data check: each finding on a made-up fault, and the known traps of a real pack."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.errors import DataError
from semise_training.data.checks.check import CheckReport, Finding, check, check_file
from semise_training.data.manifest import Manifest, load_manifest
from semise_training.data.splits.leakage import refuse_leakage

PACKS = Path(__file__).resolve().parents[4] / ".." / "shared" / "data"
SIDE = 64


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def save(folder: Path, name: str, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(folder / name)


def mask(*, lesion: bool) -> NDArray[np.uint8]:
    pixels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    pixels[10:20, 10:20] = 255 * lesion
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with sixteen different pictures p0.png to p15.png."""
    for seed in range(16):
        save(tmp_path, f"p{seed}.png", picture(seed))
    return tmp_path


def manifest(folder: Path, rows: Sequence[str], header: str = "image,severity") -> Manifest:
    path = folder / "data.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return load_manifest(path)


def sound_rows(extra: str = "") -> list[str]:
    return [f"p{seed}.png,{seed % 2}{extra}" for seed in range(8)]


def of_kind(report: CheckReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def only(report: CheckReport, kind: str) -> Finding:
    """Returns the one finding of a report that is expected to have no other."""
    assert [finding.kind for finding in report.findings] == [kind]
    return report.findings[0]


def test_sound_data_has_no_findings(folder: Path) -> None:
    report = check(manifest(folder, [*sound_rows(), "p9.png,"]))
    assert report.ok
    assert report.findings == ()
    assert (report.images, report.unlabeled) == (9, 1)
    assert report.classes == {"severity 0": 4, "severity 1": 4, "unlabeled": 1}


def test_missing_and_unreadable_files_are_errors(folder: Path) -> None:
    (folder / "broken.png").write_bytes((folder / "p9.png").read_bytes()[:90])
    (folder / "text.png").write_text("not an image")
    (folder / "folder.png").mkdir()
    rows = [*sound_rows(), "gone.png,0", "broken.png,1", "text.png,1", "folder.png,0"]
    report = check(manifest(folder, rows))
    assert not report.ok
    assert [(finding.kind, finding.rows, finding.files) for finding in report.findings] == [
        ("missing_image", (10,), ("gone.png",)),
        ("unreadable_image", (11,), ("broken.png",)),
        ("unreadable_image", (12,), ("text.png",)),
        ("unreadable_image", (13,), ("folder.png",)),
    ]


def test_masks_are_looked_at(folder: Path) -> None:
    save(folder, "empty.png", mask(lesion=False))
    save(folder, "lesion.png", mask(lesion=True))
    save(folder, "small.png", mask(lesion=True)[:32])
    save(folder, "soft.png", picture(99))
    (folder / "text.png").write_text("not an image")
    masks = ["empty", "lesion", "lesion", "small", "empty", "soft", "", "gone"]
    names = [f"{name}.png" if name else "" for name in masks]
    rows = [f"p{seed}.png,{seed % 2},{name}" for seed, name in enumerate(names)]
    report = check(manifest(folder, [*rows, "p9.png,1,text.png", "p10.png,1,empty.png"], "image,severity,mask"))
    assert [(finding.kind, finding.rows) for finding in report.findings] == [
        ("missing_mask", (9,)),
        ("unreadable_mask", (10,)),
        ("mask_size", (5,)),
        ("mask_not_binary", (7,)),
        ("mask_empty", (11,)),
        ("mask_on_healthy", (4,)),
    ]
    assert "64x32 for an image of 64x64" in of_kind(report, "mask_size")[0].message


def test_masks_of_one_bit_of_a_palette_and_of_ones_are_masks(folder: Path) -> None:
    lesion = mask(lesion=True)
    Image.fromarray(lesion > 0).save(folder / "bit.png")
    palette = Image.fromarray((lesion > 0).astype(np.uint8), mode=None)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.save(folder / "palette.png")
    save(folder, "ones.png", (lesion > 0).astype(np.uint8))
    names = ["bit", "palette", "ones"]
    rows = [f"p{seed}.png,1,{name}.png" for seed, name in enumerate(names)] + [
        f"p{seed}.png,0," for seed in range(3, 7)
    ]
    assert check(manifest(folder, rows, "image,severity,mask")).findings == ()


def test_mask_and_image_are_compared_upright(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: 40x64 on disk is 64x40 upright
    Image.fromarray(picture(50, (40, 64))).save(folder / "turned.jpg", exif=exif)
    save(folder, "turned.png", np.full((40, 64), 255, dtype=np.uint8))
    save(folder, "stored.png", np.full((64, 40), 255, dtype=np.uint8))
    rows = [f"{row}," for row in sound_rows()]
    assert check(manifest(folder, [*rows, "turned.jpg,1,turned.png"], "image,severity,mask")).ok
    assert only(check(manifest(folder, [*rows, "turned.jpg,1,stored.png"], "image,severity,mask")), "mask_size")


def test_the_severity_scale_has_no_gap_and_a_healthy_level(folder: Path) -> None:
    gap = [f"p{seed}.png,{(seed % 2) * 3}" for seed in range(8)]
    assert "severity 1, 2 below 3" in only(check(manifest(folder, gap)), "severity_gap").message
    unhealthy = [f"p{seed}.png,{1 + seed % 2}" for seed in range(8)]
    assert only(check(manifest(folder, unhealthy)), "no_healthy").level == "error"
    assert only(check(manifest(folder, ["p0.png,", "p1.png,"])), "no_healthy")


def test_classes_too_small_to_split_are_errors(folder: Path) -> None:
    single = only(check(manifest(folder, [*sound_rows(), "p9.png,2"])), "too_few_images")
    assert single.rows == (10,)
    assert "severity 2 (severity 2) has a single image" in single.message
    rows = [f"{row},g{index}" for index, row in enumerate(sound_rows())]
    grouped = [*rows, *(f"p{seed}.png,2,{'ab'[seed % 2]}" for seed in range(9, 13))]
    few = only(check(manifest(folder, grouped, "image,severity,group")), "too_few_images")
    assert few.rows == (10, 11, 12, 13)
    assert "is in 2 groups" in few.message


def test_groups_that_share_a_picture_count_once(folder: Path) -> None:
    save(folder, "copy.png", picture(9))
    rows = [*sound_rows(), "p9.png,2", "copy.png,2", "p10.png,2"]
    assert "is in 2 groups" in of_kind(check(manifest(folder, rows)), "too_few_images")[0].message


def test_a_label_of_another_level_is_a_warning(folder: Path) -> None:
    rows = [f"{row},{'sick' if row.endswith('1') else 'well'}" for row in sound_rows()]
    rows[3] = rows[3].replace("sick", "well")
    found = only(check(manifest(folder, rows, "image,severity,label")), "label_mismatch")
    assert (found.rows, found.level) == ((5,), "warning")
    assert "p3.png is called 'well', severity 1 is 'sick'" in found.message


PARTS = ("train", "train", "val", "val", "test", "test", "train", "train")


def split_rows(groups: Sequence[str] = "abcdefgh") -> list[str]:
    return [f"{row},{group},{part}" for row, group, part in zip(sound_rows(), groups, PARTS, strict=True)]


def test_named_splits_are_counted(folder: Path) -> None:
    report = check(manifest(folder, split_rows(), "image,severity,group,split"))
    assert report.findings == ()
    assert report.splits["train"] == {"severity 0": 2, "severity 1": 2}
    assert list(report.splits) == ["test", "train", "val"]


def test_a_group_in_two_splits_is_an_error(folder: Path) -> None:
    report = check(manifest(folder, split_rows("abcdafgh"), "image,severity,group,split"))
    found = only(report, "group_in_two_splits")
    assert (found.level, found.rows, found.files) == ("error", (2, 6), ("p0.png", "p4.png"))
    assert "test and train" in found.message


def test_an_incomplete_split_is_an_error(folder: Path) -> None:
    rows = split_rows()
    rows[1] = rows[1].replace("train", "")
    assert only(check(manifest(folder, rows, "image,severity,group,split")), "split_incomplete").rows == (3,)
    without_val = [row.replace("val", "train") for row in split_rows()]
    assert (
        "as val" in only(check(manifest(folder, without_val, "image,severity,group,split")), "split_incomplete").message
    )


def test_the_same_pixels_in_two_splits_are_an_error(folder: Path) -> None:
    Image.fromarray(np.stack([picture(0)] * 3, axis=2)).save(folder / "p4.png")
    report = check(manifest(folder, split_rows(), "image,severity,group,split"))
    found = only(report, "same_pixels_in_two_splits")
    assert (found.level, found.rows) == ("error", (2, 6))


def test_the_same_pixels_twice_are_a_warning(folder: Path) -> None:
    save(folder, "copy.png", picture(0))
    found = only(check(manifest(folder, [*sound_rows(), "copy.png,0"])), "same_pixels")
    assert (found.level, found.rows, found.files) == ("warning", (2, 10), ("p0.png", "copy.png"))


def test_the_same_pixels_with_contradicting_labels_have_a_kind_of_their_own(folder: Path) -> None:
    save(folder, "copy.png", picture(0))
    report = check(manifest(folder, [*sound_rows(), "copy.png,1"]))
    assert only(report, "label_conflict").files == ("p0.png", "copy.png")
    assert report.ok
    assert only(check(manifest(folder, [*sound_rows(), "copy.png,"])), "same_pixels")


def near_copy(folder: Path, seed: int) -> None:
    pixels = picture(seed).copy()
    pixels[:6, :6] = 0
    save(folder, "near.png", pixels)


def test_near_duplicates_are_a_warning_that_knows_of_groups(folder: Path) -> None:
    near_copy(folder, 0)
    apart = check(manifest(folder, [*sound_rows(), "near.png,0"]))
    assert "give them one group" in only(apart, "near_duplicate").message
    assert (apart.near_duplicate_images, apart.near_duplicate_sets) == (2, 1)
    rows = [*sound_rows(",")[1:], "p0.png,0,same", "near.png,0,same"]
    together = check(manifest(folder, rows, "image,severity,group"))
    assert "of one group" in only(together, "near_duplicate").message


def test_contradicting_near_duplicates_name_both_files(folder: Path) -> None:
    near_copy(folder, 0)
    found = only(check(manifest(folder, [*sound_rows(), "near.png,1"])), "near_duplicate_conflict")
    assert (found.level, found.rows, found.files) == ("warning", (2, 10), ("p0.png", "near.png"))
    assert "p0.png (severity 0), near.png (severity 1)" in found.message


def test_near_duplicates_across_splits_are_a_warning(folder: Path) -> None:
    near_copy(folder, 0)
    rows = [*split_rows(), "near.png,0,z,test"]
    report = check(manifest(folder, rows, "image,severity,group,split"))
    found = only(report, "near_duplicate_in_two_splits")
    assert (report.ok, found.rows) == (True, (2, 10))


def test_wrong_rows_and_wrong_images_are_reported_together(folder: Path) -> None:
    path = folder / "data.csv"
    path.write_text("\n".join(["image,severity", *sound_rows(), "p9.png,bad", "gone.png,1", "p0.png,0"]))
    report = check_file(path)
    assert [(finding.kind, finding.rows) for finding in report.findings] == [
        ("bad_row", (10,)),
        ("bad_row", (12,)),
        ("missing_image", (11,)),
    ]


def test_the_report_is_plain_json(folder: Path) -> None:
    report = check(manifest(folder, [*sound_rows(), "gone.png,1"]))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (data["ok"], data["errors"], data["warnings"]) == (False, 1, 0)
    assert data["counts"]["classes"] == {"severity 0": 4, "severity 1": 5}
    assert data["findings"][0]["rows"] == [10]
    assert set(data["findings"][0]) == {"kind", "level", "rows", "files", "message"}


class CountingReporter:
    def __init__(self) -> None:
        self.total, self.steps = 0, 0

    def start(self, label: str, total: int) -> None:
        assert label
        self.total = total

    def step(self, note: str) -> None:
        self.steps += 1 if note == "" else 0

    def say(self, message: str) -> None:
        raise AssertionError(message)


def test_progress_counts_every_image(folder: Path) -> None:
    reporter = CountingReporter()
    check(manifest(folder, [*sound_rows(), "gone.png,1"]), reporter=reporter)
    assert (reporter.total, reporter.steps) == (9, 9)


def test_leakage_is_refused_not_warned_about(folder: Path) -> None:
    save(folder, "copy.png", picture(0))
    rows = ["p0.png,0,a", "p1.png,1,b", "p2.png,1,b", "copy.png,0,c", "gone.png,0,d"]
    data = manifest(folder, rows, "image,severity,group")
    hashes = check(data).pixel_hashes
    assert (hashes[0], hashes[4]) == (hashes[3], None)
    refuse_leakage(data, ("train", "val", "val", "train", "test"), pixel_hashes=hashes)
    refuse_leakage(data, ("train", "val", "val", "test", "test"))
    with pytest.raises(DataError) as caught:
        refuse_leakage(data, ("train", "val", "test", "test", "train"), pixel_hashes=hashes)
    assert caught.value.problems == (
        "group b is in test and val (rows 3, 4)",
        "the same image is in test and train (rows 2, 5)",
    )


@pytest.fixture(scope="module")
def busi_report() -> CheckReport:
    path = PACKS / "busi" / "labels.csv"
    if not path.exists():
        pytest.skip("needs the image packs at ../shared")
    return check_file(path, columns={"image": "file", "group": "split_group"})


@pytest.mark.real_images
def test_busi_has_no_error_and_its_published_counts(busi_report: CheckReport) -> None:
    assert busi_report.ok
    assert busi_report.classes == {"normal": 133, "benign": 437, "malignant": 210}
    # The pack's README measured 315 images in 143 sets with dHash alone; the second hash loses none of them.
    assert (busi_report.near_duplicate_images, busi_report.near_duplicate_sets) == (315, 143)


@pytest.mark.real_images
def test_busi_contradictions_are_found(busi_report: CheckReport) -> None:
    identical = {finding.files for finding in of_kind(busi_report, "label_conflict")}
    assert identical == {("images/benign_433.jpg", "images/malignant_145.jpg")}
    alike = [set(finding.files) for finding in of_kind(busi_report, "near_duplicate_conflict")]
    assert {"images/benign_269.jpg", "images/normal_001.jpg"} in alike
    assert {"images/benign_437.jpg", "images/normal_034.jpg"} in alike
    # 18 images in 8 groups, says the README: one group is the identical pair above.
    assert (len(alike), sum(map(len, alike))) == (7, 16)
