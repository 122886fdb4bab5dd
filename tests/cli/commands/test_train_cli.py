"""What ``semise train`` and ``evaluate`` make of their options, without training."""

import json
import os

from semise_sdk.cli.app import run
from semise_sdk.cli.commands.train import _train
from semise_sdk.cli.project import load_project, newest_run


def test_resume_refuses_settings_it_would_ignore(capsys):
    assert run(["train", "--resume", "--seed", "3"]) == 2
    assert "keeps its config.yaml" in capsys.readouterr().err


def test_weights_and_from_scratch_exclude_each_other(capsys):
    assert run(["train", "x.csv", "--weights", "w.safetensors", "--from-scratch"]) == 2
    assert "keep one" in capsys.readouterr().err


def test_the_projects_name_becomes_the_models(monkeypatch, tmp_path):
    (tmp_path / "semise.toml").write_text(
        '[project]\nname = "ward7"\n[data]\nmanifest = "d.csv"\n[train]\nout = "runs"\n'
    )
    seen = []
    monkeypatch.setattr("semise_training.run.train.train", lambda config, root, reporter: seen.append(config))
    monkeypatch.setattr("semise_sdk.cli.commands.train._measure", lambda *args, **kwargs: None)
    project = load_project(tmp_path)
    options = {"data": {"manifest": tmp_path / "d.csv"}}
    _train(options, [], None, project, tmp_path / "run", as_json=False, quiet=True)
    assert seen[0].name == "ward7"


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
