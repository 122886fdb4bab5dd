"""``semise compare`` from the command line."""

import json

import pytest

from semise_sdk.cli.app import run
from semise_training.compare.compute.run import Outcome

TINY = [
    "--encoder", "test_resnet", "--from-scratch", "--size", "32", "--head-seeds", "1", "--no-masks", "--repeats", "20",
    "--passes", "5", "--set", "phase1.epochs=1", "--set", "phase2.epochs=1", "--set", "classifier.epochs=2",
    "--set", "runtime.threads=1", "--set", "classifier.augmented_views=0", "--set", "runtime.precision=fp32", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def out(phantoms, tmp_path_factory):
    """The folder of a comparison on validation data."""
    folder = tmp_path_factory.mktemp("cli") / "out"
    arguments = ["--methods", "majority,imagenet", "--folds", "3", "--only-fold", "1", "--out", str(folder)]
    assert run(["compare", str(phantoms), *arguments, *TINY, "--parts", "val", "--json"]) == 0
    return folder


def test_validation_tables_leave_the_test_part_alone(out, capsys):
    capsys.readouterr()
    assert (out / "val" / "comparison.html").is_file()
    assert not (out / "table1.csv").exists()
    assert run(["compare", "--report-only", "--out", str(out), "--parts", "val", "--json", "--quiet"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["part"] == "val"
    assert [row["method"] for row in data["systems"]] == ["majority", "imagenet"]


def test_a_report_alone_can_be_of_some_rows(out, capsys):
    capsys.readouterr()
    only = ["--report-only", "--methods", "imagenet", "--parts", "val"]
    assert run(["compare", *only, "--out", str(out), "--json", "--quiet"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)["systems"]] == ["imagenet"]
    assert run(["compare", "--report-only", "--methods", "soda", "--out", str(out), "--quiet"]) == 2
    assert "expected rows of imagenet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "idle",
    [
        ["data.csv"], ["--folds", "5"], ["--seeds", "3"], ["--only-fold", "1"], ["--alphas", "0.1"], ["--redo"],
        ["--label-fractions", "0.1"], ["--fraction-methods", "semise"], ["--head-seeds", "2"], ["--no-masks"],
        ["--passes", "5"], ["--preset", "faithful"], ["--columns", "image=file"], ["--encoder", "resnet18"],
        ["--weights", "w"], ["--from-scratch"], ["--size", "64"], ["--device", "cpu"], ["--set", "seed=1"],
        ["--keep-runs"],
    ],
    ids=lambda idle: idle[0],
)  # fmt: skip
def test_a_report_alone_refuses_what_only_cells_are_made_by(idle, out, capsys):
    capsys.readouterr()
    assert run(["compare", *idle, "--report-only", "--out", str(out), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "beside --report-only, found" in said
    assert "the cells are there already; leave it out" in said


def test_a_projects_training_settings_are_those_of_every_cell(phantoms, tmp_path, monkeypatch):
    """As `semise train` takes them, options on top; what the comparison itself varies it sets all the same."""
    (tmp_path / "semise.toml").write_text(
        f'[project]\nname = "ward7"\n[data]\nmanifest = {json.dumps(str(phantoms))}\n[train]\npreset = "faithful"\n'
        "seed = 9\nphase2 = { alpha = 0.3 }\nclassifier = { epochs = 7, lr = 0.01 }\n"
    )
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(
        "semise_sdk.cli.commands.compare._run", lambda plan, *args, **options: seen.append(plan) or _NOTHING
    )
    arguments = ["--methods", "semise", "--folds", "3", "--only-fold", "0", "--set", "classifier.epochs=2"]
    assert run(["compare", *arguments, "--out", "out", "--quiet"]) == 0
    (cell,) = seen[0].cells()
    assert cell.config.data.manifest == phantoms
    assert (cell.config.phase2.alpha, cell.config.phase2.pairing) == (0.3, "sampled")
    assert (cell.config.classifier.epochs, cell.config.classifier.lr) == (2, 0.01)
    assert (cell.config.seed, cell.key.name) == (0, "semise")


_NOTHING = Outcome((), 0, (), {})


def test_the_same_command_goes_on_and_prints_a_table(out, phantoms, capsys):
    arguments = ["--methods", "imagenet", "--variant", "less:method=imagenet,classifier.epochs=1", "--folds", "3"]
    assert run(["compare", str(phantoms), *arguments, "--only-fold", "1", "--out", str(out), *TINY]) == 0
    shown = capsys.readouterr().out
    assert "less" in shown
    assert "majority" in shown
    assert (out / "cells" / "less-fold1of3-split0-seed0.json").is_file()
    assert (out / "table1.csv").read_text().count("\n") == 4


def test_a_changed_setting_is_refused_in_one_sentence(out, phantoms, capsys):
    arguments = ["--methods", "imagenet", "--folds", "3", "--only-fold", "1", "--out", str(out), *TINY]
    assert run(["compare", str(phantoms), *arguments, "--set", "classifier.epochs=9"]) == 2
    assert "--redo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "magic"], "magic"),
        (["--methods", ""], "at least one method"),
        (["--methods", "imagenet", "--alphas", "0.1"], "the method semise"),
        (["--methods", "majority", "--label-fractions", "0.1"], "a row that learns"),
        (["--methods", "semise", "--label-fractions", "0.1", "--fraction-methods", "soda"], "among the rows"),
        (["--methods", "conpro", "--set", "phase2.alpha=0.3"], "--variant"),
        (["--variant", "x:data.split_seed=3"], "no setting of data"),
        (["--methods", "imagenet", "--alphas", "a"], "--alphas as numbers"),
        (["--methods", "imagenet", "--label-fractions", "2"], "--label-fractions of 0 to 1"),
        (["--methods", "imagenet", "--parts", "train"], "test or val"),
        (["--methods", "imagenet", "--set", "data.fold=1"], "the comparison sets that"),
        (["--methods", "imagenet", "--weights", "w", "--from-scratch"], "keep one"),
        (["--methods", "imagenet", "--encoder", "resnet51", "--from-scratch"], "resnet51"),
        (["--methods", "imagenet", "--size", "64", "--set", "input.size=32"], "expected one value of input.size"),
    ],
)
def test_wrong_use_is_one_sentence_before_any_image_is_read(arguments, said, phantoms, tmp_path, capsys):
    assert run(["compare", str(phantoms), *arguments, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "cache").exists()


def test_a_failed_cell_ends_with_the_code_of_training(phantoms, tmp_path, capsys):
    wild = "wild:optimizer.name=sgd,optimizer.lr=1.0e+20,optimizer.head_lr=1.0e+20"
    arguments = ["--methods", "majority", "--variant", wild, "--folds", "3", "--only-fold", "0"]
    assert run(["compare", str(phantoms), *arguments, "--out", str(tmp_path), *TINY]) == 4
    assert "1 cells failed" in capsys.readouterr().err
    assert (tmp_path / "table1.csv").is_file()


def test_where_nothing_was_computed_the_failure_is_what_is_said(phantoms, tmp_path, capsys):
    wild = "wild:optimizer.name=sgd,optimizer.lr=1.0e+20,optimizer.head_lr=1.0e+20"
    arguments = ["--variant", wild, "--folds", "3", "--only-fold", "0", "--out", str(tmp_path), *TINY]
    assert run(["compare", str(phantoms), *arguments]) == 4
    assert "wild-fold0of3-split0-seed0" in capsys.readouterr().err


def test_training_refuses_what_is_only_a_row(phantoms, tmp_path, capsys):
    assert run(["train", str(phantoms), "--method", "majority", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "semise compare DATA --methods majority" in capsys.readouterr().err
