"""Khosla's SupCon loss against a slow loop, pytorch-metric-learning, SimCLR and hand-worked numbers."""

import math

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor

from semise_training.losses import ntxent_loss, supcon_loss


def vectors(count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(count)).to(dtype)


def loop_supcon(z: Tensor, classes: list[int], *, temperature: float) -> float:
    rows = [[value / math.hypot(*row) for value in row] for row in z.tolist()]
    anchors = range(len(rows))
    losses = []
    for i in anchors:
        share = {
            a: math.exp(sum(p * q for p, q in zip(rows[i], rows[a], strict=True)) / temperature)
            for a in anchors
            if a != i
        }
        positives = [p for p in share if classes[p] == classes[i]]
        if positives:
            total = sum(share.values())
            losses.append(-sum(math.log(share[p] / total) for p in positives) / len(positives))
    return sum(losses) / len(losses)


CLASSES = [[0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 2, 1, 0, 3], [1, 1, 1, 1, 1, 1, 1]]


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
@pytest.mark.parametrize("classes", CLASSES)
def test_supcon_equals_a_loop_and_pytorch_metric_learning(temperature: float, classes: list[int]) -> None:
    z, labels = vectors(7), torch.tensor(classes)
    loss = supcon_loss(z, labels, temperature=temperature)
    assert loss.item() == pytest.approx(loop_supcon(z, classes, temperature=temperature), rel=1e-5)
    if len(set(classes)) > 1:  # of a single class pytorch-metric-learning makes 0
        torch.testing.assert_close(loss, SupConLoss(temperature)(z, labels))


def test_supcon_of_two_orthogonal_classes_by_hand() -> None:
    # Each anchor: one positive at cosine 1, two others at cosine 0, t = 1: log(1 + 2 / e).
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    loss = supcon_loss(z, torch.tensor([0, 1, 0, 1]), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(1 + 2 / math.e), abs=1e-6)


def test_two_views_of_images_that_are_classes_of_their_own_are_simclr() -> None:
    first, second = vectors(9), vectors(9).roll(1, dims=1)
    labels = torch.arange(9).repeat(2)
    simclr = ntxent_loss(first, second, temperature=0.2)
    torch.testing.assert_close(supcon_loss(torch.cat([first, second]), labels, temperature=0.2), simclr)


def test_supcon_ignores_the_lengths_of_vectors() -> None:
    z, labels = vectors(6), torch.tensor([0, 0, 1, 1, 2, 2])
    torch.testing.assert_close(supcon_loss(z * torch.logspace(-2, 2, 6)[:, None], labels), supcon_loss(z, labels))


@pytest.mark.parametrize("classes", [[], [4], [0, 1, 2]])
def test_a_batch_without_positives_is_a_zero_with_a_graph(classes: list[int]) -> None:
    z = vectors(len(classes)).requires_grad_()
    loss = supcon_loss(z, torch.tensor(classes, dtype=torch.int64))
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert z.grad is not None
    assert not z.grad.any()


def test_bf16_autocast_computes_in_float32_with_finite_gradients() -> None:
    half, labels = vectors(8, dtype=torch.bfloat16).requires_grad_(), torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supcon_loss(half, labels, temperature=0.05)
    exact = supcon_loss(half.detach().float(), labels, temperature=0.05)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.detach(), exact, rtol=1e-6, atol=0)
    torch.autograd.backward(loss)
    assert half.grad is not None
    assert torch.isfinite(half.grad).all()
    assert half.grad.any()


def test_gradients_are_exact() -> None:
    z, labels = vectors(5, dtype=torch.float64).requires_grad_(), torch.tensor([0, 0, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda a: supcon_loss(a, labels), (z,))
