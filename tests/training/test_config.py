from pathlib import Path

import pytest

from semise_sdk.errors import ConfigError
from semise_training.config import PRESETS, dump_config, merge, parse_assignments, read_config
from semise_training.recipe import build_config

DATA = {"data": {"manifest": "data.csv"}}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_writing_and_reading(preset, tmp_path):
    config = build_config(preset, DATA)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert read_config(path) == config


def test_faithful_is_the_papers_protocol():
    config = build_config("faithful", DATA)
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.head_lr) == ("sgd", 1e-3, 1e-1)
    assert config.phase1.pairs_per_epoch == config.phase2.pairs_per_epoch == 100_000
    assert (config.phase1.batch_size, config.phase2.alpha, config.phase2.preference.beta) == (256, 0.5, 1.0)
    assert config.phase2.class_pair_weight == 0
    assert not config.heads.residual


def test_sodas_optimiser_is_its_own_whatever_part_is_set():
    optimizer = build_config("recommended", merge(DATA, {"method": "soda", "optimizer": {"lr": 2e-4}})).optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay, optimizer.clip_norm) == (2e-4, (0.9, 0.95), 0.05, 1)
    default = build_config("faithful", merge(DATA, {"method": "soda"})).optimizer
    assert (default.name, default.lr, default.head_lr) == ("adamw", 5e-4, 5e-4)


def test_a_target_larger_than_the_canvas_is_refused_where_it_is_used():
    large = merge(DATA, {"soda": {"target_size": 512}})
    build_config("recommended", large)
    with pytest.raises(ConfigError, match=r"expected soda.target_size up to input.size, 224, found 512"):
        build_config("recommended", merge(large, {"method": "soda"}))


def test_all_wrong_settings_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        build_config("recommended", merge(DATA, {"phase2": {"alpha": 2}, "unknown": 1, "augment": {"blurr": 0.5}}))
    message = str(caught.value)
    assert "phase2.alpha" in message
    assert "unknown" in message
    assert "blurr" in message


def test_assignments_are_nested_yaml():
    overrides = parse_assignments(["phase2.ntxent.scope=all", "phase2.alpha=0.7", "unet.decoder_channels=[8, 4]"])
    assert overrides == {"phase2": {"ntxent": {"scope": "all"}, "alpha": 0.7}, "unet": {"decoder_channels": [8, 4]}}
    assert build_config("recommended", merge(DATA, overrides)).phase2.ntxent.temperature == 0.2


@pytest.mark.parametrize("text", ["alpha", "=1"])
def test_a_malformed_assignment_is_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        parse_assignments([text])


def test_fractions_and_columns_are_replaced_not_merged():
    config = build_config("recommended", merge(DATA, {"data": {"fractions": {"train": 0.6, "val": 0.2, "test": 0.2}}}))
    assert config.data.fractions == {"train": 0.6, "val": 0.2, "test": 0.2}


def test_encoder_weights_need_init_file():
    with pytest.raises(ConfigError, match=r"encoder\.weights"):
        build_config("recommended", merge(DATA, {"encoder": {"weights": Path("w.safetensors")}}))


@pytest.mark.parametrize(
    "setting",
    [
        "data.fold=9",
        "data.folds=1",
        "seed=-1",
        "classifier.epochs=0",
        "phase2.alpha=[",
        "soda.target_size=30",
        "soda.channels=12",
    ],
)
def test_a_setting_that_could_only_fail_later_is_refused_now(setting):
    with pytest.raises(ConfigError):
        build_config("recommended", merge(merge(DATA, {"data": {"folds": 5}}), parse_assignments([setting])))


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match="recommended, faithful"):
        build_config("best", DATA)


@pytest.mark.parametrize(
    ("setting", "default", "before"), [("selection", "pooled_dice", "dice"), ("prior", "lesions", "none")]
)
def test_a_run_of_before_there_was_a_choice_goes_on_training_its_u_net_as_then(tmp_path, setting, default, before):
    written = dump_config(build_config("recommended", {"data": {"manifest": "labels.csv"}}))
    (tmp_path / "config.yaml").write_text(written)
    assert getattr(read_config(tmp_path / "config.yaml").unet, setting) == default
    (tmp_path / "config.yaml").write_text(written.replace(f"  {setting}: {default}\n", ""))
    assert getattr(read_config(tmp_path / "config.yaml").unet, setting) == before
