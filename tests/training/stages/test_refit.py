"""The refit: what it starts from, what goes into its terms, and when it stays."""

import numpy as np
import pytest
import torch

from semise_sdk.severity.reference_bank import mean_direction
from semise_training.loop.checkpoint import state_digest
from semise_training.losses import cosine_distance
from semise_training.network.embedding import embed
from semise_training.stages.refit import Refit
from semise_training.stages.upstream import centre_projection


@pytest.fixture
def tiny_upstream(upstream_of):
    """Returns the configuration and the upstream of ``semise`` on the tiny data, with overrides."""
    return lambda overrides=None: upstream_of("semise", **(overrides or {}))


@pytest.fixture
def refit(tiny_upstream):
    """Returns a refit at its first epoch and its upstream, with overrides."""

    def build(**overrides):
        config, upstream = tiny_upstream(overrides)
        stage = Refit(upstream, config.refit, config.phase2)
        torch.manual_seed(0)
        stage.begin_epoch(0)
        return stage, upstream

    return build


@pytest.mark.parametrize("centred", [True, False])
def test_a_refit_starts_g_and_h_anew_and_leaves_f_alone(centred, tiny_upstream):
    config, upstream = tiny_upstream({"heads": {"centred": centred}})
    network = upstream.model.network
    if centred:
        centre_projection(upstream)
    torch.nn.init.ones_(network.severity.last.weight)
    before, g = state_digest(network.encoder), network.projection.weight.clone()
    stage = Refit(upstream, config.refit, config.phase2)
    stage.begin_epoch(0)
    assert not network.severity.last.weight.any()
    assert not torch.equal(network.projection.weight, g)
    assert bool(network.projection.centre.any()) == centred
    g = network.projection.weight.clone()
    stage.begin_epoch(1)
    for batch in stage.batches(1):
        stage.optimizer.zero_grad()
        torch.stack(list(stage.terms(batch, seed=0).values())).sum().backward()
        stage.optimizer.step()
    assert not torch.equal(network.projection.weight, g)
    assert state_digest(network.encoder) == before
    assert upstream.model.views == 0


def test_a_refit_takes_phase_2s_preference_and_pairs_on_severity_vectors(refit):
    phase2 = {"alpha": 0.25, "class_pair_weight": 0.5, "preference": {"beta": 3.0}}
    stage, upstream = refit(phase2=phase2, refit={"dropout": 0.0})
    rows = np.arange(6)
    terms = stage.terms(np.stack([rows, np.zeros(6, np.int64)], axis=1), seed=0)
    vectors = embed(upstream.model.network, upstream.dataset, stage.train, compute=upstream.compute).severity
    levels = upstream.dataset.levels[stage.train]
    reference = torch.from_numpy(mean_direction(vectors[levels == 0])).float()
    severity = cosine_distance(torch.from_numpy(vectors), reference.expand(len(vectors), -1))[:6].numpy()
    pairs = [(i, j) for i in rows for j in rows if levels[i] > levels[j]]
    preference = np.mean([np.log1p(np.exp(-3.0 * (severity[i] - severity[j]))) for i, j in pairs])
    unit = vectors[:6] / np.linalg.norm(vectors[:6], axis=1, keepdims=True)
    distances = 1 - unit @ unit.T
    upper = np.triu(np.ones((6, 6), bool), 1)
    alike = levels[:6, None] == levels[None, :6]
    eq1 = ((distances**2)[upper & alike].mean() + (np.maximum(0, 1 - distances) ** 2)[upper & ~alike].mean()) / 4
    assert {name: term.item() for name, term in terms.items()} == {
        "preference": pytest.approx(0.75 * preference, rel=1e-4), "pairs": pytest.approx(0.5 * eq1, rel=1e-4)
    }  # fmt: skip


def test_a_refit_deals_every_grade_equally_often_and_every_view(refit):
    stage, upstream = refit(refit={"batch_size": 6, "augmented_views": 2})
    assert stage.features.shape[:2] == (3, len(stage.train))
    dealt = np.concatenate(list(stage.batches(0)))
    assert np.bincount(upstream.dataset.levels[stage.train][dealt[:, 0]]).tolist() == [6, 6, 6]
    assert set(dealt[:, 1]) == {0, 1, 2}
    assert np.array_equal(dealt, np.concatenate(list(stage.batches(0))))


@pytest.mark.parametrize("is_better", [True, False])
def test_a_refit_stays_where_it_ranks_validation_images_at_least_as_well(is_better, refit, monkeypatch):
    stage, _ = refit(refit={"epochs": 2})
    refitted = {name: value.clone() for name, value in stage.heads.state_dict().items()}
    taus = iter([0.5, 0.4 if is_better else 0.6])
    monkeypatch.setattr(stage, "_monitors", lambda: {"kendall_tau": next(taus)})
    assert stage.end_epoch(0) == {}
    figures = stage.end_epoch(1)
    assert figures["is_kept"] == is_better
    assert figures["kendall_tau"] == (0.5 if is_better else 0.6)
    expected = refitted if is_better else stage.earlier.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in stage.heads.state_dict().items())
    assert not torch.equal(refitted["0.weight"], stage.earlier.state_dict()["0.weight"])


def test_dropout_of_a_refit_puts_values_at_the_centre_and_keeps_their_mean(refit):
    stage, upstream = refit(refit={"dropout": 0.5})
    batch = np.stack([np.zeros(6, np.int64), np.zeros(6, np.int64)], axis=1)
    seen: list[torch.Tensor] = []
    stage._vectors = lambda features, inner=stage._vectors: seen.append(features) or inner(features)
    for seed in range(400):
        stage.terms(batch, seed=seed)
    # Besides the batch, each step looks at the healthy images, as they are.
    dropped = torch.stack(seen[::2]).flatten(0, 1)
    whole, centre = stage.features[0, 0], upstream.model.network.projection.centre
    speaks = whole != centre
    assert (dropped == centre)[:, speaks].double().mean() == pytest.approx(0.5, abs=0.01)
    assert dropped.mean(dim=0).numpy() == pytest.approx(whole.numpy(), abs=0.15 * float((whole - centre).abs().max()))
    assert torch.equal(seen[1], stage.features[0, stage.levels == 0])


def test_dropout_of_a_refit_depends_on_the_steps_seed_alone(refit):
    batch = np.stack([np.arange(6), np.zeros(6, np.int64)], axis=1)
    losses = []
    for dropout, seed in ((0.5, 1), (0.5, 1), (0.5, 2), (0.0, 1), (0.0, 2)):
        stage, _ = refit(refit={"dropout": dropout})
        losses.append(float(stage.terms(batch, seed=seed)["preference"].detach()))
    assert losses[0] == losses[1] != losses[2]
    assert losses[3] == losses[4] != losses[0]
