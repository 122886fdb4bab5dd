"""What ``semise train`` and ``evaluate`` make of their options, without training."""

import json
import os
from pathlib import Path

import pytest
import typer

from semise_sdk.cli.app import app, run
from semise_sdk.cli.project import newest_run

KEPT = {"resume", "out", "as_json", "quiet", "help"}
SETTINGS = [one for one in typer.main.get_command(app).commands["train"].params if one.name not in KEPT]


def typed(parameter):
    """Returns an option as it is typed, with a value of its kind."""
    name = parameter.opts[0]
    value = [] if getattr(parameter, "is_flag", False) else ["phase1.epochs=1" if name == "--set" else "1"]
    return value if not name.startswith("-") else [name, *value]


@pytest.fixture
def trained(monkeypatch):
    """What is asked of the training, which does nothing."""
    asked = []
    monkeypatch.setattr("semise_training.run.train.train", lambda config, root, reporter: asked.append((config, root)))
    monkeypatch.setattr("semise_training.run.train.resume", lambda root, reporter: asked.append((None, root)))
    monkeypatch.setattr("semise_sdk.cli.commands.train._measure", lambda root, **options: asked.append((options, root)))
    return asked


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: one.name)
def test_resume_refuses_every_setting_that_it_would_ignore(setting, trained, capsys):
    name = setting.opts[0] if setting.opts[0].startswith("-") else setting.opts[0].upper()
    assert run(["train", "--resume", "--out", "run", *typed(setting)]) == 2
    said = capsys.readouterr().err
    assert f"expected no {name} beside --resume, found {name}" in said
    assert "keeps its config.yaml" in said
    assert trained == []


def test_resume_refuses_a_start_from_random_weights(capsys):
    assert run(["train", "--resume", "--from-scratch", "--seed", "3"]) == 2
    assert capsys.readouterr().err == (
        "semise: expected no --from-scratch, --seed beside --resume, found --from-scratch, --seed 3: a resumed run "
        "keeps its config.yaml; leave it out, or start another run\n"
    )


def test_resume_keeps_what_is_no_setting(trained):
    assert run(["train", "--resume", "--out", "run", "--json", "--quiet"]) == 0
    assert trained == [(None, Path("run")), ({"as_json": True, "quiet": True}, Path("run"))]


def test_weights_and_from_scratch_exclude_each_other(capsys):
    assert run(["train", "x.csv", "--weights", "w.safetensors", "--from-scratch"]) == 2
    assert "keep one" in capsys.readouterr().err


def test_the_projects_name_becomes_the_models(trained, monkeypatch, tmp_path):
    (tmp_path / "semise.toml").write_text(
        '[project]\nname = "ward7"\n[data]\nmanifest = "d.csv"\n[train]\nout = "runs"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--quiet"]) == 0
    (config, root), _ = trained
    assert config.name == "ward7"
    assert config.data.manifest == tmp_path / "d.csv"
    assert root.parent == tmp_path / "runs"


def test_options_stand_above_the_project_and_settings_beside_them(trained, monkeypatch, tmp_path):
    (tmp_path / "semise.toml").write_text(
        '[data]\nmanifest = "d.csv"\ncolumns = { image = "file" }\n[train]\nseed = 9\nphase2 = { alpha = 0.3 }\n'
    )
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--alpha", "0.5", "--set", "phase2.epochs=3", "--folds", "4", "--fold", "2", "-q"]) == 0
    assert run(["train", "other.csv", "--device", "cpu", "--set", "runtime.threads=1", "-q"]) == 0
    first, other = trained[0][0], trained[2][0]
    assert (first.seed, first.phase2.alpha, first.phase2.epochs) == (9, 0.5, 3)
    assert (first.data.columns, first.data.folds, first.data.fold) == ({"image": "file"}, 4, 2)
    assert (other.data.manifest, other.data.columns) == (tmp_path / "other.csv", {})
    assert (other.seed, other.runtime.device, other.runtime.threads) == (9, "cpu", 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seed", "3", "--set", "seed=4"], "expected one value of seed, found an option and --set seed: keep one"),
        (["--alpha", "1", "--set", "phase2={alpha: 0.5}"], "expected one value of phase2.alpha"),
        (["--from-scratch", "--set", "encoder.init=pretrained"], "expected one value of encoder.init"),
        (["--columns", "image=file", "--set", "data.columns.group=g"], "expected one value of data.columns"),
        (["--fold", "2"], "expected --folds with --fold, found --fold 2 alone: say how many folds there are"),
    ],
)
def test_no_option_is_lost_beside_another(arguments, sentence, trained, capsys):
    assert run(["train", "x.csv", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert trained == []


def test_a_fold_may_be_one_of_those_that_a_setting_makes(trained):
    assert run(["train", "x.csv", "--fold", "2", "--set", "data.folds=5", "-q"]) == 0
    assert (trained[0][0].data.folds, trained[0][0].data.fold) == (5, 2)


def test_headers_without_a_manifest_are_refused(tiny_run, capsys):
    assert run(["evaluate", str(tiny_run), "--columns", "image=file"]) == 2
    assert "expected DATA with --columns, found none: name its manifest" in capsys.readouterr().err


def test_export_takes_the_newest_finished_run(tmp_path):
    for age, (name, file) in enumerate([("good", "checkpoint/model.json"), ("typo", "config.yaml")]):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        os.utime(path, (1_000 + age, 1_000 + age))
    assert newest_run(tmp_path, finished=True) == tmp_path / "good"
    assert newest_run(tmp_path) == tmp_path / "typo"


def test_a_run_is_evaluated_on_its_own_test_part(tiny_run, capsys):
    assert run(["evaluate", str(tiny_run), "--json", "--quiet"]) == 0
    figures = json.loads(capsys.readouterr().out)
    keys = "macro_f1 recall maee mae kappa spearman kendall_tau c_index balanced_accuracy auroc_healthy ece iou dice"
    assert set(keys.split()) <= set(figures)
    assert set(figures["dice"]) == {"value", "low", "high", "n"}
    tested = sum(line.endswith(",test") for line in (tiny_run / "split.csv").read_text().splitlines())
    assert figures["macro_f1"]["n"] == tested


def test_grades_of_another_name_are_refused(tiny_run, phantoms, tmp_path, capsys):
    manifest = phantoms.with_name("renamed.csv")
    manifest.write_text(phantoms.read_text().replace("critical", "fatal"))
    assert run(["evaluate", str(tiny_run), str(manifest)]) == 2
    assert "found healthy, mild, moderate, severe, fatal" in capsys.readouterr().err


def test_a_file_is_no_run_folder(phantoms, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = ["train", str(phantoms), "--encoder", "test_resnet", "--from-scratch", "--out", str(tmp_path / "file")]
    assert run(arguments) == 2
    assert "found a file" in capsys.readouterr().err


def test_a_misspelt_encoder_is_said_before_any_image_is_read(phantoms, tmp_path, capsys):
    assert run(["train", str(phantoms), "--encoder", "resnet51", "--from-scratch", "--out", str(tmp_path / "run")]) == 2
    assert "resnet51" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
