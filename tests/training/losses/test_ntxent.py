"""Eq. 2 against slow loops, pytorch-metric-learning and hand-worked numbers."""

import math

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from semise_training.losses import chance_ntxent, ntxent_loss


def views(count: int, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    first, second = torch.randn(2, count, 8, generator=generator)
    return first.to(dtype), second.to(dtype)


def loop_anchor_losses(first: Tensor, second: Tensor, *, temperature: float, ids: list[int]) -> list[float]:
    rows = [[value / math.hypot(*row) for value in row] for row in [*first.tolist(), *second.tolist()]]
    owner, count = ids + ids, len(ids)

    def similarity(i: int, k: int) -> float:
        return math.exp(sum(p * q for p, q in zip(rows[i], rows[k], strict=True)) / temperature)

    losses = []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        others = [k for k in range(2 * count) if k == partner or owner[k] != owner[i]]
        losses.append(-math.log(similarity(i, partner) / sum(similarity(i, k) for k in others)))
    return losses


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [0, 1, 0, 2, 1, 0], [3, 3, 3, 3, 3, 4]])
def test_ntxent_equals_a_loop(temperature: float, ids: list[int]) -> None:
    first, second = views(6)
    slow = loop_anchor_losses(first, second, temperature=temperature, ids=ids)
    simclr = ntxent_loss(first, second, temperature=temperature, ids=torch.tensor(ids))
    paper = ntxent_loss(first, second, temperature=temperature, ids=torch.tensor(ids), norm="paper")
    assert simclr.item() == pytest.approx(sum(slow) / 12, rel=1e-5)
    assert paper.item() == pytest.approx(sum(slow[:6]) / 12, rel=1e-5)


def test_ntxent_of_two_orthogonal_images_by_hand() -> None:
    # Each anchor: one partner at cosine 1, two others at cosine 0, t = 1: log(1 + 2 / e).
    loss = ntxent_loss(torch.eye(2), 3 * torch.eye(2), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(1 + 2 / math.e), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 0.5])
def test_ntxent_agrees_with_pytorch_metric_learning(temperature: float) -> None:
    first, second = views(9)
    expected = NTXentLoss(temperature)(torch.cat([first, second]), torch.arange(9).repeat(2))
    torch.testing.assert_close(ntxent_loss(first, second, temperature=temperature), expected)


def test_masked_ntxent_agrees_with_pytorch_metric_learning_given_the_same_pairs() -> None:
    first, second = views(6)
    ids = torch.tensor([0, 1, 0, 2, 1, 0])
    owner = ids.repeat(2)
    anchors, negatives = torch.nonzero(owner[:, None] != owner[None, :], as_tuple=True)
    pairs = (torch.arange(12), torch.arange(12).roll(6), anchors, negatives)
    expected = NTXentLoss(0.2)(torch.cat([first, second]), indices_tuple=pairs)
    torch.testing.assert_close(ntxent_loss(first, second, ids=ids), expected)


def test_masking_removes_exactly_the_duplicates() -> None:
    first, second = views(5)
    ids = torch.tensor([0, 1, 2, 3, 0])
    plain = ntxent_loss(first, second)
    torch.testing.assert_close(ntxent_loss(first, second, ids=torch.arange(5)), plain, rtol=0, atol=0)
    masked = loop_anchor_losses(first, second, temperature=0.2, ids=ids.tolist())
    unmasked = loop_anchor_losses(first, second, temperature=0.2, ids=list(range(5)))
    of_image_0 = [index for index in range(10) if ids.repeat(2)[index] == 0]
    assert [i for i in range(10) if masked[i] != unmasked[i]] == of_image_0
    change = 10 * (ntxent_loss(first, second, ids=ids) - plain).item()
    assert change == pytest.approx(sum(masked[i] - unmasked[i] for i in of_image_0), rel=1e-4)
    assert change < 0


def test_paper_norm_is_half_of_simclr_on_symmetric_views() -> None:
    # The second view is the first under a reflection that undoes itself, so both views' anchors cost the same.
    first, _ = views(7)
    second = first.roll(4, dims=1)
    simclr, paper = ntxent_loss(first, second), ntxent_loss(first, second, norm="paper")
    torch.testing.assert_close(paper, 0.5 * simclr)


def test_swapping_the_views_changes_simclr_only_in_order() -> None:
    first, second = views(7)
    torch.testing.assert_close(ntxent_loss(first, second), ntxent_loss(second, first))
    assert ntxent_loss(first, second, norm="paper") != ntxent_loss(second, first, norm="paper")


def test_random_vectors_cost_chance_at_large_temperature() -> None:
    first, second = views(64)
    assert ntxent_loss(first, second, temperature=1e4).item() == pytest.approx(math.log(127), abs=1e-3)
    paper = ntxent_loss(first, second, temperature=1e4, norm="paper")
    assert paper.item() == pytest.approx(chance_ntxent(64, "paper"), abs=1e-3)


@pytest.mark.parametrize("norm", ["simclr", "paper"])
def test_chance_is_the_loss_of_identical_views(norm: str) -> None:
    same = torch.ones(4, 3)
    factor = {"simclr": 1.0, "paper": 0.5}[norm]
    assert chance_ntxent(4, norm) == pytest.approx(factor * math.log(7))  # type: ignore[arg-type]
    assert ntxent_loss(same, same, norm=norm).item() == pytest.approx(factor * math.log(7))  # type: ignore[arg-type]


def test_chance_of_a_single_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 2 pairs, found 1"):
        chance_ntxent(1)


def test_ntxent_ignores_the_lengths_of_vectors() -> None:
    first, second = views(6)
    lengths = torch.logspace(-3, 3, 6)[:, None]
    torch.testing.assert_close(ntxent_loss(first * lengths, second), ntxent_loss(first, second))


@pytest.mark.parametrize(("count", "ids"), [(0, None), (1, None), (4, [5, 5, 5, 5])])
def test_nothing_to_compare_with_is_a_zero_with_a_graph(count: int, ids: list[int] | None) -> None:
    first, second = views(count)
    first.requires_grad_()
    loss = ntxent_loss(first, second, ids=None if ids is None else torch.tensor(ids))
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert first.grad is not None
    assert not first.grad.any()


def test_views_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found \(2, 8\) and \(3, 8\)"):
        ntxent_loss(torch.ones(2, 8), torch.ones(3, 8))


def test_bf16_autocast_computes_in_float32_with_finite_gradients() -> None:
    first, second = views(8, dtype=torch.bfloat16)
    first.requires_grad_()
    ids = torch.tensor([0, 1, 2, 3, 0, 1, 2, 4])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ntxent_loss(first, second, temperature=0.05, ids=ids)
    exact = ntxent_loss(first.detach().float(), second.float(), temperature=0.05, ids=ids)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.detach(), exact, rtol=1e-6, atol=0)
    torch.autograd.backward(loss)
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()
    assert first.grad.any()


@pytest.mark.parametrize("norm", ["simclr", "paper"])
def test_gradients_are_exact(norm: str) -> None:
    first, second = views(4, dtype=torch.float64)
    ids = torch.tensor([0, 1, 0, 2])
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: ntxent_loss(a, b, norm=norm, ids=ids), inputs)  # type: ignore[arg-type]
