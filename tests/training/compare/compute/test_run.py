"""A comparison on phantoms: its cells, its resume, what it refuses, and that selection never sees a test label."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.system.locks import claimed
from semise_sdk.system.progress import SilentReporter
from semise_training.compare.cells.cells import read_cell, write_cell
from semise_training.compare.cells.failures import Failure
from semise_training.compare.cells.folder import Folder
from semise_training.compare.compute.run import compare
from semise_training.compare.compute.shared import Selection, SharedData
from semise_training.data.dataset import UNLABELED
from semise_training.data.manifest import load_manifest

SILENT = {"reporter": SilentReporter(), "stages": SilentReporter()}


class Killed(BaseException):
    """Stands for a kill at an arbitrary step."""


class KillingReporter(SilentReporter):
    def __init__(self, stage, step):
        self.stage, self.left, self.current = stage, step, ""

    def start(self, label, total):
        self.current = label

    def step(self, note):
        self.left -= self.current == self.stage
        if self.left < 0:
            raise Killed


class Saying(SilentReporter):
    def __init__(self):
        self.said, self.started = [], []

    def say(self, message):
        self.said.append(message)

    def start(self, label, total):
        self.started.append((label, total))


def cell_of(root, name):
    (path,) = [path for path in Folder(root).cells.glob("*.json") if path.name.startswith(f"{name}-fold")]
    return read_cell(path)


def selected_things(cell):
    """All that training and selection decided: weights, epochs, validation figures and answers, decodings included."""
    return json.dumps(
        [cell.selected, cell.val.to_json(), cell.to_json()["figures"]["val"], cell.config], sort_keys=True
    )


def test_each_cell_holds_its_answers_and_leaves_no_run_folder(compared):
    folder = Folder(compared)
    assert len(list(folder.cells.glob("*.json"))) == 3
    assert not any(path.is_dir() for path in (compared / "work").iterdir())
    semise = cell_of(compared, "semise")
    assert len(semise.test.levels) == sum(semise.counts["test"].values())
    assert semise.test.heads["weighted"].per_mille.shape == (2, len(semise.test.levels), 5)
    assert len(semise.test.mask_rows) == len(semise.test.levels)
    assert semise.selected["unet_dice"] is not None
    assert (semise.config["data"]["manifest"], semise.config["runtime"]["precision"]) == ("data.csv", "fp32")
    assert str(compared) not in folder.cell(semise.key).read_text()
    assert "phantom_" not in folder.cell(semise.key).read_text()


def test_the_majority_says_one_grade_and_no_lesion(compared):
    majority = cell_of(compared, "majority")
    train = list(majority.counts["train"].values())
    assert set(majority.test.heads["plain"].decided["argmax"].ravel()) == {train.index(max(train))}
    assert (majority.test.severity == 0).all()
    assert (majority.test.mask_counts[:, :2] == 0).all()
    assert np.array_equal(majority.test.mask_counts[:, 2], cell_of(compared, "semise").test.mask_counts[:, 2])


def test_answers_are_those_of_the_deployed_model(compared, phantoms, tmp_path):
    """``semise train`` of the same configuration, opened by the runtime, gives the cell's severities and masks."""
    from semise_sdk.cli.commands.evaluate import labeled_images
    from semise_sdk.predictor import Predictor
    from semise_sdk.workflows.evaluate import gather
    from semise_training.config import merge, parse_config
    from semise_training.data.masks import read_mask
    from semise_training.run.train import train

    cell = cell_of(compared, "semise")
    as_run = merge(cell.config, {"data": {"manifest": phantoms}, "runtime": {"threads": 1}})
    run = train(parse_config(as_run), tmp_path / "run", reporter=SilentReporter())
    images = labeled_images(run.root, None, columns="", part="test")
    with Predictor.open(run.root, backend="pytorch") as predictor:
        answers = predictor.iter_analyze([image.image for image in images], maps=False)
        deployed = gather(images, answers, num_classes=5, read_mask=read_mask)
    assert cell.test.levels.tolist() == deployed.levels.tolist()
    assert cell.test.severity == pytest.approx(deployed.severity, abs=2e-5)
    assert cell.test.mask_counts == pytest.approx(deployed.mask_counts, abs=2)


def test_a_run_folder_can_be_kept(phantoms, make_plan, tmp_path):
    compare(make_plan(phantoms, methods=("imagenet",)), tmp_path, keep_runs=True, **SILENT)
    assert (tmp_path / "work" / cell_of(tmp_path, "imagenet").key.slug / "checkpoint").is_dir()


def test_examples_are_drawn_for_every_system_that_segments(compared):
    folder = Folder(compared)
    levels = json.loads((folder.examples / "levels.json").read_text())
    assert levels == [0, 1, 2, 3, 4]
    for name in ("imagenet", "semise"):
        maps = sorted(folder.maps(cell_of(compared, name).key).iterdir())
        assert [path.name for path in maps] == [f"map_{place}.png" for place in range(5)]
    assert not folder.maps(cell_of(compared, "majority").key).exists()


def test_a_second_time_computes_nothing(compared, phantoms, make_plan):
    before = {path: path.stat().st_mtime_ns for path in Folder(compared).cells.glob("*.json")}
    outcome = compare(make_plan(phantoms), compared, **SILENT)
    assert (outcome.computed, outcome.kept) == ((), 3)
    assert {path: path.stat().st_mtime_ns for path in Folder(compared).cells.glob("*.json")} == before


def test_more_methods_and_folds_are_added_to_what_is_there(compared, phantoms, make_plan, tmp_path):
    shutil.copytree(compared, tmp_path / "more")
    plan = make_plan(phantoms, methods=("majority", "imagenet"), only_fold=1)
    outcome = compare(plan, tmp_path / "more", **SILENT)
    assert [key.slug for key in outcome.computed] == [
        "majority-fold1of3-split0-seed0",
        "imagenet-fold1of3-split0-seed0",
    ]
    assert len(list((tmp_path / "more" / "cache").glob("features-*.npy"))) == 1


def test_another_experiment_is_refused_unless_redone(compared, phantoms, make_plan, tmp_path):
    shutil.copytree(compared, tmp_path / "other")
    plan = make_plan(phantoms, methods=("majority", "imagenet"))
    changed = dataclasses.replace(plan, settings={**plan.settings, "classifier": {"epochs": 2, "augmented_views": 1}})
    with pytest.raises(ConfigError, match=r"found 2 of another.*--redo"):
        compare(changed, tmp_path / "other", **SILENT)
    outcome = compare(changed, tmp_path / "other", redo=True, **SILENT)
    assert len(outcome.computed) == 2
    assert cell_of(tmp_path / "other", "imagenet").config["classifier"]["epochs"] == 2


def test_folds_of_a_manifest_that_names_its_splits_are_said_to_be_dealt_anew(phantoms, make_plan, tmp_path):
    lines = phantoms.read_text().splitlines()
    named = phantoms.with_name("named.csv")
    parts = [("train", "val", "test")[int(line[-4:]) % 3] for line in lines[1:]]  # whole patients
    rows = [f"{line},{part}" for line, part in zip(lines[1:], parts, strict=True)]
    named.write_text("\n".join([f"{lines[0]},split", *rows]) + "\n")
    reporter = Saying()
    compare(make_plan(named, methods=("majority",)), tmp_path, reporter=reporter, stages=SilentReporter())
    assert "named.csv" in reporter.said[0]
    assert "--folds deals its test part anew" in reporter.said[0]


def test_a_damaged_cell_is_named(compared, phantoms, make_plan, tmp_path):
    shutil.copytree(compared, tmp_path / "torn")
    path = next(Folder(tmp_path / "torn").cells.glob("semise*.json"))
    path.write_text(path.read_text()[:200])
    with pytest.raises(DataError, match="semise-fold0of3"):
        compare(make_plan(phantoms), tmp_path / "torn", **SILENT)


@pytest.mark.parametrize(("stage", "step"), [("phase2", 1), ("classifiers", 2), ("unet", 1)])
def test_a_killed_cell_goes_on_to_the_same_answers(stage, step, compared, phantoms, make_plan, tmp_path):
    plan = make_plan(phantoms, methods=("semise",))
    with pytest.raises(Killed):
        compare(plan, tmp_path, reporter=SilentReporter(), stages=KillingReporter(stage, step))
    assert not list(Folder(tmp_path).cells.glob("*.json"))
    compare(plan, tmp_path, **SILENT)
    whole, resumed = cell_of(compared, "semise"), cell_of(tmp_path, "semise")
    assert selected_things(resumed) == selected_things(whole)
    assert resumed.test.to_json() == whole.test.to_json()


def test_a_run_folder_of_another_experiment_is_not_continued(phantoms, make_plan, tmp_path):
    plan = make_plan(phantoms, methods=("semise",))
    with pytest.raises(Killed):
        compare(plan, tmp_path, reporter=SilentReporter(), stages=KillingReporter("classifiers", 0))
    changed = dataclasses.replace(plan, settings={**plan.settings, "phase1": {"epochs": 2, "batch_size": 20}})
    stages = Saying()
    compare(changed, tmp_path, reporter=SilentReporter(), stages=stages)
    assert [label for label, _ in stages.started if label.startswith("phase")] == ["phase1", "phase2"]


def garbled(dataset, random):
    """The data with another truth on the test part: levels, masks, and even pixels."""
    test = dataset.parts["test"]
    levels, has_mask = dataset.levels.copy(), dataset.has_mask.copy()
    levels[test] = random.permutation(dataset.classes - 1 - levels[test])
    has_mask[test] = random.random(len(test)) < 0.5
    masks, canvases = np.array(dataset.masks), np.array(dataset.canvases)
    masks[test] = random.integers(0, 2, masks[test].shape) * 255
    canvases[test] = random.integers(0, 256, canvases[test].shape)
    return dataclasses.replace(dataset, levels=levels, has_mask=has_mask, masks=masks, canvases=canvases)


def test_no_test_label_mask_or_pixel_reaches_what_is_selected(compared, phantoms, make_plan, tmp_path, monkeypatch):
    original = SharedData.dataset
    random = np.random.default_rng(0)
    monkeypatch.setattr(SharedData, "dataset", lambda self, *a, **k: garbled(original(self, *a, **k), random))
    compare(make_plan(phantoms), tmp_path, **SILENT)
    for name in ("majority", "imagenet", "semise"):
        honest, blind = cell_of(compared, name), cell_of(tmp_path, name)
        assert selected_things(blind) == selected_things(honest)
        assert not np.array_equal(blind.test.levels, honest.test.levels)
        assert len(blind.test.mask_rows) < len(honest.test.mask_rows)


def test_a_selection_holds_no_truth_of_the_test_part(phantoms, make_plan, tmp_path):
    planned = make_plan(phantoms).cells()[0]
    manifest = load_manifest(phantoms)
    data = SharedData.open(manifest, planned.config, tmp_path, reporter=SilentReporter())
    dataset = data.dataset(planned.config, reporter=SilentReporter())
    blind, test = Selection.of(dataset, manifest).dataset, dataset.parts["test"]
    assert len(test) == len(blind.parts["test"]) + len(test) > 0
    assert (blind.levels[test] == UNLABELED).all()
    assert not blind.has_mask[test].any()
    assert not blind.masks[test].any()
    assert dataset.masks[test].any()
    assert (dataset.levels[test] != UNLABELED).all()
    assert not np.isin(test, np.concatenate([*blind.parts.values(), blind.unlabeled])).any()
    for part in ("train", "val"):
        assert np.array_equal(blind.levels[blind.parts[part]], dataset.levels[dataset.parts[part]])
        assert np.array_equal(blind.masks[blind.parts[part]], dataset.masks[dataset.parts[part]])


def test_a_diverging_system_loses_its_cell_not_the_comparison(phantoms, make_plan, tmp_path):
    wild = "wild:optimizer.name=sgd,optimizer.lr=1.0e+20,optimizer.head_lr=1.0e+20"
    reporter = Saying()
    plan = make_plan(phantoms, methods=("majority",), variants=[wild])
    outcome = compare(plan, tmp_path, reporter=reporter, stages=SilentReporter())
    assert [key.name for key in outcome.computed] == ["majority"]
    assert [key.name for key in outcome.failed] == ["wild"]
    assert any("wild" in line and "failed" in line for line in reporter.said)
    ((key, reason),) = outcome.failed.items()
    assert Folder(tmp_path).failures() == [Failure(key, reason)]
    write_cell(Folder(tmp_path).cell(key), dataclasses.replace(cell_of(tmp_path, "majority"), key=key))
    assert Folder(tmp_path).failures() == []  # computed since


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"variants": ["large:phase1.batch_size=400"]}, ConfigError, r"large-fold0of3-split0-seed0: .*image views"),
        ({"variants": ["flat:unet.decoder_channels=[8]"]}, ConfigError, r"flat-fold0of3.*unet\.decoder_channels"),
        (
            {
                "variants": ["few:phase1.pairing=sampled,phase1.pairs=classes"],
                "label_fractions": (0.01,),
                "fraction_rows": ("few",),
            },
            DataError,
            r"few-labels0\.01-fold0of3-split0-seed0: expected images of at least two classes",
        ),
    ],
)
def test_what_cannot_be_trained_is_said_before_any_training(
    options, error, said, phantoms, make_plan, tmp_path, monkeypatch
):
    monkeypatch.setattr("semise_training.data.splits.fraction.LEAST_PER_CLASS", 1)  # two of a grade would make a pair
    reporter = Saying()
    plan = make_plan(phantoms, **{"methods": ("majority",), **options})
    with pytest.raises(error, match=said):
        compare(plan, tmp_path, reporter=reporter, stages=SilentReporter())
    assert reporter.started == []
    assert not list(Folder(tmp_path).cells.glob("*"))


def test_progress_shows_validation_figures_and_what_is_left(phantoms, make_plan, tmp_path):
    reporter = Saying()
    compare(make_plan(phantoms, methods=("majority", "imagenet")), tmp_path, reporter=reporter, stages=SilentReporter())
    assert reporter.started == [("cells", 2)]
    assert "1 of 2" in reporter.said[0]
    assert "validation macro-F1" in reporter.said[1]


def test_a_cell_that_another_process_computes_is_left_to_it(phantoms, make_plan, tmp_path):
    plan = make_plan(phantoms, methods=("majority", "imagenet"))
    taken = next(cell.key for cell in plan.cells() if cell.key.name == "imagenet")
    with claimed(Folder(tmp_path).work(taken)) as is_mine:
        assert is_mine
        outcome = compare(plan, tmp_path, **SILENT)
    assert [key.name for key in outcome.computed] == ["majority"]
    assert outcome.elsewhere == (taken,)


def test_fewer_labels_train_no_unet_and_leave_the_test_part_alone(compared, phantoms, make_plan, tmp_path):
    plan = make_plan(phantoms, methods=("semise",), label_fractions=(0.3,))
    few = next(cell for cell in plan.cells() if cell.key.label_fraction == 0.3)
    shutil.copytree(compared, tmp_path / "out")
    compare(plan, tmp_path / "out", **SILENT)
    cell, whole = read_cell(Folder(tmp_path / "out").cell(few.key)), cell_of(compared, "semise")
    assert cell.selected["unet_dice"] is None
    assert len(cell.test.mask_rows) == 0
    assert np.array_equal(cell.test.levels, whole.test.levels)
    assert sum(cell.counts["train"].values()) < sum(whole.counts["train"].values())
    assert cell.counts["unlabeled"] > whole.counts["unlabeled"]
