"""Eq. 1 against slow loops, pytorch-metric-learning and hand-worked numbers."""

import math

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor

from semise_training.losses import class_pair_loss, cosine_distance, pair_margin_loss


def vectors(count: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)


def loop_distance(a: Tensor, b: Tensor) -> float:
    x: list[float] = a.tolist()
    y: list[float] = b.tolist()
    dot = math.fsum(p * q for p, q in zip(x, y, strict=True))
    return 1 - dot / math.sqrt(sum(p * p for p in x)) / math.sqrt(sum(q * q for q in y))


def loop_penalty(distance: float, *, similar: bool, margin: float) -> float:
    return 0.5 * distance**2 if similar else 0.5 * max(0.0, margin - distance) ** 2


def test_cosine_distance_of_known_angles() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [3.0, 4.0]])
    second = torch.tensor([[5.0, 0.0], [0.0, 0.1], [-2.0, 0.0], [4.0, 3.0]])
    torch.testing.assert_close(cosine_distance(first, second), torch.tensor([0.0, 1.0, 2.0, 0.04]))


def test_cosine_distance_broadcasts_one_reference_over_the_batch() -> None:
    batch, reference = vectors(5), vectors(1, seed=1)[0]
    expected = torch.tensor([loop_distance(row, reference) for row in batch])
    torch.testing.assert_close(cosine_distance(batch, reference), expected)


def test_zero_vector_is_at_distance_one_with_finite_gradient() -> None:
    zero = torch.zeros(1, 4, requires_grad=True)
    distance = cosine_distance(zero, torch.ones(1, 4))
    torch.autograd.backward(distance.sum())
    assert distance.item() == 1.0
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()


def test_pair_margin_loss_of_hand_worked_pairs() -> None:
    # distances 1 (similar), 0.04 (dissimilar), 2 (dissimilar): 1/2 (1 + 0.96^2 + 0) / 3
    u = torch.tensor([[1.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    v = torch.tensor([[0.0, 1.0], [4.0, 3.0], [-1.0, 0.0]])
    loss = pair_margin_loss(u, v, torch.tensor([True, False, False]))
    assert loss.item() == pytest.approx(0.5 * (1 + 0.96**2) / 3, abs=1e-6)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_pair_margin_loss_equals_a_loop(margin: float) -> None:
    u, v = vectors(20), vectors(20, seed=1)
    similar = torch.arange(20) % 3 == 0
    slow = [
        loop_penalty(loop_distance(a, b), similar=bool(y), margin=margin) for a, b, y in zip(u, v, similar, strict=True)
    ]
    assert pair_margin_loss(u, v, similar, margin=margin).item() == pytest.approx(sum(slow) / 20, rel=1e-5)


def loop_class_pairs(x: Tensor, classes: list[int], *, margin: float, per_level: float, ids: list[int]) -> float:
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if ids[i] == ids[j]:
                continue
            gap = abs(classes[i] - classes[j])
            wide = min(2.0, margin + per_level * (gap - 1))
            kinds[gap == 0].append(loop_penalty(loop_distance(x[i], x[j]), similar=gap == 0, margin=wide))
    means = [sum(kind) / len(kind) for kind in kinds.values() if kind]
    return sum(means) / len(means) if means else 0.0


@pytest.mark.parametrize(
    ("classes", "ids", "margin", "per_level"),
    [
        ([0, 0, 1, 2, 2, 3, 0], [0, 1, 2, 3, 4, 5, 6], 1.0, 0.0),
        ([0, 0, 1, 2, 2, 3, 0], [0, 1, 2, 3, 4, 5, 6], 0.7, 0.3),
        ([0, 0, 1, 2, 2, 3, 9], [0, 0, 2, 3, 3, 5, 6], 1.0, 0.5),
        ([1, 1, 1, 1], [0, 1, 2, 3], 1.0, 0.0),
        ([0, 1, 2, 3], [0, 1, 2, 3], 1.0, 0.25),
    ],
)
def test_class_pair_loss_equals_a_loop(classes: list[int], ids: list[int], margin: float, per_level: float) -> None:
    x = vectors(len(classes))
    loss = class_pair_loss(
        x, torch.tensor(classes), margin=margin, margin_per_level=per_level, image_ids=torch.tensor(ids)
    )
    expected = loop_class_pairs(x, classes, margin=margin, per_level=per_level, ids=ids)
    assert expected > 0
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [0.6, 1.0, 1.3])
def test_class_pair_loss_agrees_with_pytorch_metric_learning(margin: float) -> None:
    x, classes = vectors(12), torch.arange(12) % 4
    peer = ContrastiveLoss(
        pos_margin=1, neg_margin=1 - margin, distance=CosineSimilarity(), reducer=DoNothingReducer()
    )(x, classes)
    # The peer's penalty of a pair is not squared: eq. 1 is half its square, averaged over each kind.
    expected = 0.25 * sum(peer[name]["losses"].square().mean() for name in ("pos_loss", "neg_loss"))
    torch.testing.assert_close(class_pair_loss(x, classes, margin=margin), expected)


def test_class_pair_loss_is_pair_margin_loss_of_half_similar_half_dissimilar_pairs() -> None:
    x, classes = vectors(3), torch.tensor([0, 0, 1])
    pairs = torch.tensor([[0, 1], [0, 1], [0, 2], [1, 2]])
    similar = torch.tensor([True, True, False, False])
    expected = pair_margin_loss(x[pairs[:, 0]], x[pairs[:, 1]], similar)
    torch.testing.assert_close(class_pair_loss(x, classes), expected)


@pytest.mark.parametrize(("count", "ids"), [(0, None), (1, None), (3, [7, 7, 7])])
def test_class_pair_loss_without_pairs_is_a_zero_with_a_graph(count: int, ids: list[int] | None) -> None:
    x = vectors(count).requires_grad_()
    image_ids = None if ids is None else torch.tensor(ids)
    loss = class_pair_loss(x, torch.zeros(count, dtype=torch.int64), image_ids=image_ids)
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert x.grad is not None
    assert not x.grad.any()


def test_wider_margins_push_distant_grades_farther() -> None:
    # At distance 1 a neighbour costs nothing, a grade two levels away still does.
    x, far = torch.eye(2), torch.tensor([0, 2])
    assert class_pair_loss(x, torch.tensor([0, 1]), margin_per_level=0.5).item() == 0.0
    assert class_pair_loss(x, far, margin_per_level=0.5).item() == pytest.approx(0.5 * 0.5**2)
    assert class_pair_loss(x, far, margin_per_level=9.0).item() == pytest.approx(0.5 * 1.0**2)


def test_losses_ignore_the_lengths_of_vectors() -> None:
    u, v, similar = vectors(6), vectors(6, seed=1), torch.arange(6) % 2 == 0
    lengths = torch.logspace(-3, 3, 6)[:, None]
    torch.testing.assert_close(pair_margin_loss(u * lengths, v, similar), pair_margin_loss(u, v, similar))
    classes = torch.arange(6) % 3
    torch.testing.assert_close(class_pair_loss(u * lengths, classes), class_pair_loss(u, classes))


def test_bf16_autocast_computes_in_float32_with_finite_gradients() -> None:
    half = vectors(10, dtype=torch.bfloat16).requires_grad_()
    other, similar, classes = vectors(10, seed=1, dtype=torch.bfloat16), torch.arange(10) % 2 == 0, torch.arange(10) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = torch.stack([pair_margin_loss(half, other, similar), class_pair_loss(half, classes)])
    full = half.detach().float()
    exact = torch.stack([pair_margin_loss(full, other.float(), similar), class_pair_loss(full, classes)])
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.detach(), exact, rtol=1e-6, atol=0)
    torch.autograd.backward(losses.sum())
    assert half.grad is not None
    assert torch.isfinite(half.grad).all()
    assert half.grad.any()


def test_gradients_are_exact() -> None:
    u = vectors(5, dtype=torch.float64).requires_grad_()
    v = vectors(5, seed=1, dtype=torch.float64).requires_grad_()
    similar, classes = torch.tensor([True, False, True, False, False]), torch.tensor([0, 0, 1, 3, 3])
    assert torch.autograd.gradcheck(lambda a, b: pair_margin_loss(a, b, similar), (u, v))
    assert torch.autograd.gradcheck(lambda a: class_pair_loss(a, classes, margin_per_level=0.2), (u,))
