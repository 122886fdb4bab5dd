"""The VinDr-Mammo importer on small trees in the published layout; the DICOM files are decoded by a stand-in."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semise_sdk import metrics
from semise_sdk.errors import ConfigError, DataError, ImageReadError
from semise_sdk.system.progress import SilentReporter
from semise_training.data.checks.check import check_file
from semise_training.data.importers import Imported, import_dataset, vindr_mammo
from semise_training.data.importers.vindr_mammo import LABELS, import_vindr_mammo, read_annotations
from semise_training.data.manifest import load_manifest

HEADER = "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split"
VIEWS = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))


def row(study: str, image: str, laterality: str, view: str, birads: int, split: str) -> str:
    return f"{study},s{study},{image},{laterality},{view},3518,2800,BI-RADS {birads},DENSITY C,{split}"


def exam(source: Path, name: str, *, left: int, right: int, split: str) -> list[str]:
    """Returns the rows of an exam's four images, whose files are written."""
    folder = source / "images" / name
    folder.mkdir(parents=True)
    rows = []
    for index, (laterality, view) in enumerate(VIEWS):
        (folder / f"{name}{index}.dicom").write_bytes(f"{name}{index}".encode())
        rows.append(row(name, f"{name}{index}", laterality, view, left if laterality == "L" else right, split))
    return rows


def write_table(source: Path, rows: list[str]) -> None:
    (source / "breast-level_annotations.csv").write_text("\n".join([HEADER, *rows]) + "\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A download of 20 training exams, 4 of each grade, and 5 test exams."""
    folder = tmp_path / "download"
    rows: list[str] = []
    for index in range(20):
        rows += exam(folder, f"a{index:02d}", left=1 + index % 5, right=1 + index % 5, split="training")
    for index in range(5):
        rows += exam(folder, f"f{index:02d}", left=1 + index, right=1, split="test")
    write_table(folder, rows)
    return folder


class Decoder:
    """Stands in for pydicom: draws a picture from the file's content, and counts."""

    def __init__(self) -> None:
        self.decoded: list[tuple[str, bool]] = []
        self.on_decode: Callable[[], None] = lambda: None

    def __call__(self, path: Path, *, is_right: bool) -> np.ndarray:
        self.on_decode()
        content = path.read_bytes()
        if content == b"damaged":
            raise ImageReadError("damaged", "expected a readable DICOM file, found damaged data")
        self.decoded.append((path.stem, is_right))
        coarse = np.random.default_rng(list(content)).integers(0, 256, (8, 8), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize((48, 64), Image.Resampling.BICUBIC))


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    stand_in = Decoder()
    monkeypatch.setattr(vindr_mammo, "read_mammogram", stand_in)
    monkeypatch.setattr(vindr_mammo, "require_pydicom", lambda: None)
    return stand_in


def run(source: Path, *, force: bool = False) -> Imported:
    return import_dataset("vindr-mammo", source, source.parent / "out", reporter=SilentReporter(), force=force)


def problems(source: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read_annotations(source)
    return caught.value.problems


def test_birads_become_levels_and_studies_groups(source: Path, decoder: Decoder) -> None:
    run(source)
    manifest = load_manifest(source.parent / "out")
    assert manifest.labels == LABELS == ("BI-RADS 1", "BI-RADS 2", "BI-RADS 3", "BI-RADS 4", "BI-RADS 5")
    assert [sample.severity for sample in manifest.samples[:12]] == [0] * 4 + [1] * 4 + [2] * 4
    assert [sample.severity for sample in manifest.samples[-4:]] == [4, 4, 0, 0]
    assert [sample.group for sample in manifest.samples[:8]] == ["a00"] * 4 + ["a01"] * 4
    assert manifest.name_of(manifest.samples[1]) == "images/a00/a001.png"
    assert np.asarray(Image.open(manifest.samples[0].image)).shape == (64, 48)
    assert ("a001", False) in decoder.decoded
    assert ("a002", True) in decoder.decoded


def test_the_test_part_is_the_published_one_and_validation_is_drawn_by_study(source: Path, decoder: Decoder) -> None:
    imported = run(source)
    samples = load_manifest(source.parent / "out").samples
    parts = {sample.group: sample.split for sample in samples}
    assert [parts[f"f{index:02d}"] for index in range(5)] == ["test"] * 5
    assert all(parts[sample.group] == sample.split for sample in samples)
    drawn = [parts[f"a{index:02d}"] for index in range(20)]
    assert sorted(index % 5 for index, part in enumerate(drawn) if part == "val") == [0, 1, 2, 3, 4]
    assert drawn.count("train") == 15
    assert "10% of the published training part, drawn by study with seed 0" in imported.notes[-1]


def test_validation_is_a_tenth_of_a_large_training_part(tmp_path: Path) -> None:
    rows: list[str] = []
    for index in range(200):
        rows += exam(tmp_path, f"a{index:03d}", left=1 + index % 5, right=1, split="training")
    write_table(tmp_path, rows)
    manifest = vindr_mammo.manifest_of(
        [vindr_mammo._sample(one, tmp_path) for one in read_annotations(tmp_path)], LABELS, out=tmp_path
    )
    studies = {sample.group: sample.split for sample in vindr_mammo.with_validation_part(manifest)}
    assert 18 <= list(studies.values()).count("val") <= 22


def test_the_manifest_passes_the_data_check(source: Path, decoder: Decoder) -> None:
    run(source)
    report = check_file(source.parent / "out")
    assert report.findings == ()
    assert list(report.splits) == ["test", "train", "val"]


def test_a_damaged_file_is_left_out_and_listed(source: Path, decoder: Decoder) -> None:
    before = {sample.image.name: sample.split for sample in run(source).manifest.samples}
    for name in ("a03/a031", "f04/f040"):
        (source / f"images/{name}.dicom").write_bytes(b"damaged")
        (source.parent / f"out/images/{name}.png").unlink()
    imported = run(source, force=True)
    assert [failure.file for failure in imported.failed] == ["images/a03/a031.dicom", "images/f04/f040.dicom"]
    assert imported.failed[0].reason == "damaged: expected a readable DICOM file, found damaged data"
    samples = load_manifest(source.parent / "out").samples
    assert len(samples) == 98
    # A damaged file does not move any other image to another part.
    assert {sample.image.name: sample.split for sample in samples}.items() < before.items()


def test_no_readable_file_at_all_is_an_error(source: Path, decoder: Decoder) -> None:
    for path in source.glob("images/*/*.dicom"):
        path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"found none that can be read \(first: damaged"):
        run(source)
    assert not (source.parent / "out/data.csv").exists()


def test_a_second_run_goes_on_where_the_first_was_stopped(source: Path, decoder: Decoder) -> None:
    def stop() -> None:
        if len(decoder.decoded) >= 30:
            raise KeyboardInterrupt

    decoder.on_decode = stop
    with pytest.raises(KeyboardInterrupt):
        run(source)
    out = source.parent / "out"
    done = {path.stem: path.stat().st_mtime_ns for path in out.glob("images/*/*.png")}
    assert len(done) >= 30
    assert not (out / "data.csv").exists()
    assert not list(out.rglob("*.tmp"))
    decoder.on_decode, decoder.decoded = lambda: None, []
    imported = run(source)
    assert {stem for stem, _ in decoder.decoded}.isdisjoint(done)
    assert len(decoder.decoded) == 100 - len(done)
    assert imported.notes[0] == f"{len(done)} images had been converted before and were kept"
    assert {path.stem: path.stat().st_mtime_ns for path in out.glob("images/*/*.png") if path.stem in done} == done


def test_progress_counts_every_image(source: Path, decoder: Decoder) -> None:
    class Listener(SilentReporter):
        total, steps, said = 0, 0, ""

        def start(self, label: str, total: int) -> None:
            self.total = total

        def step(self, note: str) -> None:
            self.steps += 1

        def say(self, message: str) -> None:
            self.said += message

    (source / "images/a00/a000.dicom").write_bytes(b"damaged")
    listener = Listener()
    import_vindr_mammo(source, source.parent / "out", reporter=listener)
    assert (listener.total, listener.steps) == (100, 100)
    assert listener.said.startswith("left out: images/a00/a000.dicom: damaged: ")


def test_every_deviation_is_reported_at_once(source: Path) -> None:
    (source / "images/a01/a012.dicom").unlink()
    good = [row("a01", f"a01{index}", *view, 2, "training") for index, view in enumerate(VIEWS)]
    wrong = [
        row("a02", "a020", "L", "CC", 6, "training"),
        row("a02", "a021", "X", "CC", 1, "holdout"),
        row("a02", "../../a022", "R", "CC", 1, "test"),
        good[0],
        "a02,s",
        good[1] + ",more",
    ]
    write_table(source, [*good, *wrong])
    assert problems(source) == (
        "row 11: expected 10 cells as in the header, found 11; quote cells that hold commas",
        "row 4: expected the file images/a01/a012.dicom, found none",
        "row 6: expected breast_birads of BI-RADS 1, BI-RADS 2, BI-RADS 3, BI-RADS 4, BI-RADS 5, found 'BI-RADS 6'",
        "row 7: expected laterality of L, R, found 'X'",
        "row 7: expected split of training, test, found 'holdout'",
        "row 8: expected image_id of letters and digits, found '../../a022'",
        "row 9: the image a010 is already in row 2",
        "row 10: expected laterality of L, R, found ''",
        "row 10: expected breast_birads of BI-RADS 1, BI-RADS 2, BI-RADS 3, BI-RADS 4, BI-RADS 5, found ''",
        "row 10: expected split of training, test, found ''",
        "row 10: expected image_id of letters and digits, found ''",
    )


def test_a_missing_table_and_missing_columns_are_named(source: Path) -> None:
    table = source / "breast-level_annotations.csv"
    table.write_text(table.read_text().replace("breast_birads", "birads"))
    with pytest.raises(DataError, match=r"expected the columns breast_birads in breast-level_annotations\.csv, found"):
        read_annotations(source)
    table.unlink()
    with pytest.raises(DataError, match=r"expected the file breast-level_annotations\.csv in"):
        read_annotations(source)


def test_a_grade_in_too_few_studies_is_refused_before_anything_is_converted(source: Path, decoder: Decoder) -> None:
    rows = (source / "breast-level_annotations.csv").read_text().splitlines()[1:]
    kept = [one for one in rows if "BI-RADS 5" not in one or one.startswith(("a04", "f"))]
    write_table(source, kept)
    with pytest.raises(DataError, match=r"severity 4 \(BI-RADS 5\) is in 1 groups"):
        run(source)
    assert decoder.decoded == []


def test_without_pydicom_the_pip_command_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ConfigError, match=r"pip install 'semise-sdk\[dicom\]'"):
        run(source)
    assert not (source.parent / "out").exists()


def test_a_constant_majority_prediction_has_its_golden_values(tmp_path: Path) -> None:
    published = {5: 46, 4: 152, 3: 186, 2: 934, 1: 2682}  # BI-RADS of the published test part
    grades = [birads for birads, count in published.items() for _ in range(count)]
    rows = []
    for index in range(0, 4000, 4):
        folder = tmp_path / f"images/f{index}"
        folder.mkdir(parents=True)
        for offset, view in enumerate(VIEWS):
            (folder / f"f{index}{offset}.dicom").touch()
            rows.append(row(f"f{index}", f"f{index}{offset}", *view, grades[index + offset], "test"))
    write_table(tmp_path, rows)
    levels = np.array([one.severity for one in read_annotations(tmp_path)])
    assert np.bincount(levels).tolist() == [2682, 934, 186, 152, 46]
    majority = np.full(levels.size, LABELS.index("BI-RADS 1"))
    assert metrics.macro_f1(levels, majority, num_classes=5) == pytest.approx(0.16055, abs=5e-6)
    assert metrics.recall(levels, majority, num_classes=5) == pytest.approx(0.2)
    assert metrics.maee(levels, majority) == pytest.approx(3.0399, abs=5e-5)
