"""The stages on a tiny network and random pictures: what goes into each term, and what must not move."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semise_sdk.errors import TrainingError
from semise_training.loop.checkpoint import state_digest
from semise_training.losses import corn_loss, cosine_distance, supcon_loss
from semise_training.network.embedding import embed
from semise_training.network.model import build_model
from semise_training.run.temperature import calibrate_classifier, cross_entropy, fold_temperature
from semise_training.stages.classifier import ClassifierStage, frozen_model
from semise_training.stages.phase1 import Phase1
from semise_training.stages.phase2 import Phase2, weighted_pairs
from semise_training.stages.simclr import SimCLR
from semise_training.stages.supervised import Supervised
from semise_training.stages.unet import UnetStage, lesion_share
from semise_training.stages.upstream import centre_projection, validation_monitors


@pytest.fixture
def tiny_upstream(upstream_of):
    """Returns the configuration and the upstream of ``semise`` on the tiny data, with overrides."""
    return lambda overrides=None, preset="recommended": upstream_of("semise", preset, **(overrides or {}))


@pytest.fixture
def phase2(tiny_upstream):
    """Returns phase 2 at its first epoch, with overrides of its section."""

    def build(overrides=None, preset="recommended"):
        config, upstream = tiny_upstream({"phase2": overrides or {}}, preset)
        stage = Phase2(upstream, config.phase2, config.optimizer)
        stage.begin_epoch(0)
        return stage

    return build


def test_phase1_batches_repeat_for_an_epoch_and_differ_between_epochs(tiny_upstream):
    config, upstream = tiny_upstream()
    stage = Phase1(upstream, config.phase1, config.optimizer)
    first, again, other = (np.concatenate(list(stage.batches(epoch))) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(list(stage.batches(0))) == stage.steps_per_epoch() == 3


@pytest.mark.parametrize("pairing", ["inbatch", "sampled"])
def test_phase1_learns_to_separate_two_kinds(pairing, tiny_upstream):
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


def test_phase2_weights_its_terms_by_alpha(phase2):
    terms = {alpha: next_terms(phase2({"alpha": alpha})) for alpha in (0.0, 0.25, 0.5, 1.0)}
    assert set(terms[0.0]) == {"preference", "pairs"}
    assert set(terms[1.0]) == {"ntxent", "pairs"}
    assert terms[0.5]["ntxent"] == pytest.approx(2 * terms[0.25]["ntxent"], rel=1e-4)
    assert terms[0.5]["preference"] == pytest.approx(terms[0.25]["preference"] * 0.5 / 0.75, rel=1e-4)


def next_terms(stage):
    batch = next(iter(stage.batches(0)))
    return {name: float(value.detach()) for name, value in stage.terms(batch, seed=5).items()}


def test_unlabeled_images_enter_ntxent_only_in_their_scope(phase2):
    stage = phase2({"ntxent": {"scope": "all+unlabeled"}})
    labeled = next(iter(stage.batches(0)))
    images = stage._contrasted(labeled)
    assert set(images.second) - set(labeled) == set(images.second) & set(stage.upstream.dataset.unlabeled) != set()
    for scope, expected in (("all", set(labeled)), ("anomalous", {i for i in labeled if i % 3 > 0})):
        stage = phase2({"ntxent": {"scope": scope}})
        assert set(stage._contrasted(labeled).second) == expected


def test_the_first_view_of_each_contrasted_image_is_the_same_images(phase2):
    stage = phase2({"ntxent": {"scope": "anomalous", "views": "original_aug"}})
    stage.model.eval()
    labeled = np.array([0, 1, 2, 4, 3, 5])
    images = stage._contrasted(labeled)
    with torch.no_grad():
        projected = stage._project(labeled, images, pairs=6, seed=3)
        alone = stage.model.project(stage.upstream.original(images.second))
    assert list(images.second) == [1, 2, 4, 5]
    assert torch.allclose(projected.first_view, alone, atol=1e-4)


def test_the_paper_takes_each_pairs_own_healthy_reference_through_g_only(phase2):
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


def test_the_recommended_reference_is_the_detached_mean_healthy_direction(phase2):
    stage = phase2()
    assert stage.reference is not None
    assert float(stage.reference.norm()) == pytest.approx(1, abs=1e-5)
    assert not stage.reference.requires_grad
    healthy = torch.from_numpy(stage.upstream.healthy_vectors().reference)
    by_hand = torch.nn.functional.normalize(torch.nn.functional.normalize(healthy, dim=1).mean(dim=0), dim=0)
    assert float(cosine_distance(stage.reference[None], by_hand[None])) == pytest.approx(0, abs=1e-6)


def test_chance_balance_divides_by_the_chance_value(phase2):
    plain = next_terms(phase2({"alpha": 0.5, "ntxent": {"scope": "all"}}))
    balanced = next_terms(phase2({"alpha": 0.5, "balance": "chance", "ntxent": {"scope": "all"}}))
    assert plain["ntxent"] / balanced["ntxent"] == pytest.approx(np.log(2 * 6 - 1), rel=1e-4)
    assert plain["preference"] / balanced["preference"] == pytest.approx(np.log(2), rel=1e-4)
    assert plain["pairs"] == pytest.approx(balanced["pairs"], rel=1e-4)


def test_a_residual_h_starts_as_the_identity(tiny_upstream):
    _, upstream = tiny_upstream()
    network = upstream.model.network
    u = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.severity(u), u)


def test_heads_leave_the_encoder_bit_identical(tiny_upstream):
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


def test_heads_are_trained_and_chosen_on_what_is_deployed_whatever_precision_trained_f(tiny_upstream):
    config, upstream = tiny_upstream()
    deployed, in_bf16 = upstream, replace(upstream, compute=replace(upstream.compute, precision="bf16"))
    expected, found = (ClassifierStage(each, config.classifier) for each in (deployed, in_bf16))
    rounded = embed(upstream.model.network, upstream.dataset, upstream.dataset.parts["val"], compute=in_bf16.compute)
    assert not np.array_equal(rounded.embedding, expected.val_features)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.val_features, expected.val_features)


def test_a_mask_decoder_is_chosen_in_the_precision_it_is_deployed_in(tiny_upstream):
    config, upstream = tiny_upstream()
    seen = []
    upstream.model.network.unet.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    UnetStage(replace(upstream, compute=replace(upstream.compute, precision="bf16")), config.unet).end_epoch(0)
    assert seen == [False]


def test_a_decoder_that_draws_nothing_is_not_the_best_where_most_images_have_no_lesion(tiny_upstream, monkeypatch):
    """An empty mask of an image without a lesion counts 1 in the mean over images, and nothing in the pooled Dice."""
    config, upstream = tiny_upstream()
    stage = UnetStage(upstream, config.unet)
    masks = upstream.dataset.masks
    masks[stage.val] = 0
    masks[stage.val[0], :8, :8] = 255
    drawn = {
        "nothing": torch.zeros(masks.shape[1:], dtype=torch.bool),
        "some": torch.zeros(masks.shape[1:], dtype=torch.bool),
    }
    drawn["some"][:4] = True
    figures = {}
    for name, mask in drawn.items():
        logits = torch.where(mask, 1.0, -1.0)
        monkeypatch.setattr(stage, "_logits", lambda planes, logits=logits: logits.expand(len(planes), -1, -1))
        figures[name] = stage.end_epoch(0)
    assert figures["nothing"]["dice"] == pytest.approx((len(stage.val) - 1) / len(stage.val))
    assert figures["nothing"]["dice"] > figures["some"]["dice"]
    assert figures["nothing"]["pooled_dice"] == 0.0
    area = 4 * masks.shape[2]
    assert figures["some"]["pooled_dice"] == pytest.approx(2 * 32 / (64 + area * len(stage.val)))
    assert stage.selection == "pooled_dice"


def test_a_mask_decoder_starts_at_the_share_of_lesion_pixels(tiny_upstream):
    config, upstream = tiny_upstream()
    masks = upstream.dataset.masks
    masks[upstream.dataset.masked("train")] = 0
    masks[upstream.dataset.masked("train")[0], :16, :16] = 255
    bias, share = upstream.model.network.unet.mask.bias.detach(), 256 / masks[upstream.dataset.masked("train")].size
    start = float(bias)
    UnetStage(upstream, config.unet.model_copy(update={"prior": "none"})).begin_epoch(0)
    assert float(bias) == start
    stage = UnetStage(upstream, config.unet.model_copy(update={"prior": "lesions"}))
    assert float(bias) == start  # a finished stage of a resumed run is built too
    stage.begin_epoch(0)
    assert float(torch.sigmoid(bias)) == pytest.approx(share, rel=1e-4)
    torch.nn.init.constant_(bias, -1.5)
    stage.begin_epoch(1)
    assert float(bias) == -1.5


@pytest.mark.parametrize(("value", "share"), [(0, 1 / 64), (255, 63 / 64)])
def test_the_share_of_lesion_pixels_has_a_logit_where_there_are_none_or_nothing_else(value, share):
    assert lesion_share(np.full((1, 8, 8), value, np.uint8)) == share


def test_the_weight_of_the_cross_entropy_leaves_the_dice_alone(tiny_upstream, monkeypatch):
    config, upstream = tiny_upstream()
    terms = {}
    for weight in (1.0, 0.25, 0.0):
        stage = UnetStage(upstream, config.unet.model_copy(update={"cross_entropy_weight": weight}))
        monkeypatch.setattr(stage, "_logits", lambda planes: torch.zeros(planes[:, 0].shape))
        terms[weight] = stage.terms(stage.train[:2], seed=0)
    # A probability of one half costs ln 2 wherever the lesion is.
    assert [float(found["cross_entropy"]) for found in terms.values()] == pytest.approx([log(2), log(2) / 4, 0.0])
    assert terms[1.0]["dice"] == terms[0.25]["dice"] == terms[0.0]["dice"] > 0


def test_class_weights_come_from_the_training_labels(tiny_upstream):
    config, upstream = tiny_upstream()
    upstream.dataset.levels[:18] = [0] * 9 + [1] * 6 + [2] * 3
    weights = ClassifierStage(upstream, config.classifier).class_weights
    assert weights.tolist() == pytest.approx([18 / (3 * 9), 18 / (3 * 6), 18 / (3 * 3)])


def test_a_constant_encoder_is_called_collapsed(tiny_upstream):
    _, upstream = tiny_upstream()
    last = upstream.model.network.projection
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.ones_(last.bias)
    with pytest.raises(TrainingError, match="collapsed"):
        validation_monitors(upstream, stage="phase1")


def test_a_diverged_network_is_said_before_any_monitor_breaks(tiny_upstream):
    _, upstream = tiny_upstream()
    torch.nn.init.constant_(upstream.model.network.projection.weight, float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        validation_monitors(upstream, stage="phase1")


def test_phase1_is_watched_on_what_it_trains(tiny_upstream):
    _, upstream = tiny_upstream(preset="faithful")
    torch.nn.init.zeros_(upstream.model.network.severity.last.weight)
    with pytest.raises(TrainingError, match="collapsed"):
        validation_monitors(upstream, stage="phase2")
    assert validation_monitors(upstream, stage="phase1", of_projection=True)["kendall_tau"] is not None


def test_an_image_is_no_pair_with_itself(phase2):
    stage = phase2()
    vectors = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    ids, levels = torch.tensor([0, 3]), torch.tensor([0, 0])
    repeats = [0, 0, 1]
    once = float(weighted_pairs(vectors, levels, ids, stage.config))
    repeated = float(weighted_pairs(vectors[repeats], levels[repeats], ids[repeats], stage.config))
    assert once > 0.01
    assert repeated == pytest.approx(once)


def test_calibration_prefers_images_no_head_was_selected_on(tiny_upstream):
    from semise_sdk.severity.reference_bank import ReferenceBank
    from semise_training.run.finish import _calibration

    _, upstream = tiny_upstream()
    bank = ReferenceBank(upstream.healthy_vectors().reference)
    assert _calibration(upstream, bank)["source"] == "healthy images of part val"
    upstream.dataset.parts["calibration"] = np.array([21, 22, 23])
    assert _calibration(upstream, bank) | {"healthy_severity": None} == {
        "schema": 1, "source": "healthy images of part calibration", "n": 1, "healthy_severity": None
    }  # fmt: skip


def test_phase1_may_learn_by_khoslas_loss_on_either_pairing(tiny_upstream):
    for pairing in ("inbatch", "sampled"):
        config, upstream = tiny_upstream({"phase1": {"objective": "supcon", "temperature": 0.5, "pairing": pairing}})
        stage = Phase1(upstream, config.phase1, config.optimizer)
        stage.model.eval()
        batch = next(iter(stage.batches(0)))
        with torch.no_grad():
            (loss,) = stage.terms(batch, seed=1).values()
            flat = batch.T.reshape(-1)
            projected = stage.model.project(upstream.augmented(flat, seed=1))
        kinds = torch.from_numpy(upstream.dataset.levels[flat] > 0).long()
        assert float(loss) == pytest.approx(float(supcon_loss(projected, kinds, temperature=0.5)), rel=1e-5)
        assert float(loss) != pytest.approx(float(supcon_loss(projected, kinds, temperature=0.1)), rel=1e-3)


def test_rank_n_contrast_joins_phase_2_where_it_has_a_weight(phase2):
    assert "rank_n_contrast" not in next_terms(phase2())
    terms = {weight: next_terms(phase2({"rank_n_contrast_weight": weight})) for weight in (0.5, 1.0)}
    assert set(terms[0.5]) == {"ntxent", "preference", "pairs", "rank_n_contrast"}
    assert terms[1.0]["rank_n_contrast"] == pytest.approx(2 * terms[0.5]["rank_n_contrast"], rel=1e-4)


def test_cross_entropy_of_f_joins_phase_2_where_it_has_a_weight(phase2):
    stage = phase2()
    assert "cross_entropy" not in next_terms(stage)
    assert "grade" not in stage.model.extras
    terms = {weight: next_terms(phase2({"cross_entropy_weight": weight})) for weight in (0.5, 1.0)}
    assert terms[1.0]["cross_entropy"] == pytest.approx(2 * terms[0.5]["cross_entropy"], rel=1e-4)
    assert {name: terms[0.5][name] for name in ("preference", "pairs")} == pytest.approx(
        {name: terms[1.0][name] for name in ("preference", "pairs")}, rel=1e-4
    )


def test_cross_entropy_of_phase_2_is_that_of_the_grades_and_reaches_f_and_its_head(phase2):
    stage = phase2({"cross_entropy_weight": 1.0, "alpha": 0.0})
    batch = next(iter(stage.batches(0)))
    loss = stage.terms(batch, seed=5)["cross_entropy"]
    head = stage.model.extras["grade"]
    features = stage.model.features(stage.upstream.augmented(batch, seed=5)).detach().numpy()
    logits = features @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    levels = stage.upstream.dataset.levels[batch]
    by_hand = np.mean([np.log(np.exp(row - row[level]).sum()) for row, level in zip(logits, levels, strict=True)])
    assert float(loss.detach()) == pytest.approx(float(by_hand), rel=1e-4)
    loss.backward()
    assert head.weight.grad.abs().sum() > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in stage.model.network.encoder.parameters())
    trained = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    assert id(head.weight) in trained


def test_batches_per_epoch_set_the_length_of_an_epoch(tiny_upstream):
    overrides = {"phase1": {"batches_per_epoch": 5}, "phase2": {"batches_per_epoch": 2}}
    config, upstream = tiny_upstream(overrides)
    for stage, batches in (
        (Phase1(upstream, config.phase1, config.optimizer), 5),
        (Phase2(upstream, config.phase2, config.optimizer), 2),
    ):
        assert len(list(stage.batches(0))) == stage.steps_per_epoch() == batches


def test_simclr_sees_every_image_and_no_label(upstream_of):
    config, upstream = upstream_of("simclr", simclr={"batch_size": 11})
    stage = SimCLR(upstream, config.simclr, config.optimizer)
    batches = list(stage.batches(0))
    assert set(np.concatenate(batches)) == {*range(18), *range(24, 28)}
    stage.model.eval()
    with torch.no_grad():
        before = float(stage.terms(batches[0], seed=2)["ntxent"])
        upstream.dataset.levels[:] = 0
        assert float(stage.terms(batches[0], seed=2)["ntxent"]) == before
    assert all(np.array_equal(one, other) for one, other in zip(batches, stage.batches(0), strict=True))


def test_supervised_weighs_the_classes_of_the_training_labels(upstream_of):
    config, upstream = upstream_of("supervised")
    upstream.dataset.levels[:18] = [0] * 9 + [1] * 6 + [2] * 3
    stage = Supervised(upstream, config.supervised, config.optimizer)
    assert stage.class_weights.tolist() == pytest.approx([18 / (3 * 9), 18 / (3 * 6), 18 / (3 * 3)])
    assert sorted(np.concatenate(list(stage.batches(0)))) == list(range(18))
    stage.model.eval()
    batch = np.array([0, 9, 10, 17])
    with torch.no_grad():
        loss = float(stage.terms(batch, seed=3)["cross_entropy"])
        features = upstream.model.network.encoder.features(upstream.augmented(batch, seed=3)).embedding
        shares = stage.head(features).log_softmax(dim=1)
    weights = [2 / 3, 1.0, 1.0, 2.0]
    by_hand = -sum(w * float(shares[i, k]) for i, (w, k) in enumerate(zip(weights, (0, 1, 1, 2), strict=True)))
    assert loss == pytest.approx(by_hand / sum(weights), rel=1e-4)


def test_supervised_learns_to_grade_and_leaves_its_head_behind(upstream_of):
    config, upstream = upstream_of("supervised", supervised={"batch_size": 18})
    stage = Supervised(upstream, config.supervised, config.optimizer)
    stage.begin_epoch(0)
    batch = next(iter(stage.batches(0)))
    losses = []
    for _ in range(10):
        loss = stage.terms(batch, seed=1)["cross_entropy"]
        stage.optimizer.zero_grad()
        loss.backward()
        stage.optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert {"extras.grade.weight", "extras.grade.bias"} <= set(upstream.model.state_dict())
    assert not [name for name in upstream.model.network.state_dict() if "grade" in name]


@pytest.mark.parametrize("weighted", [True, False])
def test_a_corn_classifier_is_trained_on_its_conditional_logits(weighted, tiny_upstream):
    config, upstream = tiny_upstream({"classifier": {"head": "corn", "class_weighted": weighted}})
    upstream.dataset.levels[:18] = [0] * 9 + [1] * 6 + [2] * 3
    stage = ClassifierStage(upstream, config.classifier)
    stage.trained.eval()
    rows = np.stack([np.arange(18), np.zeros(18, np.int64)], axis=1)
    with torch.no_grad():
        (name, loss), *_ = stage.terms(rows, seed=0).items()
        conditional = stage.trained[:-1](stage.features[0])
    weights = torch.tensor([2 / 3, 1.0, 2.0]) if weighted else None
    expected = corn_loss(conditional, stage.levels, class_weights=weights)
    assert (name, float(loss)) == ("corn", pytest.approx(float(expected), rel=1e-5))
    assert stage.trained(stage.features[0]).shape == (18, 3)


@pytest.mark.parametrize("head", ["softmax", "corn"])
def test_a_temperature_makes_validation_likelier_and_changes_no_grade(head, tiny_upstream):
    config, upstream = tiny_upstream({"classifier": {"head": head, "temperature": "validation"}})
    classifier, val = upstream.model.network.classifier.eval(), upstream.dataset.parts["val"]
    embedding = torch.from_numpy(
        embed(upstream.model.network, upstream.dataset, val, compute=upstream.compute).embedding
    )
    levels = upstream.dataset.levels[val]
    with torch.no_grad():
        # Surer of itself than six images of random noise allow.
        fold_temperature(classifier, 0.002)
        before = classifier(embedding).numpy()
        temperature = calibrate_classifier(upstream, config.classifier)
        after = classifier(embedding).numpy()
    assert temperature > 1
    np.testing.assert_allclose(after, before / temperature, rtol=1e-4, atol=1e-5)
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
    assert cross_entropy(after, levels) < cross_entropy(before, levels)


def test_no_temperature_is_fitted_unasked(tiny_upstream):
    config, upstream = tiny_upstream()
    before = state_digest(upstream.model.network.classifier)
    assert calibrate_classifier(upstream, config.classifier) == 1.0
    assert state_digest(upstream.model.network.classifier) == before


def test_g_starts_centred_where_asked_on_labeled_and_unlabeled_training_images(tiny_upstream):
    _, upstream = tiny_upstream({"heads": {"centred": True}})
    network, dataset = upstream.model.network, upstream.dataset
    assert not network.projection.centre.any()
    centre_projection(upstream)
    images = np.concatenate([dataset.parts["train"], dataset.unlabeled])
    projected = embed(network, dataset, images, compute=upstream.compute).projected
    np.testing.assert_allclose(projected.mean(axis=0), network.projection.bias.detach(), atol=1e-5)


@pytest.mark.parametrize("held", [True, False])
def test_held_normalisation_keeps_its_statistics_but_learns_its_scale(held, tiny_upstream):
    config, upstream = tiny_upstream()
    encoder = upstream.model.network.encoder
    encoder.holds_norm = held
    statistics = {name: value.clone() for name, value in encoder.named_buffers() if "running" in name}
    scales = [module.weight for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    stage = Supervised(upstream, config.supervised, config.optimizer)
    stage.begin_epoch(0)
    assert encoder.training
    for batch in stage.batches(0):
        torch.stack(list(stage.terms(batch, seed=0).values())).sum().backward()
    now = dict(encoder.named_buffers())
    assert statistics
    assert all(torch.equal(now[name], value) for name, value in statistics.items()) == held
    assert all(scale.grad is not None for scale in scales)


def test_g_and_h_run_in_full_precision_whatever_precision_trains_f(tiny_upstream):
    _, upstream = tiny_upstream()
    seen = []
    for module in (upstream.model.network.projection, upstream.model.network.severity):
        module.register_forward_hook(lambda _, given, out: seen.append((given[0].dtype, out.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        projected = upstream.model.project(upstream.original(np.arange(4)))
        upstream.model.severity(projected)
        upstream.model.contrast(projected)
    bf16 = replace(upstream.compute, precision="bf16")
    embed(upstream.model.network, upstream.dataset, np.arange(4), compute=bf16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embed(upstream.model.network, upstream.dataset, np.arange(4), compute=bf16)
    assert seen == [(torch.float32, torch.float32)] * 7


def test_ntxent_may_take_unlabeled_images_alone(phase2):
    stage = phase2({"alpha": 0.5, "ntxent": {"scope": "unlabeled"}})
    batch = next(iter(stage.batches(0)))
    terms = stage.terms(batch, seed=0)
    assert set(terms) == {"ntxent", "preference", "pairs"}
    contrasted = stage._contrasted(batch)
    assert len(contrasted.second) == 4
    assert (stage.upstream.dataset.levels[contrasted.second] == -1).all()
    stage.unlabeled = iter(())
    assert set(stage.terms(batch, seed=0)) == {"preference", "pairs"}


def test_normalisation_is_held_only_where_weights_bring_its_statistics(tiny_upstream, tmp_path):
    config, upstream = tiny_upstream()
    assert config.optimizer.hold_norm
    assert not upstream.model.network.encoder.holds_norm
    weights = tmp_path / "weights.safetensors"
    state = upstream.model.network.encoder.body.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, weights)
    pretrained = config.encoder.model_copy(update={"init": "file", "weights": weights})
    model = build_model(config.model_copy(update={"encoder": pretrained}), classes=3, identity=False)
    assert model.network.encoder.holds_norm


def test_weights_of_before_g_had_a_centre_load_with_none(tiny_upstream):
    network = tiny_upstream()[1].model.network
    older = {name: value for name, value in network.state_dict().items() if name != "projection.centre"}
    network.projection.centre.fill_(1.0)
    network.load_state_dict(older)
    assert not network.projection.centre.any()
