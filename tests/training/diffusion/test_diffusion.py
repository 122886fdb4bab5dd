"""The parts of SODA against hand-worked numbers and NumPy, and what its learner must and must not depend on."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from semise_sdk.models.encoder import Encoder, create_body, feature_dim, input_scaling
from semise_sdk.spec import NetworkConfig
from semise_training.diffusion.average import update_average, warmed_decay
from semise_training.diffusion.denoiser import AdaptiveGroupNorm, Denoiser, timestep_embedding
from semise_training.diffusion.learner import Draw, SodaLearner
from semise_training.diffusion.schedule import alpha_bars, noised

TINY = {"latent_dim": 12, "channels": 16, "multipliers": (1, 2), "schedule": "inverted", "timesteps": 50}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("schedule", ["cosine", "inverted"])
@pytest.mark.parametrize("timesteps", [1, 50, 1000])
def test_a_schedule_falls_from_image_to_noise(schedule, timesteps):
    shares = alpha_bars(schedule, timesteps)
    assert shares.shape == (timesteps,)
    assert (shares.diff() < 0).all()
    assert 0 < shares[-1] <= shares[0] < 1
    if timesteps == 1000:
        assert shares[0] > 0.97
        assert shares[-1] < 0.03


def test_the_cosine_schedule_by_hand():
    # cos^2(0.508 / 1.008 * pi / 2) / cos^2(0.008 / 1.008 * pi / 2) at the one inner place u = 1/2
    assert float(alpha_bars("cosine", 1)) == pytest.approx(0.493844, abs=1e-6)


def test_the_inverted_schedule_is_the_inverse_of_the_cosine_curve():
    shares = alpha_bars("inverted", 3).double()
    assert shares.tolist() == pytest.approx([2 / 3, 1 / 2, 1 / 3])  # cos^2 of 60, 45 and 30 degrees: 1/4, 1/2, 3/4
    u = torch.arange(1, 100, dtype=torch.float64) / 100
    assert torch.allclose((alpha_bars("inverted", 99).double() * math.pi / 2).cos().square(), u, atol=1e-6)


def test_the_inverted_schedule_spends_more_steps_on_medium_noise():
    shares = {name: alpha_bars(name, 10_000) for name in ("cosine", "inverted")}
    medium = {name: float(((a > 0.25) & (a < 0.75)).float().mean()) for name, a in shares.items()}
    # the curve passes the half of its range about 1/2 in a third of u, its inverse in cos(45 degrees) of it
    assert medium["cosine"] == pytest.approx(1 / 3, abs=0.01)
    assert medium["inverted"] == pytest.approx(math.sqrt(0.5), abs=0.01)


def test_a_schedule_without_a_step_is_refused():
    with pytest.raises(ValueError, match="1 timestep or more, found 0"):
        alpha_bars("cosine", 0)


def test_noise_is_mixed_in_by_hand():
    clean, noise = torch.full((2, 1, 1, 1), 5.0), torch.full((2, 1, 1, 1), -10.0)
    assert noised(clean, noise, torch.tensor([0.36, 1.0])).flatten().tolist() == pytest.approx([0.6 * 5 - 0.8 * 10, 5])


def test_noising_preserves_a_variance_of_one():
    clean, noise = normal(4, 3, 64, 64, seed=1), normal(4, 3, 64, 64, seed=2)
    mixed = noised(clean, noise, torch.tensor([0.01, 0.3, 0.7, 0.99]))
    assert mixed.var(dim=(1, 2, 3)).tolist() == pytest.approx([1.0] * 4, abs=0.05)


def test_the_average_by_hand():
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([3.0, -1.0]))
        network.running_mean.copy_(torch.tensor([10.0, 20.0]))
        network.num_batches_tracked.fill_(7)
    update_average(average, network, decay=0.75)
    assert average.weight.tolist() == pytest.approx([0.75 * 1 + 0.25 * 3, 0.75 * 1 - 0.25])
    assert average.running_mean.tolist() == pytest.approx([2.5, 5.0])
    assert int(average.num_batches_tracked) == 7
    assert network.weight.tolist() == [3.0, -1.0]


def test_what_does_not_move_stays_bit_identical_in_the_average():
    average, network = nn.BatchNorm1d(64), nn.BatchNorm1d(64)
    with torch.no_grad():
        for module in (average, network):
            module.weight.copy_(normal(64))
    update_average(average, network, decay=0.9)
    assert torch.equal(average.weight, network.weight)


def test_a_young_average_forgets_its_start():
    assert [warmed_decay(0.999, updates) for updates in (0, 8, 90)] == pytest.approx([0.1, 0.5, 0.91])
    assert warmed_decay(0.999, 10**6) == 0.999
    assert warmed_decay(0.05, 0) == 0.05


def test_adaptive_group_norm_by_hand():
    norm = AdaptiveGroupNorm(8, time_dim=1, latent_dim=1)
    with torch.no_grad():
        for layer in (norm.of_time, norm.of_latent):
            layer.weight.copy_(torch.tensor([1.0] * 8 + [-1.0] * 8)[:, None])  # the scale is the input, the shift minus
            layer.bias.zero_()
    # eight groups of one channel each, whose two places normalise to -1 and 1
    features = torch.tensor([4.0, 10.0]).expand(1, 8, 2)[..., None]
    found = norm(features, torch.tensor([[0.5]]), torch.tensor([[3.0]]))
    assert found[0, 0].flatten().tolist() == pytest.approx([4 * (-1.5 - 0.5) - 3, 4 * (1.5 - 0.5) - 3], abs=1e-4)


def test_adaptive_group_norm_equals_numpy():
    norm = AdaptiveGroupNorm(16, time_dim=5, latent_dim=3).double()
    features, time, latent = (normal(*shape, seed=4).double() for shape in ((2, 16, 4, 4), (2, 5), (2, 3)))
    grouped = features.numpy().reshape(2, 8, -1)
    mean, variance = grouped.mean(-1, keepdims=True), grouped.var(-1, keepdims=True)
    normalised = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(2, 16, 4, 4)
    (s_t, b_t), (s_z, b_z) = (
        np.split((values @ layer.weight.T + layer.bias).detach().numpy()[..., None, None], 2, axis=1)
        for values, layer in ((time, norm.of_time), (latent, norm.of_latent))
    )
    expected = (1 + s_z) * ((1 + s_t) * normalised + b_t) + b_z
    assert np.allclose(norm(features, time, latent).detach().numpy(), expected, atol=1e-12)


def test_timesteps_are_told_apart_by_their_embedding():
    embedded = timestep_embedding(torch.tensor([0, 2, 999]), 8)
    assert embedded[0].tolist() == [1.0] * 4 + [0.0] * 4
    wavelengths = [1, 10_000 ** (1 / 3), 10_000 ** (2 / 3), 10_000]
    expected = [math.cos(2 / w) for w in wavelengths] + [math.sin(2 / w) for w in wavelengths]
    assert embedded[1].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_first_prediction_is_no_noise_and_every_block_is_guided():
    torch.manual_seed(0)
    denoiser = Denoiser(channels=8, multipliers=(1, 2, 2), latent_dims=(4, 4, 4))
    inputs = (normal(2, 3, 16, 16), torch.tensor([3, 40]), [normal(2, 4)] * 3)
    assert not denoiser(*inputs).any()
    nn.init.normal_(denoiser.last.weight)
    denoiser(*inputs).square().mean().backward()
    guided = [module for module in denoiser.modules() if isinstance(module, AdaptiveGroupNorm)]
    assert len(guided) == 3 + 1 + 2
    assert all(norm.of_latent.weight.grad.any() and norm.of_time.weight.grad.any() for norm in guided)


def encoder():
    body = create_body("test_resnet")
    mean, std = input_scaling(body)
    config = NetworkConfig(
        encoder="test_resnet",
        feature_dim=feature_dim(body),
        vector_dim=feature_dim(body),
        projection="identity",
        mean=mean,
        std=std,
        classes=0,
    )
    return Encoder(config, body)


def new_learner(**options):
    torch.manual_seed(0)
    return SodaLearner(encoder(), **{**TINY, **options})


def pictures():
    """Returns four pictures of 8 x 8 random patches, as planes of 0 to 255 and, at half the side, as targets."""
    generator = torch.Generator().manual_seed(11)
    patches = torch.randint(0, 2, (4, 3, 8, 8), generator=generator) * 1.6 - 0.8
    targets = patches.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    planes = targets.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return (planes + 1) * 127.5, targets


def descend(learner, steps):
    planes, targets = pictures()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-3, betas=(0.9, 0.95))
    for step in range(steps):
        draw = learner.draw(targets.shape, drop=0.1, drop_section=0.0, seed=step)
        optimizer.zero_grad()
        learner.loss(learner.latent(planes), targets, draw).backward()
        optimizer.step()


def measured(learner, *, latent=None, without_z=False, draws=30):
    """Returns the loss on the four pictures over fixed draws."""
    planes, targets = pictures()
    learner.eval()
    losses = []
    with torch.no_grad():
        latent = learner.latent(planes) if latent is None else latent
        for seed in range(draws):
            draw = learner.draw(targets.shape, drop=0.0, drop_section=0.0, seed=10_000 + seed)
            losses.append(float(learner.loss(latent, targets, draw.without_latent() if without_z else draw)))
    learner.train()
    return float(np.mean(losses))


@pytest.fixture(scope="module")
def overfitted():
    """A learner that was shown the same four pictures many times."""
    torch.set_num_threads(1)
    learner = new_learner()
    descend(learner, 300)
    return learner


def test_the_first_loss_is_the_variance_of_the_noise():
    assert measured(new_learner()) == pytest.approx(1.0, abs=0.02)


def test_the_gradient_reaches_the_encoder():
    learner = new_learner()
    descend(learner, 1)  # until then the last layer is zero and nothing behind it learns
    planes, targets = pictures()
    learner.zero_grad()
    draw = learner.draw(targets.shape, drop=0.0, drop_section=0.0, seed=5)
    learner.loss(learner.latent(planes), targets, draw).backward()
    assert next(learner.encoder.parameters()).grad.norm() > 1e-4  # of the very first convolution
    assert all(parameter.grad is not None for parameter in learner.encoder.parameters())


def test_four_images_are_overfitted_through_the_bottleneck(overfitted):
    with_z, without_z = measured(overfitted), measured(overfitted, without_z=True)
    assert with_z < 0.1
    assert with_z < 0.8 * without_z


def test_the_wrong_z_is_worse_than_the_right_one(overfitted):
    planes, _ = pictures()
    with torch.no_grad():
        latent = overfitted.eval().latent(planes)
    assert measured(overfitted, latent=latent.roll(1, dims=0)) > 1.5 * measured(overfitted, latent=latent)


def test_without_z_the_prediction_does_not_depend_on_the_source(overfitted):
    planes, targets = pictures()
    draw = overfitted.draw(targets.shape, drop=0.0, drop_section=0.0, seed=1)
    dropped = overfitted.draw(targets.shape, drop=1.0, drop_section=0.0, seed=1)
    with torch.no_grad():
        right, wrong = (overfitted.latent(source) for source in (planes, 255 - planes))
        assert overfitted.loss(right, targets, draw) != overfitted.loss(wrong, targets, draw)
        assert overfitted.loss(right, targets, dropped) == overfitted.loss(wrong, targets, dropped)
        assert overfitted.loss(right, targets, draw.without_latent()) == overfitted.loss(right, targets, dropped)


def test_a_dropped_section_of_z_is_not_seen_and_the_others_are():
    learner = new_learner(multipliers=(1, 2, 2), latent_dim=256, is_sectioned=True)
    assert learner.sections == 3
    nn.init.normal_(learner.denoiser.last.weight)
    _, targets = pictures()
    draw = learner.draw(targets.shape, drop=0.0, drop_section=0.0, seed=1)
    kept = torch.tensor([1.0, 0.0, 1.0]).expand(4, 3)
    latent = normal(4, 256).requires_grad_()
    learner.loss(latent, targets, Draw(draw.timesteps, draw.noise, kept)).backward()
    first, dropped, last = (part.any() for part in latent.grad.split([86, 85, 85], dim=1))
    assert (first, dropped, last) == (True, False, True)


def test_draws_repeat_for_a_seed_and_drop_as_often_as_asked():
    learner = new_learner(is_sectioned=True)
    shape = (2000, 3, 2, 2)
    draw, again, other = (learner.draw(shape, drop=0.1, drop_section=0.5, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(draw.noise, again.noise)
    assert torch.equal(draw.kept, again.kept)
    assert not torch.equal(draw.noise, other.noise)
    assert set(draw.timesteps.tolist()) == set(range(50))
    # both sections gone: dropped whole, or each alone
    assert float((draw.kept.sum(dim=1) == 0).float().mean()) == pytest.approx(0.1 + 0.9 * 0.25, abs=0.03)
    whole = learner.draw(shape, drop=0.1, drop_section=0.0, seed=3).kept
    assert torch.equal(whole[:, 0], whole[:, 1])
    assert float(whole.mean()) == pytest.approx(0.9, abs=0.03)


def test_the_average_follows_the_learner_and_counts():
    original = encoder()
    learner = SodaLearner(original, **TINY)
    name, start = next((name, weight.clone()) for name, weight in original.named_parameters())
    with torch.no_grad():
        learner.encoder.get_parameter(name).add_(1.0)
    learner.average_into(original, decay=0.999)
    assert torch.allclose(original.get_parameter(name), start + 0.9, atol=1e-6)
    learner.average_into(original, decay=0.999)
    assert torch.allclose(original.get_parameter(name), start + 1 - 0.1 * 2 / 11, atol=1e-6)
    assert int(learner.updates) == 2
