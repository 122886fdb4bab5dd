"""The table of methods: what each trains, and whose settings win."""

import pytest
import torch

from semise_sdk.errors import ConfigError
from semise_training.config import PRESETS, dump_config, merge, read_config
from semise_training.methods import METHODS, find_method
from semise_training.recipe import build_config

DATA = {"data": {"manifest": "data.csv"}}
TRAINED = [name for name, method in METHODS.items() if method.upstream]


def config_of(method, preset="recommended", **overrides):
    return build_config(preset, merge(merge(DATA, {"method": method}), overrides))


def test_the_table_holds_the_papers_systems_and_the_mandatory_rows():
    assert {"majority", "imagenet", "supervised", "simclr", "supcon-2", "supcon-n", "conpro", "semise"} <= set(METHODS)
    assert [name for name, method in METHODS.items() if method.is_constant] == ["majority"]
    assert {name for name in METHODS if not METHODS[name].upstream} == {"majority", "imagenet"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_resolves_and_is_written_down_whole(method, preset, tmp_path):
    config = config_of(method, preset)
    assert config.method == method
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert read_config(tmp_path / "config.yaml") == config


def test_the_preset_yields_to_the_method_and_the_method_to_the_user():
    assert build_config("recommended", DATA).phase2.alpha == 0.1
    conpro = config_of("conpro")
    assert (conpro.phase2.alpha, conpro.phase2.class_pair_weight) == (0, 0)
    asked = config_of("conpro", phase2={"alpha": 0.3})
    assert (asked.phase2.alpha, asked.phase2.class_pair_weight) == (0.3, 0)


def test_conpro_keeps_the_presets_reading_of_everything_else():
    assert config_of("conpro", "faithful").phase2.preference == config_of("semise", "faithful").phase2.preference
    assert config_of("conpro").phase1 == config_of("semise").phase1


def test_semise_faithful_is_the_faithful_preset_in_small_batches_whatever_the_preset():
    batches = {phase: {"batch_size": 32} for phase in ("phase1", "phase2")}
    expected = build_config("faithful", {**DATA, **batches}).model_dump()
    for preset in PRESETS:
        assert config_of("semise-faithful", preset).model_dump() == expected | {"method": "semise-faithful"}


@pytest.mark.parametrize(("method", "pairs"), [("supcon-2", "binary"), ("supcon-n", "classes")])
@pytest.mark.parametrize("preset", PRESETS)
def test_supcon_spends_everything_on_phase_1_and_leaves_h_the_identity(method, pairs, preset):
    config = config_of(method, preset)
    assert [stage.section for stage in find_method(method).upstream] == ["phase1"]
    assert (config.phase1.pairs, config.phase1.objective) == (pairs, "pair_margin")
    assert (config.heads.residual, config.heads.reference_head) == (True, "severity")


def test_an_unknown_method_is_said_before_its_settings():
    with pytest.raises(ConfigError, match=r"conpro, .*semise, found 'magic'"):
        config_of("magic")
    with pytest.raises(ConfigError, match="found '3'"):
        config_of(3)


@pytest.mark.parametrize("method", TRAINED)
def test_a_stage_is_named_like_its_section(method, upstream_of):
    config, upstream = upstream_of(method)
    for row in METHODS[method].upstream:
        stage = row.build(upstream, config)
        assert stage.name == row.section
        assert stage.epochs == row.settings(config).epochs
        assert stage.steps_per_epoch() == row.settings(config).batches(18 if row.section != "simclr" else 22)


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_moves_the_encoder(method, upstream_of):
    config, upstream = upstream_of(method)
    row = [row for row in METHODS[method].upstream if row.section != "refit"][-1]
    stage = row.build(upstream, config)
    parameters = list(upstream.model.network.encoder.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    stage.begin_epoch(0)
    loss = torch.stack(list(stage.terms(next(iter(stage.batches(0))), seed=0).values())).sum()
    torch.autograd.backward(loss)
    stage.optimizer.step()
    assert any(not torch.equal(one, other) for one, other in zip(before, parameters, strict=True))
