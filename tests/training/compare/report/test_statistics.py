"""The figures of rows against hand-worked numbers and a slow bootstrap over repeated rows."""

import dataclasses
import statistics
import tracemalloc

import numpy as np
import pytest

from semise_sdk import metrics
from semise_sdk.metrics.evaluation import Observations, evaluate
from semise_training.compare.report.alpha import chosen_alphas, criterion, with_chosen_alphas
from semise_training.compare.report.measures import severity_figures
from semise_training.compare.report.statistics import (
    CellFigures,
    Resamples,
    difference,
    mean_figure,
    measure,
    measure_heads,
    row_estimate,
)


def column(cells, resamples, name):
    return [measure(cell, resamples)[name] for cell in cells]


def test_mean_and_spread_by_hand():
    figures = [CellFigures(value, np.array([value, value + 1]), 10) for value in (1.0, 2.0, 6.0)]
    estimate = row_estimate(figures)
    assert estimate.value == 3
    assert estimate.sd == pytest.approx(statistics.stdev([1, 2, 6]))
    assert (estimate.low, estimate.high) == (pytest.approx(3.025), pytest.approx(3.975))
    assert estimate.n == 30


def test_a_figure_that_one_cell_lacks_is_undefined():
    figures = [CellFigures(1.0, np.ones(4), 10), CellFigures(float("nan"), np.ones(4), 10)]
    assert row_estimate(figures).to_json() == {"value": None, "sd": None, "low": None, "high": None, "n": 0}
    assert row_estimate([]).n == 0


def test_resamples_without_a_figure_are_left_out_until_they_are_half():
    some = row_estimate([CellFigures(1.0, np.array([np.nan, 1.0, 2.0, 3.0]), 5)])
    assert (some.low, some.high) == (pytest.approx(1.05), pytest.approx(2.95))
    half = row_estimate([CellFigures(1.0, np.array([np.nan, np.nan, 2.0, 3.0]), 5)])
    assert (half.value, half.low, half.high) == (1.0, None, None)


@pytest.mark.parametrize("name", ["macro_f1", "maee", "kappa", "ece", "kendall_tau_class", "balanced_accuracy"])
def test_a_cells_figures_are_those_of_the_evaluation_report(make_cell, name):
    cell = make_cell()
    answers = cell.test
    expected = []
    for per_mille in answers.heads["weighted"].per_mille:
        probabilities = per_mille / per_mille.sum(axis=1, keepdims=True)
        seen = Observations(levels=answers.levels, groups=answers.groups, num_classes=3, probabilities=probabilities)
        expected.append(evaluate(seen, repeats=1)[name].value)
    assert mean_figure(cell, name, part="test") == pytest.approx(np.mean(expected), abs=1e-9)


@pytest.mark.parametrize(
    "name", ["kendall_tau", "c_index", "auroc_healthy", "spearman", "pair_accuracy", "pair_brier", "iou", "pooled_dice"]
)
def test_severity_and_masks_are_those_of_the_evaluation_report(make_cell, name):
    cell = make_cell()
    answers = cell.test
    seen = Observations(
        levels=answers.levels,
        groups=answers.groups,
        num_classes=3,
        severity=answers.severity,
        mask_counts=answers.mask_counts,
        mask_groups=answers.groups[answers.mask_rows],
    )
    assert mean_figure(cell, name, part="test") == pytest.approx(evaluate(seen, repeats=1)[name].value, abs=1e-9)


def test_intervals_equal_a_slow_bootstrap_over_repeated_rows(make_cell, make_answers):
    cells = [
        make_cell(fold=fold, test=make_answers(fold, first_group=100 * fold, per_group=2, images=30)) for fold in (0, 1)
    ]
    resamples = Resamples(cells, "test", repeats=50)
    slow = {"kendall_tau": [], "macro_f1": []}
    for repeat in range(50):
        taus, f1s = [], []
        for cell in cells:
            times = resamples.times(cell)[repeat].astype(int)
            assert times.sum() == 30
            rows = np.repeat(np.arange(30), times)
            answers = cell.test
            taus.append(metrics.kendall_tau(answers.levels[rows], answers.severity[rows]))
            heads = answers.heads["weighted"].decided["argmax"]
            f1s.append(np.mean([metrics.macro_f1(answers.levels[rows], h[rows], num_classes=3) for h in heads]))
        slow["kendall_tau"].append(np.mean(taus))
        slow["macro_f1"].append(np.mean(f1s))
    for name, values in slow.items():
        estimate = row_estimate(column(cells, resamples, name))
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_figures_are_the_same_however_many_resamples_are_counted_at_once(make_cell, make_answers, monkeypatch):
    cells = [make_cell(test=make_answers(3, images=images)) for images in (31, 200)]
    for cell in cells:
        resamples = Resamples([cell], "test", repeats=150)
        chunked = measure(cell, resamples)
        monkeypatch.setattr("semise_sdk.metrics.bootstrap.AT_ONCE", 1000)
        whole = measure(cell, resamples)
        monkeypatch.undo()
        for name, figures in whole.items():
            assert chunked[name].value == figures.value or np.isnan(figures.value)
            assert chunked[name].resampled.tobytes() == figures.resampled.tobytes(), name


def test_a_thousand_resamples_of_4000_images_stay_below_500_mb(make_answers):
    answers = make_answers(4, images=4000, classes=5, heads=1)
    times = np.random.default_rng(0).multinomial(4000, np.full(4000, 1 / 4000), size=1000).astype(float)
    tracemalloc.start()
    severity_figures(answers, times)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak + times.nbytes < 500e6


def test_groups_are_resampled_whole_and_within_their_fold(make_cell, make_answers):
    cells = [make_cell(fold=f, test=make_answers(f, first_group=100 * f, per_group=4, images=24)) for f in (0, 1)]
    resamples = Resamples(cells, "test", repeats=40)
    for cell in cells:
        times = resamples.times(cell).reshape(40, 6, 4)
        assert (times == times[:, :, :1]).all()
        assert (times[:, :, 0].sum(axis=1) == 6).all()
    assert not np.array_equal(resamples.times(cells[0]), resamples.times(cells[1]))


def test_seeds_on_one_test_part_share_their_resamples(make_cell, make_answers):
    cells = [make_cell(seed=seed, test=make_answers(seed)) for seed in (0, 1, 2)]
    resamples = Resamples(cells, "test", repeats=40)
    assert np.array_equal(resamples.times(cells[0]), resamples.times(cells[2]))
    alone = row_estimate(column(cells[:1], resamples, "kendall_tau"))
    three = row_estimate(column([cells[0]] * 3, resamples, "kendall_tau"))
    assert (three.low, three.high) == pytest.approx((alone.low, alone.high))


def test_overlapping_splits_draw_what_they_share_once(make_cell, make_answers):
    first, second = make_answers(0), make_answers(1, first_group=20)
    cells = [make_cell(fold=0, test=first), make_cell(fold=1, test=second)]
    resamples = Resamples(cells, "test", repeats=30)
    assert np.array_equal(resamples.times(cells[0])[:, 20:], resamples.times(cells[1])[:, :20])


def test_three_groups_are_too_few_for_an_interval(make_cell, make_answers):
    cells = [make_cell(test=make_answers(0, images=30, per_group=10))]
    estimate = row_estimate(column(cells, Resamples(cells, "test", repeats=20), "macro_f1"))
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_a_system_differs_from_itself_by_exactly_nothing(make_cell):
    cells = [make_cell(fold=fold) for fold in range(3)]
    figures = column(cells, Resamples(cells, "test", repeats=30), "kendall_tau")
    assert difference(figures, figures).to_json() == {"value": 0, "sd": 0, "low": 0, "high": 0, "n": 120}


def test_pairing_narrows_the_interval_of_a_difference(make_cell):
    cells = [make_cell(fold=fold) for fold in range(3)]
    better = [
        dataclasses.replace(c, test=dataclasses.replace(c.test, severity=c.test.severity + 0.02 * c.test.levels))
        for c in cells
    ]
    resamples = Resamples(cells, "test", repeats=100)
    gap = difference(column(better, resamples, "kendall_tau"), column(cells, resamples, "kendall_tau"))
    one = row_estimate(column(cells, resamples, "kendall_tau"))
    assert gap.value > 0
    assert gap.high - gap.low < 0.3 * (one.high - one.low)


def test_a_constant_has_no_rank_correlation_and_knows_its_maee(make_cell, make_constant, make_answers):
    cell = make_cell(test=make_constant(make_answers()))
    figures = measure(cell, Resamples([cell], "test", repeats=5))
    assert row_estimate([figures["kendall_tau"]]).n == 0
    counts = np.bincount(cell.test.levels)
    assert figures["maee"].value == pytest.approx((counts[1] + (counts[0] + counts[2]) * np.e) / counts.sum())


def test_plain_heads_are_measured_by_what_they_decided(make_cell):
    cell = make_cell()
    figures = measure_heads(cell, Resamples([cell], "test", repeats=5), loss="plain", decoding="expected_maee")
    decided = cell.test.heads["plain"].decided["expected_maee"]
    assert figures["maee"].value == pytest.approx(np.mean([metrics.maee(cell.test.levels, row) for row in decided]))
    assert "ece" not in figures


def test_alpha_is_chosen_for_each_split_by_the_criterion_on_validation_data(make_cell, make_answers):
    def cells(fold, shifts):
        return [make_cell(fold=fold, alpha=a, val=make_answers(5, shift=shift)) for a, shift in shifts.items()]

    first = cells(0, {0.0: 0.0, 0.3: 3.0, 0.5: 1.0})
    second = cells(1, {0.0: 3.0, 0.3: 0.0, 0.5: 0.0})
    assert list(chosen_alphas([*first, *second]).values()) == [0.3, 0.0]
    assert [cell.key.alpha for cell in with_chosen_alphas([*first, *second])] == [0.3, 0.0]
    expected = mean_figure(first[0], "macro_f1", part="val") + mean_figure(first[0], "kendall_tau", part="val")
    assert criterion(first[0]) == pytest.approx(expected / 2)


def test_the_seeds_of_a_split_choose_together_and_equal_alphas_go_to_the_smaller(make_cell, make_answers):
    weak, strong = make_answers(5), make_answers(5, shift=3.0)
    cells = [
        make_cell(seed=0, alpha=0.0, val=strong), make_cell(seed=1, alpha=0.0, val=strong),
        make_cell(seed=0, alpha=0.5, val=strong), make_cell(seed=1, alpha=0.5, val=weak),
    ]  # fmt: skip
    assert set(chosen_alphas(cells).values()) == {0.0}
    equal = [make_cell(alpha=a, val=strong) for a in (0.5, 0.2, 0.7)]
    assert set(chosen_alphas(equal).values()) == {0.2}
    incomplete = [*cells[:2], make_cell(seed=0, alpha=0.9, val=make_answers(5, shift=9.0))]
    assert set(chosen_alphas(incomplete).values()) == {0.0}


def test_an_alpha_that_lacks_a_split_takes_no_part_in_any(make_cell, make_answers):
    weak, strong = make_answers(5), make_answers(5, shift=3.0)
    cells = [make_cell(fold=f, alpha=a, val=strong if a == 0.5 else weak) for f in (0, 1) for a in (0.0, 0.5)]
    assert list(chosen_alphas(cells).values()) == [0.5, 0.5]
    assert list(chosen_alphas(cells[:3]).values()) == [0.0, 0.0]
    assert [cell.key.fold for cell in with_chosen_alphas(cells[:3])] == [0, 1]
    each_lacks_one = [cells[1], cells[2]]
    assert list(chosen_alphas(each_lacks_one).values()) == [0.5, 0.0]


def test_a_constant_severity_is_never_chosen(make_cell, make_answers, make_constant):
    cells = [make_cell(alpha=0.0, val=make_constant(make_answers())), make_cell(alpha=0.5, val=make_answers(1))]
    assert criterion(cells[0]) is None
    assert set(chosen_alphas(cells).values()) == {0.5}


def test_no_test_answer_moves_the_choice_of_alpha(make_cell, make_answers):
    cells = [make_cell(fold=f, alpha=a, val=make_answers(f, shift=a)) for f in (0, 1) for a in (0.0, 0.5)]
    other = [dataclasses.replace(cell, test=make_answers(99, shift=5 * (1 - cell.key.alpha))) for cell in cells]
    assert chosen_alphas(cells) == chosen_alphas(other)
