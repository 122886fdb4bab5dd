"""The stages on a tiny network and random pictures: what goes into each term, and what must not move."""

import numpy as np
import pytest
import torch

from semise_sdk.errors import TrainingError
from semise_training.augment import Augmenter
from semise_training.checkpoint import state_digest
from semise_training.config import build_config, merge
from semise_training.data.dataset import UNLABELED, Dataset
from semise_training.device import Compute
from semise_training.losses import cosine_distance
from semise_training.model import build_model
from semise_training.stages.classifier import ClassifierStage, frozen_model
from semise_training.stages.phase1 import Phase1
from semise_training.stages.phase2 import Phase2
from semise_training.stages.unet import UnetStage
from semise_training.stages.upstream import Upstream, validation_monitors

TINY = {
    "data": {"manifest": "data.csv"},
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 32},
    "heads": {"vector_dim": 8},
    "phase1": {"batch_size": 6},
    "phase2": {"batch_size": 6},
    "classifier": {"augmented_views": 1},
    "unet": {"decoder_channels": [8, 8, 8, 8, 8], "batch_size": 4},
}


def tiny_dataset(seed=0):
    random = np.random.default_rng(seed)
    levels = np.array([0, 1, 2] * 8 + [UNLABELED] * 4)
    canvases = random.integers(0, 255, (len(levels), 32, 32, 3), dtype=np.uint8)
    for index, level in enumerate(levels):
        canvases[index, :16] //= 1 + max(int(level), 0)
    masks = np.zeros(canvases.shape[:3], np.uint8)
    masks[levels > 0, :16] = 255
    return Dataset(
        canvases=canvases,
        masks=masks,
        has_mask=levels != UNLABELED,
        levels=levels,
        groups=np.arange(len(levels)) // 2,
        parts={"train": np.arange(18), "val": np.arange(18, 24), "test": np.arange(0), "calibration": np.arange(0)},
        unlabeled=np.flatnonzero(levels == UNLABELED),
        labels=("healthy", "mild", "severe"),
    )


def tiny_upstream(overrides=None, preset="recommended"):
    config = build_config(preset, merge(TINY, overrides or {}))
    model = build_model(config, classes=3, identity=False)
    return config, Upstream(model, tiny_dataset(), Augmenter(config.augment), Compute(torch.device("cpu"), "fp32"), 0)


def phase2(overrides=None, preset="recommended"):
    config, upstream = tiny_upstream({"phase2": overrides or {}}, preset)
    stage = Phase2(upstream, config.phase2, config.optimizer)
    stage.begin_epoch(0)
    return stage


def test_phase1_batches_repeat_for_an_epoch_and_differ_between_epochs():
    config, upstream = tiny_upstream()
    stage = Phase1(upstream, config.phase1, config.optimizer)
    first, again, other = (np.concatenate(list(stage.batches(epoch))) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(list(stage.batches(0))) == stage.steps_per_epoch() == 3


@pytest.mark.parametrize("pairing", ["inbatch", "sampled"])
def test_phase1_learns_to_separate_two_kinds(pairing):
    config, upstream = tiny_upstream({"phase1": {"pairing": pairing, "pairs_per_epoch": 12}})
    stage = Phase1(upstream, config.phase1, config.optimizer)
    stage.begin_epoch(0)
    batch = next(iter(stage.batches(0)))
    assert batch.shape == ((6,) if pairing == "inbatch" else (6, 2))
    losses = []
    for _ in range(12):
        loss = stage.terms(batch, seed=1)["pairs"]
        stage.optimizer.zero_grad()
        loss.backward()
        stage.optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_phase2_weights_its_terms_by_alpha():
    terms = {alpha: next_terms(phase2({"alpha": alpha})) for alpha in (0.0, 0.25, 0.5, 1.0)}
    assert set(terms[0.0]) == {"preference", "pairs"}
    assert set(terms[1.0]) == {"ntxent", "pairs"}
    assert terms[0.5]["ntxent"] == pytest.approx(2 * terms[0.25]["ntxent"], rel=1e-4)
    assert terms[0.5]["preference"] == pytest.approx(terms[0.25]["preference"] * 0.5 / 0.75, rel=1e-4)


def next_terms(stage):
    batch = next(iter(stage.batches(0)))
    return {name: float(value.detach()) for name, value in stage.terms(batch, seed=5).items()}


def test_unlabeled_images_enter_ntxent_only_in_their_scope():
    stage = phase2({"ntxent": {"scope": "all+unlabeled"}})
    labeled = next(iter(stage.batches(0)))
    images = stage._contrasted(labeled)
    assert set(images.second) - set(labeled) == set(images.second) & set(stage.upstream.dataset.unlabeled) != set()
    for scope, expected in (("all", set(labeled)), ("anomalous", {i for i in labeled if i % 3 > 0})):
        stage = phase2({"ntxent": {"scope": scope}})
        assert set(stage._contrasted(labeled).second) == expected


def test_the_first_view_of_each_contrasted_image_is_the_same_images():
    stage = phase2({"ntxent": {"scope": "anomalous", "views": "original_aug"}})
    stage.model.eval()
    labeled = np.array([0, 1, 2, 4, 3, 5])
    images = stage._contrasted(labeled)
    with torch.no_grad():
        projected = stage._project(labeled, images, pairs=6, seed=3)
        alone = stage.model.project(stage.upstream.original(images.second))
    assert list(images.second) == [1, 2, 4, 5]
    assert torch.allclose(projected.first_view, alone, atol=1e-4)


def test_the_paper_takes_each_pairs_own_healthy_reference_through_g_only():
    stage = phase2({"pairs_per_epoch": 12, "batch_size": 6}, preset="faithful")
    batch = next(iter(stage.batches(0)))
    assert batch.shape == (6, 2)
    references = stage._reference_images(len(batch), seed=9)
    assert len(references) == 6
    assert (stage.upstream.dataset.levels[references] == 0).all()
    labeled = batch.T.reshape(-1)
    projected = stage._project(labeled, stage._contrasted(labeled), pairs=6, seed=9)
    assert torch.equal(stage._reference_vectors(projected), projected.references)
    assert projected.references.requires_grad


def test_the_recommended_reference_is_the_detached_mean_healthy_direction():
    stage = phase2()
    assert stage.reference is not None
    assert float(stage.reference.norm()) == pytest.approx(1, abs=1e-5)
    assert not stage.reference.requires_grad
    healthy = torch.from_numpy(stage.upstream.healthy_vectors().reference)
    by_hand = torch.nn.functional.normalize(torch.nn.functional.normalize(healthy, dim=1).mean(dim=0), dim=0)
    assert float(cosine_distance(stage.reference[None], by_hand[None])) == pytest.approx(0, abs=1e-6)


def test_chance_balance_divides_by_the_chance_value():
    plain = next_terms(phase2({"alpha": 0.5, "ntxent": {"scope": "all"}}))
    balanced = next_terms(phase2({"alpha": 0.5, "balance": "chance", "ntxent": {"scope": "all"}}))
    assert plain["ntxent"] / balanced["ntxent"] == pytest.approx(np.log(2 * 6 - 1), rel=1e-4)
    assert plain["preference"] / balanced["preference"] == pytest.approx(np.log(2), rel=1e-4)
    assert plain["pairs"] == pytest.approx(balanced["pairs"], rel=1e-4)


def test_a_residual_h_starts_as_the_identity():
    _, upstream = tiny_upstream()
    network = upstream.model.network
    u = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.severity(u), u)


def test_heads_leave_the_encoder_bit_identical():
    config, upstream = tiny_upstream()
    frozen_model(upstream.model)
    before = state_digest(upstream.model.network.encoder)
    for stage in (ClassifierStage(upstream, config.classifier), UnetStage(upstream, config.unet)):
        own = state_digest(stage.trained)
        stage.begin_epoch(0)
        for batch in stage.batches(0):
            stage.optimizer.zero_grad()
            torch.stack(list(stage.terms(batch, seed=0).values())).sum().backward()
            stage.optimizer.step()
        stage.end_epoch(0)
        assert state_digest(stage.trained) != own
    assert state_digest(upstream.model.network.encoder) == before


def test_class_weights_come_from_the_training_labels():
    config, upstream = tiny_upstream()
    upstream.dataset.levels[:18] = [0] * 9 + [1] * 6 + [2] * 3
    weights = ClassifierStage(upstream, config.classifier).class_weights
    assert weights.tolist() == pytest.approx([18 / (3 * 9), 18 / (3 * 6), 18 / (3 * 3)])


def test_a_constant_encoder_is_called_collapsed():
    _, upstream = tiny_upstream()
    last = upstream.model.network.projection
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.ones_(last.bias)
    with pytest.raises(TrainingError, match="collapsed"):
        validation_monitors(upstream, stage="phase1")


def test_a_diverged_network_is_said_before_any_monitor_breaks():
    _, upstream = tiny_upstream()
    torch.nn.init.constant_(upstream.model.network.projection.weight, float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        validation_monitors(upstream, stage="phase1")


def test_phase1_is_watched_on_what_it_trains():
    _, upstream = tiny_upstream(preset="faithful")
    torch.nn.init.zeros_(upstream.model.network.severity.last.weight)
    with pytest.raises(TrainingError, match="collapsed"):
        validation_monitors(upstream, stage="phase2")
    assert validation_monitors(upstream, stage="phase1", of_projection=True)["kendall_tau"] is not None


def test_an_image_is_no_pair_with_itself():
    stage = phase2()
    vectors = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    once = float(stage._class_pairs(vectors, np.array([0, 3])))
    repeated = float(stage._class_pairs(vectors[[0, 0, 1]], np.array([0, 0, 3])))
    assert once > 0.01
    assert repeated == pytest.approx(once)


def test_calibration_prefers_images_no_head_was_selected_on():
    from semise_sdk.references import ReferenceBank
    from semise_training.finish import _calibration

    _, upstream = tiny_upstream()
    bank = ReferenceBank(upstream.healthy_vectors().reference)
    assert _calibration(upstream, bank)["source"] == "healthy images of part val"
    upstream.dataset.parts["calibration"] = np.array([21, 22, 23])
    assert _calibration(upstream, bank) | {"healthy_severity": None} == {
        "schema": 1, "source": "healthy images of part calibration", "n": 1, "healthy_severity": None
    }  # fmt: skip
