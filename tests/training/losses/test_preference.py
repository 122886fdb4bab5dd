"""Eq. 3 against Bradley-Terry, slow loops and hand-worked numbers."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from semise_training.losses import CHANCE_PREFERENCE, inbatch_preference_loss, preference_loss


def distances(count: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return 2 * torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bradley_terry(d_i: float, d_j: float, outcome: float, *, beta: float) -> float:
    i_wins = math.exp(beta * d_i) / (math.exp(beta * d_i) + math.exp(beta * d_j))
    return -outcome * math.log(i_wins) - (1 - outcome) * math.log(1 - i_wins)


@pytest.mark.parametrize("beta", [1.0, 5.0])
def test_preference_loss_is_the_bradley_terry_likelihood_and_bce(beta: float) -> None:
    d_i, d_j = distances(30), distances(30, seed=1)
    outcome = torch.tensor([0.0, 0.5, 1.0]).repeat(10)
    slow = [bradley_terry(*map(float, row), beta=beta) for row in zip(d_i, d_j, outcome, strict=True)]
    loss = preference_loss(d_i, d_j, outcome, beta=beta)
    assert loss.item() == pytest.approx(sum(slow) / 30, rel=1e-5)
    torch.testing.assert_close(loss, binary_cross_entropy_with_logits(beta * (d_i - d_j), outcome))


def test_equal_distances_cost_the_logarithm_of_two() -> None:
    same = distances(6)
    outcome = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0, 1.0])
    assert preference_loss(same, same, outcome).item() == pytest.approx(math.log(2), abs=1e-6)
    assert pytest.approx(math.log(2)) == CHANCE_PREFERENCE


def test_floor_of_the_faithful_beta() -> None:
    farthest, nearest = torch.tensor([2.0]), torch.tensor([0.0])
    assert preference_loss(farthest, nearest, torch.ones(1), beta=1.0).item() == pytest.approx(0.127, abs=5e-4)
    assert preference_loss(farthest, nearest, torch.ones(1)).item() == pytest.approx(
        math.log1p(math.exp(-10)), rel=1e-3
    )


def test_swapping_a_pair_and_its_outcome_changes_nothing() -> None:
    d_i, d_j, gap = distances(9), distances(9, seed=1), torch.arange(9) % 4
    outcome = torch.where(gap == 0, 0.5, (torch.arange(9) % 2).float())
    one = preference_loss(d_i, d_j, outcome, margin=0.3, gap=gap)
    torch.testing.assert_close(preference_loss(d_j, d_i, 1 - outcome, margin=0.3, gap=gap), one)


def test_margin_asks_for_a_lead_per_level() -> None:
    d_i, d_j = torch.tensor([0.9, 0.2]), torch.tensor([0.4, 0.8])
    outcome, gap = torch.tensor([1.0, 0.0]), torch.tensor([3, 1])
    # s l - gamma |y_i - y_j|: 5 * 0.5 - 0.4 * 3 and 5 * 0.6 - 0.4 * 1
    expected = (math.log1p(math.exp(-1.3)) + math.log1p(math.exp(-2.6))) / 2
    assert preference_loss(d_i, d_j, outcome, margin=0.4, gap=gap).item() == pytest.approx(expected, rel=1e-5)


def test_margin_without_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="give gap="):
        preference_loss(torch.ones(2), torch.zeros(2), torch.ones(2), margin=0.1)


def loop_inbatch(d: list[float], levels: list[int], *, beta: float, ties: str, margin: float) -> float:
    losses = []
    for i in range(len(d)):
        for j in range(i + 1, len(d)):
            if levels[i] == levels[j]:
                if ties == "half":
                    losses.append(bradley_terry(d[i], d[j], 0.5, beta=beta))
                continue
            sign = 1 if levels[i] > levels[j] else -1
            lead = sign * beta * (d[i] - d[j]) - margin * abs(levels[i] - levels[j])
            losses.append(math.log1p(math.exp(-lead)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("ties", ["drop", "half"])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_inbatch_preference_equals_a_loop(ties: str, margin: float) -> None:
    d, levels = distances(9), [0, 0, 1, 2, 2, 4, 1, 0, 3]
    loss = inbatch_preference_loss(d, torch.tensor(levels), beta=3.0, ties=ties, margin=margin)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(loop_inbatch(d.tolist(), levels, beta=3.0, ties=ties, margin=margin), rel=1e-5)


def test_inbatch_preference_falls_when_the_order_is_right() -> None:
    levels = torch.tensor([0, 1, 2])
    right = inbatch_preference_loss(torch.tensor([0.1, 0.5, 0.9]), levels)
    wrong = inbatch_preference_loss(torch.tensor([0.9, 0.5, 0.1]), levels)
    assert right < math.log(2) < wrong


def test_gradient_moves_the_more_severe_image_away() -> None:
    d = torch.full((3,), 0.5, requires_grad=True)
    torch.autograd.backward(inbatch_preference_loss(d, torch.tensor([0, 1, 2])))
    assert d.grad is not None
    assert d.grad[0] > 0 > d.grad[2]
    assert d.grad[1].item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("levels", [[], [2], [1, 1, 1]])
def test_batch_without_comparable_pair_is_a_zero_with_a_graph(levels: list[int]) -> None:
    d = distances(len(levels)).requires_grad_()
    loss = inbatch_preference_loss(d, torch.tensor(levels, dtype=torch.int64))
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert d.grad is not None
    assert not d.grad.any()


def test_no_pair_at_all_is_a_zero_with_a_graph() -> None:
    none = torch.zeros(0, requires_grad=True)
    loss = preference_loss(none, none, torch.zeros(0))
    torch.autograd.backward(loss)
    assert loss.item() == 0.0


def test_half_precision_is_computed_in_float32_with_finite_gradients() -> None:
    half = distances(8, dtype=torch.float32).to(torch.bfloat16).requires_grad_()
    levels = torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = inbatch_preference_loss(half, levels, beta=50.0)
    exact = inbatch_preference_loss(half.detach().float(), levels, beta=50.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.detach(), exact, rtol=1e-6, atol=0)
    torch.autograd.backward(loss)
    assert half.grad is not None
    assert torch.isfinite(half.grad).all()
    assert half.grad.any()


def test_gradients_are_exact() -> None:
    d_i = distances(6, dtype=torch.float64).requires_grad_()
    d_j = distances(6, seed=1, dtype=torch.float64).requires_grad_()
    outcome, gap = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 0.5]), torch.tensor([1, 2, 0, 3, 1, 0])
    levels = torch.tensor([0, 1, 1, 3, 2, 0])
    assert torch.autograd.gradcheck(lambda a, b: preference_loss(a, b, outcome, margin=0.2, gap=gap), (d_i, d_j))
    assert torch.autograd.gradcheck(lambda a: inbatch_preference_loss(a, levels, ties="half", margin=0.2), (d_i,))
