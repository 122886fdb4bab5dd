"""The parity figures against SciPy, plain NumPy and numbers worked by hand."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from semise_export.gate.agreement import Agreement, agreement, ranks
from semise_export.gate.answers import Answers, PackedMask, thinned
from semise_export.limits import ParityThresholds


def answers(severity: list[float]) -> Answers:
    return Answers(severity=severity)


def mask(rows: list[list[int]]) -> PackedMask:
    return PackedMask.pack(np.array(rows, np.uint8) * 255)


def vectors(*rows: list[float]) -> list[NDArray[np.float32]]:
    return [np.array(row, np.float32) for row in rows]


def test_equal_answers_agree_perfectly() -> None:
    one = Answers(
        severity=[0.1, 0.5, 0.3],
        grades=["a", "b", "a"],
        probabilities=[(0.9, 0.1), (0.2, 0.8), (0.6, 0.4)],
        masks=[mask([[0, 1]]), mask([[0, 0]]), mask([[1, 1]])],
        maps=vectors([0.1], [0.2], [0.3]),
        embeddings=vectors([1, 2], [3, 4], [5, 6]),
    )
    figures = agreement(one, one)
    assert (figures.kendall_tau, figures.c_index, figures.rank_displacement) == (1.0, 1.0, 0)
    assert (figures.class_flips, figures.probability_error, figures.dice, figures.pooled_dice) == (0, 0.0, 1.0, 1.0)
    assert (figures.severity_error, figures.severity_error_mean, figures.map_error) == (0.0, 0.0, 0.0)
    assert figures.embedding_error == pytest.approx(0, abs=1e-12)
    assert figures.problems(ParityThresholds()) == ()


def test_kendall_tau_is_scipys_on_scores_with_ties() -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 40, 120) / 40
    found = np.round(truth + generator.normal(0, 0.1, 120), 1)
    expected = stats.kendalltau(truth, found).statistic
    assert agreement(answers(list(truth)), answers(list(found))).kendall_tau == pytest.approx(expected, abs=1e-12)


def test_a_swap_of_the_ends_moves_three_ranks_and_breaks_five_of_six_pairs() -> None:
    figures = agreement(answers([0.1, 0.2, 0.3, 0.4]), answers([0.4, 0.2, 0.3, 0.1]))
    assert figures.rank_displacement == 3
    assert figures.c_index == pytest.approx(1 / 6)
    assert figures.kendall_tau == pytest.approx((1 - 5) / 6)
    assert figures.severity_error == pytest.approx(0.3)
    assert figures.severity_error_mean == pytest.approx(0.15)


def test_ties_are_broken_alike_in_both_rankings() -> None:
    assert ranks(np.array([0.5, 0.9, 0.5, 0.5])).tolist() == [2, 1, 3, 4]
    assert agreement(answers([0.5, 0.5, 0.5]), answers([0.6, 0.6, 0.6])).rank_displacement == 0


def test_a_constant_ranking_has_no_tau_and_passes_only_by_its_other_figures() -> None:
    figures = agreement(answers([0.5, 0.5, 0.5]), answers([0.5, 0.5, 0.5]))
    assert figures.kendall_tau is None
    assert figures.problems(ParityThresholds()) == ()
    moved = agreement(answers([0.5, 0.5, 0.5]), answers([0.5, 0.9, 0.5]))
    assert "largest severity error 0.4 is above 0.001" in moved.problems(ParityThresholds())


def test_dice_is_against_torchs_mask_and_both_empty_is_one() -> None:
    reference = dataclasses.replace(answers([0.1, 0.2]), masks=[mask([[1, 1, 0]]), mask([[0, 0, 0]])])
    candidate = dataclasses.replace(answers([0.1, 0.2]), masks=[mask([[1, 0, 0]]), mask([[0, 0, 0]])])
    figures = agreement(reference, candidate)
    assert figures.pooled_dice == pytest.approx(2 / 3)
    assert figures.dice == pytest.approx((2 / 3 + 1) / 2)


def test_masks_are_packed_without_loss_at_sizes_that_fill_no_byte() -> None:
    drawn = (np.random.default_rng(1).random((5, 7)) > 0.5).astype(np.uint8) * 255
    np.testing.assert_array_equal(PackedMask.pack(drawn).unpack(), drawn > 0)


def test_maps_are_thinned_to_64_a_side() -> None:
    severity_map = np.arange(130 * 65, dtype=np.float32).reshape(130, 65)
    few = thinned(severity_map)
    assert few.shape == (44, 33)
    assert few[1, 1] == severity_map[3, 2]


def test_embedding_error_is_the_worst_cosine_distance() -> None:
    reference = dataclasses.replace(answers([0.1, 0.2]), embeddings=vectors([1, 0], [0, 2]))
    candidate = dataclasses.replace(answers([0.1, 0.2]), embeddings=vectors([3, 0], [1, 1]))
    assert agreement(reference, candidate).embedding_error == pytest.approx(1 - np.sqrt(0.5), abs=1e-7)


def test_a_zero_embedding_agrees_with_zero_alone() -> None:
    zero = dataclasses.replace(answers([0.1]), embeddings=vectors([0, 0]))
    other = dataclasses.replace(answers([0.1]), embeddings=vectors([0, 1]))
    assert agreement(zero, zero).embedding_error == 0
    assert agreement(zero, other).embedding_error == 1


def test_answers_about_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same images, found 2 and 1"):
        agreement(answers([0.1, 0.2]), answers([0.1]))
    with pytest.raises(ValueError, match="same images"):
        agreement(answers([]), answers([]))


FINE = Agreement(
    images=400,
    kendall_tau=1.0,
    c_index=1.0,
    rank_displacement=0,
    class_flips=0,
    probability_error=0.0,
    dice=1.0,
    pooled_dice=1.0,
    task_c_index=0.9,
    task_c_index_torch=0.9,
    severity_error=0.0,
    severity_error_mean=0.0,
    map_error=0.0,
    embedding_error=0.0,
    reference_error=0.0,
)


@pytest.mark.parametrize(
    ("figure", "worst_allowed", "too_bad"),
    [
        ("kendall_tau", 0.999, 0.9989),
        ("c_index", 0.9995, 0.9994),
        ("rank_displacement", 4, 5),
        ("class_flips", 2, 3),
        ("probability_error", 1e-3, 1.1e-3),
        ("dice", 0.995, 0.994),
        ("pooled_dice", 0.999, 0.998),
        ("task_c_index", 0.8991, 0.8989),
        ("severity_error", 1e-3, 1.1e-3),
        ("map_error", 1e-3, 1.1e-3),
        ("embedding_error", 1e-4, 1.1e-4),
        ("reference_error", 1e-4, 1.1e-4),
    ],
)
def test_each_figure_fails_just_beyond_its_default_limit(figure: str, worst_allowed: float, too_bad: float) -> None:
    limits = ParityThresholds()
    assert dataclasses.replace(FINE, **{figure: worst_allowed}).problems(limits) == ()
    assert len(dataclasses.replace(FINE, **{figure: too_bad}).problems(limits)) == 1
    assert len(dataclasses.replace(FINE, **{figure: float("nan")}).problems(limits)) == 1
    assert dataclasses.replace(FINE, **{figure: None}).problems(limits) == ()


def test_the_task_is_measured_against_the_true_grades_and_not_against_torch() -> None:
    # grades 0, 0, 1, 1: torch orders all four pairs rightly, the candidate has (0.3, 0.2) wrong
    figures = agreement(answers([0.1, 0.2, 0.3, 0.4]), answers([0.1, 0.3, 0.2, 0.4]), [0, 0, 1, 1])
    assert (figures.task_c_index_torch, figures.task_c_index) == (1.0, 0.75)
    assert figures.task_loss == 0.25
    assert "loss of C-index against the true grades 0.25 is above 0.001" in figures.problems(ParityThresholds())


def test_ties_of_the_severity_count_half_a_pair_and_ties_of_the_grade_none() -> None:
    figures = agreement(answers([0.1, 0.2, 0.3]), answers([0.2, 0.2, 0.3]), [0, 1, 1])
    assert (figures.task_c_index_torch, figures.task_c_index) == (1.0, 0.75)


def test_unlabeled_images_are_left_out_of_the_task() -> None:
    # without the second and the last image: grades 0, 1, 2 at .1, .3, .2 against .1, .2, .3
    torch, found = [0.1, 0.9, 0.3, 0.2, 0.0], [0.1, 0.0, 0.2, 0.3, 0.9]
    figures = agreement(answers(torch), answers(found), [0, None, 1, 2, None])
    assert (figures.task_c_index_torch, figures.task_c_index) == (2 / 3, 1.0)
    assert figures.task_loss == pytest.approx(-1 / 3)
    assert not any("true grades" in problem for problem in figures.problems(ParityThresholds()))


@pytest.mark.parametrize("levels", [None, [None, None], [1, 1]])
def test_without_two_grades_there_is_no_task_figure_and_no_complaint(levels: list[int | None] | None) -> None:
    figures = agreement(answers([0.1, 0.2]), answers([0.1, 0.2]), levels)
    assert (figures.task_c_index, figures.task_c_index_torch, figures.task_loss) == (None, None, None)
    assert figures.problems(ParityThresholds()) == ()


def test_the_loss_is_of_the_candidate_against_torch_on_the_same_images() -> None:
    worse_torch = dataclasses.replace(FINE, task_c_index=0.8, task_c_index_torch=0.8)
    assert worse_torch.problems(ParityThresholds()) == ()


def test_one_rank_is_always_allowed_and_no_more_among_few_images() -> None:
    few = dataclasses.replace(FINE, images=20)
    assert dataclasses.replace(few, rank_displacement=1).problems(ParityThresholds()) == ()
    (problem,) = dataclasses.replace(few, rank_displacement=2).problems(ParityThresholds())
    assert problem == "worst rank displacement of 20 images 2 is above 1"
