"""What export reads of a run folder."""

import json
from pathlib import Path

import pytest

from semise_export.run import TrainedRun, spread
from semise_sdk.errors import BundleError, DataError
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

NETWORK = NetworkConfig(
    encoder="test_resnet", feature_dim=8, vector_dim=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), classes=0
)
SPLIT = """image,severity,label,group,split
a.png,0,healthy,1,train
b.png,1,ill,2,train
c.png,0,healthy,3,val
d.png,1,ill,4,test
e.png,,,5,train
f.png,1,ill,6,calibration
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run on the images below ``data``; its weights are empty, as nothing here loads them."""
    root, data = tmp_path / "run", tmp_path / "data"
    (root / "checkpoint").mkdir(parents=True)
    data.mkdir()
    for name in "abcdef":
        (data / f"{name}.png").touch()
    (data / "labels.csv").write_text("image,severity\n")
    (root / "split.csv").write_text(SPLIT)
    (root / "config.yaml").write_text(f"data: {{manifest: '{data / 'labels.csv'}'}}\n")
    model = ModelInfo(name="m", spec=InputSpec(height=16, width=16), labels=("healthy", "ill"), network=NETWORK)
    (root / "checkpoint" / "model.json").write_text(json.dumps(model.to_json()))
    (root / "checkpoint" / "model.safetensors").touch()
    (root / "checkpoint" / "references.safetensors").touch()
    return root


def test_only_held_out_images_are_checked_on(run: Path) -> None:
    data = run.parent / "data"
    assert TrainedRun.open(run).gate_images(256) == [data / "c.png", data / "d.png"]


def test_a_part_of_its_own_is_calibrated_on_and_validation_images_where_there_is_none(run: Path) -> None:
    data = run.parent / "data"
    part, (image,) = TrainedRun.open(run).calibration_images()
    assert (part, image.image, image.level, image.group) == ("calibration", data / "f.png", 1, "6")
    (run / "split.csv").write_text(SPLIT.replace("calibration", "test"))
    part, (image,) = TrainedRun.open(run).calibration_images()
    assert (part, image.image, image.level, image.group) == ("val", data / "c.png", 0, "3")
    image.image.unlink()
    with pytest.raises(DataError, match="expected the run's images to calibrate the export on, found 1 of 1 missing"):
        TrainedRun.open(run).calibration_images()


def test_images_are_spread_over_a_split_that_lists_grade_after_grade() -> None:
    images = [Path(str(index)) for index in range(10)]
    assert spread(images, 4) == [Path("0"), Path("2"), Path("5"), Path("7")]
    assert spread(images, 10) == spread(images, 99) == images


def test_counts_are_by_part_and_grade(run: Path) -> None:
    counts = TrainedRun.open(run).counts()
    assert list(counts) == ["train", "val", "test", "calibration"]
    assert counts["train"] == {"healthy": 1, "ill": 1, "": 1}
    assert counts["calibration"] == {"ill": 1}


def test_a_manifest_may_be_named_by_its_folder(run: Path) -> None:
    data = run.parent / "data"
    (run / "config.yaml").write_text(f"data: {{manifest: '{data}'}}\n")
    opened = TrainedRun.open(run)
    assert opened.gate_images(2) == [data / "c.png", data / "d.png"]
    assert opened.manifest_sha256() is None


def test_missing_images_are_all_named(run: Path) -> None:
    (run.parent / "data" / "d.png").unlink()
    with pytest.raises(DataError, match=r"found 1 of 2 missing \(first: .*d.png\)") as error:
        TrainedRun.open(run).gate_images(256)
    assert len(error.value.problems) == 1


def test_one_image_makes_no_ranking(run: Path) -> None:
    (run / "split.csv").write_text("image,severity,label,group,split\nc.png,0,healthy,3,val\n")
    with pytest.raises(DataError, match="expected validation or test images"):
        TrainedRun.open(run).gate_images(256)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.yaml", "data: [", "could not read .*config.yaml"),
        ("config.yaml", "just words", "to hold a configuration, found str"),
        ("config.yaml", "data: {}", "expected data.manifest"),
        ("split.csv", "file,part\na.png,val\n", "expected columns image, label and split .*, found file, part"),
        ("split.csv", "image,label,split\na.png,ill,dev\n", "expected parts train, val, test, calibration .* 'dev'"),
        ("split.csv", None, "could not read .*split.csv"),
        ("checkpoint/model.json", None, "expected a finished run"),
    ],
)
def test_a_damaged_run_is_one_sentence(run: Path, name: str, content: str | None, said: str) -> None:
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)
    with pytest.raises(BundleError, match=said):
        TrainedRun.open(run)


def test_evaluation_is_optional_but_not_half(run: Path) -> None:
    opened = TrainedRun.open(run)
    assert opened.evaluation() is None
    (run / "evaluation.json").write_text('{"macro_f1": {"value": 0.5}}')
    assert opened.evaluation() == {"macro_f1": {"value": 0.5}}
    (run / "evaluation.json").write_text('{"macro_f1"')
    with pytest.raises(BundleError, match="to hold metrics"):
        opened.evaluation()
