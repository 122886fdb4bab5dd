"""The soda stage on a tiny network and random pictures: which images, which views, and what is deployed."""

import dataclasses

import numpy as np
import pytest
import torch

from semise_sdk.errors import TrainingError
from semise_training.augment import AUGMENT_PRESETS, Augmenter
from semise_training.config import merge
from semise_training.data.dataset import UNLABELED, Dataset
from semise_training.data.size import DataSize
from semise_training.loop.checkpoint import state_digest
from semise_training.network.device import Compute
from semise_training.network.model import build_model
from semise_training.recipe import build_config
from semise_training.stages.soda import Soda, as_target, views_per_batch
from semise_training.stages.upstream import Upstream

TINY = {
    "data": {"manifest": "data.csv"},
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 32},
    "unet": {"epochs": 0},
    "soda": {"batch_size": 6, "latent_dim": 16, "target_size": 16, "channels": 16, "timesteps": 50},
}
TRAIN, VAL, UNLABELED_TRAIN = np.arange(12), np.arange(12, 18), np.arange(18, 22)


def tiny_dataset():
    random = np.random.default_rng(0)
    levels = np.array([0, 1, 2] * 6 + [UNLABELED] * 4)
    return Dataset(
        canvases=random.integers(0, 255, (len(levels), 32, 32, 3), dtype=np.uint8),
        masks=np.zeros((len(levels), 32, 32), np.uint8),
        has_mask=np.zeros(len(levels), bool),
        levels=levels,
        groups=np.arange(len(levels)),
        parts={"train": TRAIN, "val": VAL, "test": TRAIN[:0], "calibration": TRAIN[:0]},
        unlabeled=UNLABELED_TRAIN,
        labels=("healthy", "mild", "severe"),
    )


def soda(overrides=None, *, dataset=None, augment=None):
    config = build_config("recommended", merge(TINY, {"method": "soda", "soda": overrides or {}}))
    model = build_model(config, classes=3, identity=True)
    augmenter = Augmenter(augment or config.augment)
    upstream = Upstream(model, dataset or tiny_dataset(), augmenter, Compute(torch.device("cpu"), "fp32"), 0)
    stage = Soda(upstream, config.soda, config.optimizer)
    stage.begin_epoch(0)
    return stage


def descend(stage, *, epoch=0):
    for step, batch in enumerate(stage.batches(epoch)):
        stage.optimizer.zero_grad()
        stage.terms(batch, seed=step)["denoising"].backward()
        stage.optimizer.step()


def test_an_epoch_shows_every_training_image_labeled_or_not():
    stage = soda()
    batches = list(stage.batches(0))
    assert len(batches) == stage.steps_per_epoch() == 3
    assert {len(batch) for batch in batches} == {6}
    assert set(np.concatenate(batches)) == {*TRAIN, *UNLABELED_TRAIN}
    first, again, other = (np.concatenate(list(stage.batches(epoch))) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("batch_size", [6, 50])
def test_views_are_the_images_that_pass_through_the_encoder(batch_size):
    stage = soda({"batch_size": batch_size})
    passed = []
    stage.learner.bottleneck.register_forward_hook(lambda _, inputs, output: passed.append(len(inputs[0])))
    descend(stage)
    size = DataSize(train_images=12, unlabeled_images=4, images_per_level=(4, 4, 4))
    expected = stage.steps_per_epoch() * views_per_batch(stage.config, size)
    assert sum(passed) == stage.model.views == expected == (18 if batch_size == 6 else 16)


def test_no_label_is_read():
    other = tiny_dataset()
    other.levels[:18] = other.levels[17::-1]
    losses = []
    for dataset in (tiny_dataset(), other):
        stage = soda(dataset=dataset)
        descend(stage)
        losses.append(state_digest(stage.learner))
    assert losses[0] == losses[1]


def test_the_target_is_another_view_of_the_same_image(monkeypatch):
    stage = soda({"latent_drop": 0.0})
    seen = {}
    monkeypatch.setattr(stage.learner, "latent", lambda planes: seen.setdefault("source", planes) * 0)
    monkeypatch.setattr(stage.learner, "loss", lambda latent, targets, draw: seen.setdefault("target", targets).mean())
    batch = next(iter(stage.batches(0)))
    stage.terms(batch, seed=1)
    source, target = as_target(seen["source"], 16), seen["target"]
    original = as_target(stage.upstream.original(batch), 16)
    assert source.shape == target.shape == original.shape
    assert all((source - target).abs().mean(dim=(1, 2, 3)) > 0.02)
    unmoved = soda(augment=AUGMENT_PRESETS["none"])._targets(batch, seed=1)
    assert torch.equal(unmoved, original)


def test_a_target_is_the_mean_of_its_area_in_minus_one_to_one():
    planes = torch.tensor([0.0, 255.0, 255.0, 255.0]).view(1, 1, 2, 2).repeat(1, 3, 2, 2)
    assert torch.allclose(as_target(planes, 2), torch.full((1, 3, 2, 2), 0.5))
    assert as_target(planes * 0, 2).unique().tolist() == [-1.0]


def test_the_encoder_and_the_rest_learn_at_one_rate_with_the_papers_decay_and_momenta():
    stage = soda()
    encoder, rest = stage.optimizer.param_groups
    assert encoder["base_lr"] == rest["base_lr"] == 5e-4
    assert {group["betas"] for group in (encoder, rest)} == {(0.9, 0.95)}
    assert {group["weight_decay"] for group in (encoder, rest)} == {0.05}
    assert encoder["params"] == list(stage.learner.encoder.parameters())
    counted = sum(len(group["params"]) for group in (encoder, rest))
    assert counted == len(list(stage.trained.parameters()))


def test_the_deployed_encoder_is_the_average_of_the_one_that_learns():
    stage = soda()
    deployed = stage.model.network.encoder
    start = [parameter.clone() for parameter in deployed.parameters()]
    expected = start
    for updates, batch in enumerate(stage.batches(0)):
        stage.optimizer.zero_grad()
        stage.terms(batch, seed=updates)["denoising"].backward()
        stage.optimizer.step()
        keep = (1 + updates) / (10 + updates)
        learned = list(stage.learner.encoder.parameters())
        expected = [keep * old + (1 - keep) * new for old, new in zip(expected, learned, strict=True)]
    for found, wanted in zip(deployed.parameters(), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
    assert any(not torch.equal(found, old) for found, old in zip(deployed.parameters(), start, strict=True))
    assert int(stage.learner.updates) == 3


def test_the_deployed_encoder_takes_over_the_statistics_and_measures_none():
    stage = soda()
    descend(stage)
    deployed, learned = stage.model.network.encoder, stage.learner.encoder
    before = state_digest(deployed)
    stage.terms(next(iter(stage.batches(1))), seed=0)
    assert state_digest(deployed) == before
    counters = [name for name in deployed.state_dict() if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(deployed.state_dict()[name]) == 3 for name in counters)
    assert all(not module.training for module in deployed.modules())
    assert all(module.training for module in learned.modules())


def test_everything_of_the_learner_is_restored_with_the_model():
    stage, other = soda(), soda()
    descend(stage)
    assert state_digest(other.model) != state_digest(stage.model)
    other.model.load_state_dict(stage.model.state_dict())
    assert state_digest(other.learner) == state_digest(stage.learner)
    assert int(other.learner.updates) == 3


def test_the_validation_losses_say_that_an_untrained_z_is_worth_nothing():
    figures = soda().end_epoch(0)
    assert figures["val_denoising"] == figures["val_denoising_without_z"] == pytest.approx(1, abs=0.05)
    assert "monotone_radius" not in figures


def test_the_validation_losses_part_where_z_guides():
    stage = soda()
    torch.nn.init.normal_(stage.learner.denoiser.last.weight)
    first, again = stage.end_epoch(0), stage.end_epoch(1)
    assert first["val_denoising"] != first["val_denoising_without_z"]
    assert first == again


def test_sections_are_dropped_only_where_asked():
    assert soda().learner.sections == 1
    sectioned = soda({"section_drop": 0.3})
    assert sectioned.learner.sections == 3
    descend(sectioned)


def test_a_collapsed_average_is_said():
    stage = soda()
    with torch.no_grad():
        for parameter in stage.model.network.encoder.parameters():
            parameter.zero_()
    with pytest.raises(TrainingError, match="soda: the encoder collapsed"):
        stage.end_epoch(0)


def test_the_stage_repeats_for_its_seed_whatever_ran_before():
    torch.manual_seed(123)
    first = state_digest(soda().learner)
    torch.rand(7)
    second = soda()
    assert first == state_digest(second.learner)
    other = Soda(
        dataclasses.replace(second.upstream, seed=1), second.config, build_config("recommended", TINY).optimizer
    )
    assert state_digest(other.learner) != first
