"""The monitors against independent NumPy code and hand-worked numbers."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from semise_sdk.errors import TrainingError
from semise_training.loop import monitors


def embeddings(count: int, width: int, *, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_rankme_counts_equal_directions() -> None:
    assert monitors.rankme(torch.eye(5, 9)) == pytest.approx(5, rel=1e-4)
    assert monitors.rankme(torch.ones(6, 9)) == pytest.approx(1, rel=1e-4)


def test_rankme_of_singular_values_3_and_1_by_hand() -> None:
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert monitors.rankme(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected, rel=1e-5)


def test_rankme_equals_numpy_and_ignores_scale() -> None:
    matrix = embeddings(40, 12) * torch.logspace(-2, 1, 12)
    # The eigenvalues of the Gram matrix are the squares of the singular values.
    singular = np.sqrt(np.linalg.eigvalsh(matrix.double().numpy().T @ matrix.double().numpy()))
    shares = singular / singular.sum() + 1e-7
    assert monitors.rankme(matrix) == pytest.approx(float(np.exp(-(shares * np.log(shares)).sum())), rel=1e-6)
    assert monitors.rankme(1e3 * matrix) == pytest.approx(monitors.rankme(matrix), rel=1e-5)


def test_rankme_of_zeros_is_zero() -> None:
    assert monitors.rankme(torch.zeros(4, 3)) == 0.0


def test_alignment_of_known_angles() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[4.0, 0.0], [0.0, 0.5], [-1.0, 0.0]])
    assert monitors.alignment(first[:1], second[:1]) == pytest.approx(0, abs=1e-6)
    assert monitors.alignment(first, second) == pytest.approx((0 + 2 + 4) / 3, rel=1e-6)


def test_uniformity_equals_a_loop() -> None:
    points = embeddings(15, 4).double().numpy()
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    terms = [np.exp(-2 * np.sum((unit[i] - unit[j]) ** 2)) for i in range(15) for j in range(i)]
    assert monitors.uniformity(torch.from_numpy(points)) == pytest.approx(float(np.log(np.mean(terms))), rel=1e-9)


def test_uniformity_of_extremes() -> None:
    assert monitors.uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-8)
    assert monitors.uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="at least 2 embeddings, found 1"):
        monitors.uniformity(torch.ones(1, 3))


def test_constant_embeddings_are_collapsed() -> None:
    constant = embeddings(1, 64).expand(12, 64)
    lengths = torch.linspace(0.5, 2.0, 12)[:, None]
    rounded = (constant * lengths).bfloat16()
    assert monitors.has_single_direction(constant)
    assert monitors.has_single_direction(constant * lengths)
    assert monitors.has_single_direction(rounded)
    assert monitors.has_single_direction(constant + 1e-3 * embeddings(12, 64, seed=1))
    assert monitors.has_single_direction(torch.zeros(12, 64))


def test_separated_embeddings_are_not_collapsed_whatever_their_rank() -> None:
    point, other = torch.eye(2, 64)
    line = point + torch.linspace(0, 1, 12)[:, None] * other
    assert not monitors.has_single_direction(torch.stack([point, -point]))
    assert not monitors.has_single_direction(torch.stack([point] * 11 + [other]))
    assert not monitors.has_single_direction(line)
    assert not monitors.has_single_direction(embeddings(3, 64))


def test_one_embedding_says_nothing_of_collapse() -> None:
    assert not monitors.has_single_direction(torch.ones(1, 4))


def test_collapse_is_measured_as_the_documented_spread() -> None:
    # Two unit vectors at angle 2a lie sin(a) from their mean.
    angle = 0.1
    pair = torch.tensor([[math.cos(angle), math.sin(angle)], [math.cos(angle), -math.sin(angle)]])
    assert monitors.has_single_direction(pair, threshold=math.sin(angle) + 1e-4)
    assert not monitors.has_single_direction(pair, threshold=math.sin(angle) - 1e-4)


def test_an_untrained_encoder_is_not_collapsed() -> None:
    torch.manual_seed(0)
    encoder = timm.create_model("resnet18", num_classes=0).eval()
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    images = torch.stack([torch.sin(k * rows + 2 * k * columns).expand(3, 64, 64) for k in range(1, 7)])
    with torch.no_grad():
        assert not monitors.has_single_direction(encoder(images))


def test_severity_radius_and_its_order() -> None:
    distances, levels = np.array([0.1, 0.3, 0.9, 0.5, 0.7]), np.array([0, 0, 3, 1, 1])
    radius = monitors.severity_radius(distances, levels)
    assert radius == pytest.approx({0: 0.2, 1: 0.6, 3: 0.9})
    assert list(radius) == [0, 1, 3]
    assert monitors.is_monotone(radius)


@pytest.mark.parametrize(
    ("radius", "expected"),
    [({2: 0.9, 0: 0.1, 1: 0.5}, True), ({0: 0.1, 1: 0.5, 2: 0.4}, False), ({0: 0.1, 1: 0.1}, False), ({0: 0.3}, True)],
)
def test_is_monotone(radius: dict[int, float], expected: bool) -> None:
    assert monitors.is_monotone(radius) is expected


def test_gradient_norms_of_known_gradients_leave_the_graph_usable() -> None:
    weight, bias = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    terms = {
        "both": (weight * torch.tensor([3.0, 4.0])).sum() + 12 * bias,
        "bias": 2 * bias,
        "neither": torch.zeros((), requires_grad=True) * 1,
        "constant": torch.ones(()),
    }
    found = monitors.gradient_norms(terms, [weight, bias])
    assert found == pytest.approx({"both": 13.0, "bias": 2.0, "neither": 0.0, "constant": 0.0})
    assert weight.grad is None
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_loss_stops_training_in_one_sentence(value: float) -> None:
    with pytest.raises(TrainingError, match=rf"found {value} at step 12 of phase2: training diverged"):
        monitors.raise_if_broken(value, 12, "phase2")


def test_a_finite_loss_passes() -> None:
    monitors.raise_if_broken(1e30, 12, "phase2")
