"""A whole run on phantoms: its files, its resume, and its refusals."""

import json

import pytest
from safetensors.numpy import load_file

from semise_sdk.errors import ConfigError, DataError, TrainingError
from semise_sdk.models.network import load_network
from semise_sdk.spec import ModelInfo
from semise_sdk.system.locks import claimed
from semise_sdk.system.progress import SilentReporter
from semise_training.config import merge, read_config
from semise_training.loop.run_folder import read_records
from semise_training.methods import find_method
from semise_training.run.train import resume, train


class Killed(Exception):
    """Stands for a kill at an arbitrary step."""


class KillingReporter(SilentReporter):
    def __init__(self, stage, step):
        self.stage, self.left, self.current = stage, step, ""

    def start(self, label, total):
        self.current = label

    def step(self, note):
        if self.current == self.stage:
            self.left -= 1
            if self.left < 0:
                raise Killed


def test_a_run_folder_holds_what_others_script_against(tiny_run):
    for name in ("config.yaml", "split.csv", "metrics.jsonl"):
        assert (tiny_run / name).is_file()
    plots = {path.name for path in (tiny_run / "plots").iterdir()}
    assert plots == {"losses.png", "severity_radius.png", "embedding.png"}
    model = ModelInfo.from_json(json.loads((tiny_run / "checkpoint" / "model.json").read_text()))
    assert model.labels == ("healthy", "mild", "moderate", "severe", "critical")
    assert model.has_segmenter
    calibration = json.loads((tiny_run / "checkpoint" / "calibration.json").read_text())
    assert calibration["n"] == len(calibration["healthy_severity"]) > 0


def test_a_run_remembers_which_images_it_learned_from_and_no_others(tiny_run, phantoms):
    from semise_sdk.calibration import TRAINING_IMAGES, canvas_hash, load_training_hashes
    from semise_sdk.images.preprocess import to_canvas
    from semise_sdk.images.readers import read_image

    known = load_training_hashes((tiny_run / "checkpoint" / TRAINING_IMAGES).read_bytes())
    spec = ModelInfo.from_json(json.loads((tiny_run / "checkpoint" / "model.json").read_text())).spec
    for line in (tiny_run / "split.csv").read_text().splitlines()[1:]:
        name, part = line.split(",")[0], line.rsplit(",", 1)[1]
        seen = canvas_hash(to_canvas(read_image(phantoms.parent / name), spec).pixels)
        assert (seen in known) == (part == "train")


def test_every_epoch_leaves_one_record_with_its_monitors(tiny_run):
    records = read_records(tiny_run / "metrics.jsonl")
    assert [(r["stage"], r["epoch"]) for r in records if r["stage"].startswith("phase")] == [
        ("phase1", 1), ("phase1", 2), ("phase2", 1), ("phase2", 2)
    ]  # fmt: skip
    last = records[3]
    assert set(last["loss"]) == set(last["gradient_norms"]) == {"ntxent", "preference", "pairs"}
    assert {"rankme", "uniformity", "kendall_tau", "auroc_healthy", "pair_accuracy", "radius"} < set(last)


@pytest.mark.parametrize(
    ("stage", "step"), [("phase1", 4), ("phase2", 5), ("refit", 4), ("classifier", 3), ("unet", 6)]
)
def test_a_killed_run_resumes_to_the_same_model(stage, step, tiny_run, phantoms, tmp_path, tiny_config):
    with pytest.raises(Killed):
        train(tiny_config(phantoms), tmp_path / "run", reporter=KillingReporter(stage, step))
    resume(tmp_path / "run", reporter=SilentReporter())
    expected, found = (load_file(run / "checkpoint" / "model.safetensors") for run in (tiny_run, tmp_path / "run"))
    assert set(expected) == set(found)
    assert all((expected[name] == found[name]).all() for name in expected)
    assert comparable(tmp_path / "run") == comparable(tiny_run)


def test_what_a_killed_writer_left_is_gone_after_the_resume(phantoms, tmp_path, tiny_config):
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(tiny_config(phantoms, **SHORT), run, reporter=KillingReporter("phase2", 1))
    (run / "checkpoint" / ".state.safetensors.0123abcd.tmp").write_bytes(b"half")
    (run / ".metrics.jsonl.0123abcd.tmp").write_bytes(b"half")
    (run / ".ranking.csv.0123abcd.tmp").write_bytes(b"somebody else's")
    with claimed(run / "run"), pytest.raises(ConfigError, match="expected no other process to train in"):
        resume(run, reporter=SilentReporter())
    assert (run / ".metrics.jsonl.0123abcd.tmp").exists()  # it may be the other one's
    resume(run, reporter=SilentReporter())
    assert [path.name for path in run.rglob("*.tmp")] == [".ranking.csv.0123abcd.tmp"]


def test_a_second_training_leaves_the_first_ones_files_alone(phantoms, tmp_path, tiny_config):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "split.csv"):
        (run / name).write_text("of the one that has not finished an epoch yet")
    with claimed(run / "run"), pytest.raises(ConfigError, match="expected no other process to train in"):
        train(tiny_config(phantoms, **SHORT), run, reporter=SilentReporter())
    for name in ("config.yaml", "split.csv"):
        assert (run / name).read_text() == "of the one that has not finished an epoch yet"


def comparable(run):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_records(run / "metrics.jsonl")]


SODA = {
    "method": "soda",
    "soda": {"epochs": 2, "batch_size": 20, "latent_dim": 16, "target_size": 16, "channels": 16, "timesteps": 50},
    "classifier": {"epochs": 3},
    "unet": {"epochs": 0},
}


@pytest.fixture(scope="module")
def soda_run(phantoms, tiny_config, tmp_path_factory):
    """A finished run of the diffusion bottleneck."""
    return train(tiny_config(phantoms, **SODA), tmp_path_factory.mktemp("soda") / "run", reporter=SilentReporter())


@pytest.mark.parametrize(("stage", "step"), [("soda", 4), ("classifier", 0), ("classifier", 2)])
def test_a_killed_diffusion_resumes_to_the_same_model(stage, step, soda_run, phantoms, tmp_path, tiny_config):
    with pytest.raises(Killed):
        train(tiny_config(phantoms, **SODA), tmp_path / "run", reporter=KillingReporter(stage, step))
    resume(tmp_path / "run", reporter=SilentReporter())
    expected, found = (load_file(run / "checkpoint" / "model.safetensors") for run in (soda_run.root, tmp_path / "run"))
    assert set(expected) == set(found)
    assert all((expected[name] == found[name]).all() for name in expected)
    assert comparable(tmp_path / "run") == comparable(soda_run.root)


def test_the_deployed_network_of_soda_is_the_encoder_without_what_it_learned_with(soda_run):
    model = ModelInfo.from_json(json.loads((soda_run.checkpoint / "model.json").read_text()))
    assert model.network.projection == "identity"
    names = {name.split(".")[0] for name in load_file(soda_run.checkpoint / "model.safetensors")}
    assert names == {"encoder", "classifier"}
    state = load_file(soda_run.checkpoint / "state.safetensors")
    assert not [name for name in state if "extras" in name]


def test_every_epoch_of_soda_says_what_z_is_worth(soda_run):
    records = [record for record in read_records(soda_run.metrics) if record["stage"] == "soda"]
    assert [record["epoch"] for record in records] == [1, 2]
    assert set(records[-1]["loss"]) == {"denoising"}
    assert {"val_denoising", "val_denoising_without_z", "rankme", "kendall_tau", "radius"} < set(records[-1])
    assert "monotone_radius" not in records[-1]
    assert records[1]["loss"]["denoising"] < records[0]["loss"]["denoising"] < 1.1


def test_a_second_run_in_the_same_folder_is_refused(tiny_run, phantoms, tiny_config):
    with pytest.raises(ConfigError, match="--resume"):
        train(tiny_config(phantoms), tiny_run, reporter=SilentReporter())


def test_a_nan_is_said_in_one_sentence(phantoms, tmp_path, tiny_config):
    config = tiny_config(phantoms, optimizer={"name": "sgd", "lr": 1e20, "head_lr": 1e20})
    with pytest.raises(TrainingError, match="phase1"):
        train(config, tmp_path / "run", reporter=SilentReporter())


def test_a_nan_of_the_diffusion_is_said_in_one_sentence(phantoms, tmp_path, tiny_config):
    config = tiny_config(phantoms, **merge(SODA, {"optimizer": {"lr": 1e20, "head_lr": 1e20}}))
    with pytest.raises(TrainingError, match="soda"):
        train(config, tmp_path / "run", reporter=SilentReporter())


def test_the_untrained_encoder_is_a_method_on_the_same_split(tiny_run, phantoms, tmp_path, tiny_config):
    run = train(tiny_config(phantoms, method="imagenet"), tmp_path / "run", reporter=SilentReporter())
    model = ModelInfo.from_json(json.loads((run.checkpoint / "model.json").read_text()))
    assert model.network.projection == "identity"
    assert model.network.vector_dim == model.network.feature_dim
    assert run.split.read_text() == (tiny_run / "split.csv").read_text()
    assert {record["stage"] for record in read_records(run.metrics)} == {"classifier", "unet"}


def test_the_majority_method_is_refused_in_favour_of_compare(phantoms, tmp_path, tiny_config):
    with pytest.raises(ConfigError, match=r"found majority.*semise compare"):
        train(tiny_config(phantoms, method="majority"), tmp_path / "run", reporter=SilentReporter())
    assert not (tmp_path / "run").exists()


SHORT = {
    "simclr": {"epochs": 1, "batch_size": 20},
    "supervised": {"epochs": 2, "batch_size": 20},
    "phase1": {"epochs": 1},
    "phase2": {"epochs": 1},
    "unet": {"epochs": 0},
}


@pytest.mark.parametrize("method", ["supervised", "simclr", "supcon-n", "conpro"])
def test_every_method_leaves_a_model_like_any_other(method, phantoms, tmp_path, tiny_config):
    run = train(tiny_config(phantoms, method=method, **SHORT), tmp_path / "run", reporter=SilentReporter())
    config = read_config(run.config)
    model = ModelInfo.from_json(json.loads((run.checkpoint / "model.json").read_text()))
    assert model.network.projection == ("identity" if method == "supervised" else "heads")
    assert load_network(model.network, run.checkpoint / "model.safetensors").classifier is not None
    views = {record["stage"]: record["views"] for record in read_records(run.metrics)}
    assert views.pop("classifier") == 0
    assert list(views) == [stage.section for stage in find_method(config.method).upstream]
    assert all(views.values())


def test_a_killed_supervised_run_resumes_with_its_linear_head(phantoms, tmp_path, tiny_config):
    config = tiny_config(phantoms, method="supervised", **SHORT)
    whole = train(config, tmp_path / "whole", reporter=SilentReporter())
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", reporter=KillingReporter("supervised", 4))
    with pytest.raises(Killed):
        resume(tmp_path / "killed", reporter=KillingReporter("classifier", 3))
    found = resume(tmp_path / "killed", reporter=SilentReporter())
    expected, weights = (load_file(run.checkpoint / "model.safetensors") for run in (whole, found))
    assert all((expected[name] == weights[name]).all() for name in expected)
    assert comparable(found.root) == comparable(whole.root)


def test_an_ordinal_calibrated_classifier_is_recorded_and_resumes(phantoms, tmp_path, tiny_config):
    ordinal = {"classifier": {"head": "corn", "temperature": "validation"}, "unet": {"epochs": 1}}
    config = tiny_config(phantoms, method="imagenet", **ordinal)
    whole = train(config, tmp_path / "whole", reporter=SilentReporter())
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", reporter=KillingReporter("unet", 1))
    found = resume(tmp_path / "killed", reporter=SilentReporter())
    expected, weights = (load_file(run.checkpoint / "model.safetensors") for run in (whole, found))
    assert all((expected[name] == weights[name]).all() for name in expected)
    temperature = json.loads((whole.checkpoint / "calibration.json").read_text())["classifier_temperature"]
    assert float(expected["classifier.6.inverse_temperature"][0]) == pytest.approx(1 / temperature, rel=1e-5)
    assert temperature != 1
    model = ModelInfo.from_json(json.loads((whole.checkpoint / "model.json").read_text()))
    assert model.network.classifier_head == "corn"


def test_leaky_data_is_refused_with_every_problem(phantoms, tmp_path, tiny_config):
    lines = phantoms.read_text().splitlines()
    header = lines[0] + ",split"
    rows = [f"{line},{'train' if index % 2 else 'test'}" for index, line in enumerate(lines[1:])]
    manifest = phantoms.with_name("leaky.csv")
    manifest.write_text("\n".join([header, *rows]))
    with pytest.raises(DataError) as caught:
        train(tiny_config(manifest), tmp_path / "run", reporter=SilentReporter())
    assert len(caught.value.problems) > 1


def test_an_unknown_method_lists_the_known_ones(phantoms, tmp_path, tiny_config):
    with pytest.raises(ConfigError, match="majority, imagenet, supervised, simclr, supcon-2, supcon-n"):
        train(tiny_config(phantoms, method="magic"), tmp_path / "run", reporter=SilentReporter())
    assert not (tmp_path / "run").exists()
