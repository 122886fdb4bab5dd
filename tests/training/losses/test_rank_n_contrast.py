"""Rank-N-Contrast against the paper's equation as slow loops, SupCon-like limits and hand-worked numbers."""

import math

import pytest
import torch
from torch import Tensor

from semise_training.losses import rank_n_contrast_loss, supcon_loss


def vectors(count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(count)).to(dtype)


def loop_rank_n_contrast(v: Tensor, levels: list[int], *, temperature: float) -> float:
    rows = [[value / math.hypot(*row) for value in row] for row in v.tolist()]
    count = len(rows)

    def similarity(i: int, k: int) -> float:
        return math.exp(sum(p * q for p, q in zip(rows[i], rows[k], strict=True)) / temperature)

    total = 0.0
    for i in range(count):
        for j in set(range(count)) - {i}:
            gap = abs(levels[i] - levels[j])
            compared = [k for k in range(count) if k != i and abs(levels[i] - levels[k]) >= gap]
            total -= math.log(similarity(i, j) / sum(similarity(i, k) for k in compared))
    return total / (count * (count - 1))


@pytest.mark.parametrize("temperature", [0.1, 0.2, 2.0])
@pytest.mark.parametrize("levels", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 4, 4], [2, 2, 2, 2, 2, 2], [0, 4, 0, 4, 1, 0]])
def test_the_loss_equals_the_papers_equation(temperature: float, levels: list[int]) -> None:
    v = vectors(6)
    loss = rank_n_contrast_loss(v, torch.tensor(levels), temperature=temperature)
    assert loss.item() == pytest.approx(loop_rank_n_contrast(v, levels, temperature=temperature), rel=1e-5)


def test_three_images_by_hand() -> None:
    # Levels 0, 1, 2 at cosines c01 = 0, c02 = -1, c12 = 0, t = 1. Anchor 0: partner 1 against {1, 2}, partner 2 alone.
    # Anchor 1: both partners lie one level off, at the same cosine: log 2 each. Anchor 2: as anchor 0.
    v = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    end = math.log(1 + math.exp(-1))
    expected = (2 * end + 2 * math.log(2)) / 6
    loss = rank_n_contrast_loss(v, torch.tensor([0, 1, 2]), temperature=1.0)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_images_of_one_level_are_all_each_others_positives() -> None:
    v, levels = vectors(7), torch.zeros(7, dtype=torch.int64)
    torch.testing.assert_close(
        rank_n_contrast_loss(v, levels, temperature=0.3), supcon_loss(v, levels, temperature=0.3)
    )


def test_vectors_in_the_order_of_their_levels_cost_less() -> None:
    angles = torch.linspace(0, 3, 5)
    on_an_arc, levels = torch.stack([angles.cos(), angles.sin()], dim=1), torch.arange(5)
    ordered = rank_n_contrast_loss(on_an_arc, levels)
    assert ordered < 0.5 * rank_n_contrast_loss(on_an_arc[[0, 3, 1, 4, 2]], levels)
    assert ordered < rank_n_contrast_loss(torch.ones(5, 2), levels)


def test_only_the_order_of_levels_counts() -> None:
    v, levels = vectors(6), torch.tensor([0, 1, 3, 3, 1, 0])
    torch.testing.assert_close(rank_n_contrast_loss(v, levels), rank_n_contrast_loss(v, 10 - 2 * levels))


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_contrast_is_a_zero_with_a_graph(count: int) -> None:
    v = vectors(count).requires_grad_()
    loss = rank_n_contrast_loss(v, torch.zeros(count, dtype=torch.int64))
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert v.grad is not None
    assert not v.grad.any()


def test_bf16_autocast_computes_in_float32_with_finite_gradients() -> None:
    half, levels = vectors(8, dtype=torch.bfloat16).requires_grad_(), torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = rank_n_contrast_loss(half, levels, temperature=0.05)
    exact = rank_n_contrast_loss(half.detach().float(), levels, temperature=0.05)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.detach(), exact, rtol=1e-6, atol=0)
    torch.autograd.backward(loss)
    assert half.grad is not None
    assert torch.isfinite(half.grad).all()
    assert half.grad.any()


def test_gradients_are_exact_where_an_anchor_has_no_far_partner() -> None:
    # Level 1 has nobody two levels away: its sum for that gap is empty.
    v, levels = vectors(5, dtype=torch.float64).requires_grad_(), torch.tensor([0, 1, 2, 2, 1])
    assert torch.autograd.gradcheck(lambda a: rank_n_contrast_loss(a, levels), (v,))
