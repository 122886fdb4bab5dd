"""The evaluation report: which figure is of which score, what is undefined, and what it refuses."""

import doctest
import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score, recall_score, roc_auc_score

from semise_sdk import metrics
from semise_sdk.errors import DataError
from semise_sdk.metrics import evaluation
from semise_sdk.metrics.classification import decide
from semise_sdk.metrics.evaluation import METRICS, Observations, evaluate, mask_counts

K = 4
CONTRACT = [
    "macro_f1",
    "recall",
    "maee",
    "mae",
    "kappa",
    "spearman",
    "kendall_tau",
    "c_index",
    "balanced_accuracy",
    "auroc_healthy",
    "ece",
    "iou",
    "dice",
]
OF_SEVERITY = ["spearman", "kendall_tau", "c_index", "auroc_healthy", "pair_accuracy", "pair_brier"]
OF_MASKS = ["iou", "dice", "pooled_iou", "pooled_dice"]
OF_CLASSES = [name for name in METRICS if name not in OF_SEVERITY + OF_MASKS]


def observe(seed=0, *, n=90, **changes):
    generator = np.random.default_rng(seed)
    levels = generator.integers(0, K, n)
    sharp = np.eye(K)[levels] * generator.random((n, 1))
    masks = [generator.random((2, 8, 8)) < 0.5 for _ in range(n // 3)]
    fields = {
        "levels": levels,
        "groups": [f"patient {row // 2}" for row in range(n)],
        "num_classes": K,
        "severity": np.round(levels / K + generator.normal(0, 0.3, n), 2),
        "probabilities": (generator.dirichlet(np.ones(K), n) + sharp) / (1 + sharp.sum(axis=1, keepdims=True)),
        "mask_counts": np.array([mask_counts(*pair) for pair in masks]),
        "mask_groups": list(range(n // 3)),
    }
    return Observations(**{**fields, **changes})


@pytest.fixture(scope="module")
def observations():
    return observe()


@pytest.fixture(scope="module")
def report(observations):
    return evaluate(observations, repeats=200)


def test_every_value_is_of_its_own_score(observations, report):
    levels, severity, probabilities = observations.levels, observations.severity, observations.probabilities
    decided = probabilities.argmax(axis=1)
    expected = probabilities @ np.arange(K)
    assert report["kendall_tau"].value == pytest.approx(stats.kendalltau(levels, severity).statistic)
    assert report["spearman"].value == pytest.approx(stats.spearmanr(levels, severity).statistic)
    assert report["auroc_healthy"].value == pytest.approx(roc_auc_score(levels > 0, severity))
    assert report["kendall_tau_class"].value == pytest.approx(stats.kendalltau(levels, expected).statistic)
    assert report["macro_f1"].value == pytest.approx(f1_score(levels, decided, average="macro"))
    assert report["accuracy"].value == pytest.approx((levels == decided).mean())
    assert report["recall"].value == metrics.recall(levels, decided, num_classes=K)
    assert report["balanced_accuracy"].value == metrics.balanced_accuracy(levels, decided, num_classes=K)
    assert report["kappa"].value == metrics.quadratic_kappa(levels, decided, num_classes=K)
    assert report["mae"].value == metrics.mae(levels, decided)
    assert report["maee"].value == metrics.maee(levels, decided)
    assert report["ece"].value == metrics.ece(levels, probabilities)
    assert report["c_index"].value == metrics.c_index(levels, severity)
    assert (report.confusion == metrics.confusion_matrix(levels, decided, num_classes=K)).all()
    assert report.majority_fraction == np.bincount(decided).max() / decided.size


def test_masks_and_pairs_are_measured_as_their_metrics_say(observations, report):
    counts = observations.mask_counts
    for name in OF_MASKS:
        assert report[name].value == getattr(metrics, name)(counts)
    pairs = metrics.evaluation_pairs(observations.levels)
    assert report["pair_accuracy"].value == metrics.pair_accuracy(observations.severity, pairs)
    assert report["pair_brier"].value == metrics.pair_brier(observations.severity, pairs, beta=5)
    steep = evaluate(observations, beta=20, repeats=0)
    assert steep["pair_brier"].value == metrics.pair_brier(observations.severity, pairs, beta=20)


def test_intervals_are_clustered_and_n_counts_images(observations, report):
    for name in METRICS:
        figure = report[name]
        assert figure.low < figure.high
        assert figure.n == (30 if name in OF_MASKS else 90)
    levels, severity = observations.levels, observations.severity
    assert (report["c_index"].low, report["c_index"].high) == metrics.bootstrap_interval(
        lambda rows: metrics.c_index(levels[rows], severity[rows]), observations.groups, repeats=200
    )
    of_rows = metrics.bootstrap_interval(
        lambda rows: metrics.dice(observations.mask_counts[rows]), observations.mask_groups, repeats=200
    )
    # a mean over repeated rows and one over weighted rows may differ in the last of 16 digits
    assert (report["dice"].low, report["dice"].high) == pytest.approx(of_rows, rel=1e-15, abs=0)


def references_of_rows(observations):
    """Metrics of row numbers, by scikit-learn, SciPy and their formulas."""
    levels, severity, probabilities = observations.levels, observations.severity, observations.probabilities
    decided, expected = probabilities.argmax(axis=1), probabilities @ np.arange(K)
    return {
        "macro_f1": lambda rows: f1_score(levels[rows], decided[rows], average="macro"),
        "recall": lambda rows: recall_score(levels[rows], decided[rows], average="macro"),
        "balanced_accuracy": lambda rows: balanced_accuracy_score(levels[rows], decided[rows]),
        "kappa": lambda rows: cohen_kappa_score(levels[rows], decided[rows], weights="quadratic"),
        "accuracy": lambda rows: (levels[rows] == decided[rows]).mean(),
        "mae": lambda rows: np.abs(levels[rows] - decided[rows]).mean(),
        "maee": lambda rows: np.exp(np.abs(levels[rows] - decided[rows])).mean(),
        "spearman": lambda rows: stats.spearmanr(levels[rows], severity[rows]).statistic,
        "kendall_tau": lambda rows: stats.kendalltau(levels[rows], severity[rows]).statistic,
        "kendall_tau_class": lambda rows: stats.kendalltau(levels[rows], expected[rows]).statistic,
        "auroc_healthy": lambda rows: roc_auc_score(levels[rows] > 0, severity[rows]),
    }


def references_of_masks(observations):
    """Metrics of row numbers of the mask counts, by their formulas."""
    shared, predicted, truth = observations.mask_counts.T
    return {
        "iou": lambda rows: (shared[rows] / (predicted + truth - shared)[rows]).mean(),
        "dice": lambda rows: (2 * shared[rows] / (predicted + truth)[rows]).mean(),
        "pooled_iou": lambda rows: shared[rows].sum() / (predicted + truth - shared)[rows].sum(),
        "pooled_dice": lambda rows: 2 * shared[rows].sum() / (predicted + truth)[rows].sum(),
    }


@pytest.mark.parametrize(
    ("references", "grouping"), [(references_of_rows, "groups"), (references_of_masks, "mask_groups")]
)
def test_intervals_are_those_of_a_bootstrap_that_repeats_the_rows_of_each_drawn_group(
    observations, report, references, grouping
):
    groups = np.asarray(getattr(observations, grouping))
    names, generator, drawn = np.unique(groups), np.random.default_rng(0), []
    for _ in range(200):
        draw = names[generator.integers(len(names), size=len(names))]
        drawn.append(np.concatenate([np.flatnonzero(groups == name) for name in draw]))
    for name, metric in references(observations).items():
        ends = np.quantile([metric(rows) for rows in drawn], [0.025, 0.975])
        assert (report[name].low, report[name].high) == pytest.approx(ends, abs=1e-12), name


def test_pair_interval_weighs_pairs_as_often_as_the_resample_holds_them(observations, report):
    pairs = metrics.evaluation_pairs(observations.levels)

    def slow_pair_accuracy(rows):
        times = [int((rows == row).sum()) for row in range(90)]
        repeated = [pair for pair in pairs for _ in range(times[pair[0]] * times[pair[1]])]
        return metrics.pair_accuracy(observations.severity, np.array(repeated))

    expected = metrics.bootstrap_interval(slow_pair_accuracy, observations.groups, repeats=5)
    few = evaluate(observations, repeats=5)["pair_accuracy"]
    assert (few.low, few.high) == pytest.approx(expected)


def test_json_has_the_contract_keys_first_and_no_nan(report):
    data = report.to_json()
    assert list(data)[: len(CONTRACT)] == CONTRACT
    assert list(data) == list(METRICS)
    assert len(set(METRICS)) == 19
    assert all(list(figure) == ["value", "low", "high", "n"] for figure in data.values())
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_equal_observations_give_equal_reports(report):
    assert evaluate(observe(), repeats=200).to_json() == report.to_json()
    assert evaluate(observe(), repeats=200, seed=1).to_json() != report.to_json()


def test_order_of_rows_changes_no_value_but_those_of_the_drawn_pairs(observations, report):
    shuffled = np.random.default_rng(5).permutation(90)
    again = evaluate(
        observe(
            levels=observations.levels[shuffled],
            groups=[observations.groups[row] for row in shuffled],
            severity=observations.severity[shuffled],
            probabilities=observations.probabilities[shuffled],
            mask_counts=observations.mask_counts[::-1],
            mask_groups=observations.mask_groups[::-1],
        ),
        repeats=200,
    )
    for name in METRICS:
        if not name.startswith("pair_"):
            assert again[name].value == pytest.approx(report[name].value, abs=1e-12)
            assert (again[name].low, again[name].high) == pytest.approx((report[name].low, report[name].high))


@pytest.mark.parametrize(
    ("absent", "undefined"),
    [
        ({"severity": None}, OF_SEVERITY),
        ({"probabilities": None}, OF_CLASSES),
        ({"mask_counts": None, "mask_groups": ()}, OF_MASKS),
    ],
    ids=["no severity", "no classifier", "no masks"],
)
def test_what_was_not_observed_is_null_and_the_rest_stays(absent, undefined, report):
    data = evaluate(observe(**absent), repeats=200).to_json()
    for name in METRICS:
        nothing = {"value": None, "low": None, "high": None, "n": 0}
        assert data[name] == (nothing if name in undefined else report[name].to_json())


def test_without_a_classifier_there_is_no_confusion():
    report = evaluate(observe(probabilities=None), repeats=0)
    assert report.confusion is None
    assert report.majority_fraction is None
    assert not report.collapsed


def test_nothing_observed_is_all_null():
    empty = Observations(
        levels=np.array([], dtype=np.int64),
        groups=[],
        num_classes=3,
        severity=np.array([]),
        probabilities=np.empty((0, 3)),
        mask_counts=np.empty((0, 3), dtype=np.int64),
    )
    report = evaluate(empty)
    assert all(figure["value"] is None and figure["n"] == 0 for figure in report.to_json().values())
    assert report.majority_fraction is None


def test_one_level_leaves_the_order_undefined_and_the_errors_defined():
    report = evaluate(observe(levels=np.ones(90, dtype=np.int64)), repeats=50)
    for name in [*OF_SEVERITY, "kendall_tau_class"]:
        assert report[name].n == 0
    assert report["mae"].n == report["ece"].n == 90


def test_one_row_has_values_without_intervals():
    one = Observations(
        levels=np.array([1]),
        groups=["a"],
        num_classes=2,
        severity=np.array([0.3]),
        probabilities=np.array([[0.2, 0.8]]),
    )
    report = evaluate(one)
    assert report["accuracy"] == metrics.Estimate(1.0, None, None, 1)
    assert report["c_index"] == metrics.Estimate.undefined()
    assert not report.collapsed


def test_majority_predictor_is_reported_as_collapsed_with_its_golden_values():
    levels = np.repeat(np.arange(5), [2682, 934, 186, 152, 46])
    constant = np.tile([0.6, 0.1, 0.1, 0.1, 0.1], (4000, 1))
    report = evaluate(
        Observations(levels=levels, groups=np.arange(4000), num_classes=5, probabilities=constant), repeats=0
    )
    assert report["macro_f1"].value == pytest.approx(0.16055, abs=5e-6)
    assert report["maee"].value == pytest.approx(3.0399, abs=5e-5)
    assert report["kendall_tau_class"].value is None
    assert report["ece"].value == pytest.approx(2682 / 4000 - 0.6)
    assert report.collapsed
    assert report.majority_fraction == 1


def test_a_right_answer_on_one_level_is_no_collapse():
    right = np.tile([0.9, 0.1], (6, 1))
    healthy = Observations(levels=np.zeros(6, dtype=int), groups=range(6), num_classes=2, probabilities=right)
    assert not evaluate(healthy, repeats=0).collapsed


def test_decoding_for_least_maee_lowers_the_maee_and_leaves_calibration():
    observations = observe(probabilities=np.tile([0.6, 0.0, 0.0, 0.4], (90, 1)))
    assert decide(observations.probabilities).tolist() == [0] * 90
    assert decide(observations.probabilities, decoding="expected_maee").tolist() == [1] * 90
    plain, decoded = (evaluate(observations, decoding=d, repeats=0) for d in ("argmax", "expected_maee"))
    levels = observations.levels
    assert decoded["maee"].value == metrics.maee(levels, np.ones(90, dtype=int)) < plain["maee"].value
    assert decoded.confusion[:, 1].sum() == 90
    assert decoded["ece"] == plain["ece"]


@pytest.mark.parametrize("level", [-1, K])
def test_levels_off_the_model_scale_are_the_users_to_mend(level):
    levels = np.arange(90) % K
    levels[10] = level
    with pytest.raises(DataError, match="expected severity levels 0 to 3"):
        observe(levels=levels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": np.zeros(89, dtype=int)}, "levels of shape"),
        ({"severity": np.zeros((90, 1))}, "severity of shape"),
        ({"severity": np.full(90, np.nan)}, "finite severity"),
        ({"probabilities": np.full((90, 3), 1 / 3)}, "probabilities of shape"),
        (
            {"probabilities": np.tile([2.0, -1.0, 0.0, 0.0], (90, 1))},
            "row 0 with sum 1 and least value -1; apply",
        ),
        ({"probabilities": np.ones((90, K))}, f"row 0 with sum {K} and least value 1; apply softmax"),
        ({"mask_groups": [1, 2]}, "mask_counts of shape"),
        ({"mask_counts": np.ones((3, 30), dtype=int)}, "mask_counts of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        observe(**change)


def test_reports_cannot_be_altered(report):
    with pytest.raises(TypeError):
        report.estimates["kappa"] = report["mae"]


def test_examples_in_the_documentation_hold():
    result = doctest.testmod(evaluation)
    assert result.attempted > 0
    assert result.failed == 0
