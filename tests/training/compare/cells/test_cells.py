"""The record of a cell: what comes back, how large it is, what it does not hold, and what is refused."""

import json

import numpy as np
import pytest

from semise_sdk.errors import DataError
from semise_sdk.system.json_fields import JsonSource
from semise_training.compare.cells.answers import Answers
from semise_training.compare.cells.cells import CellKey, is_row_name, read_cell, write_cell


def test_a_cell_comes_back_as_it_was(make_cell, tmp_path):
    cell = make_cell(alpha=0.5, fraction=0.25)
    write_cell(tmp_path / "cell.json", cell)
    back = read_cell(tmp_path / "cell.json")
    assert back.to_json() == cell.to_json()
    assert back.key == cell.key
    assert np.array_equal(back.test.heads["weighted"].per_mille, cell.test.heads["weighted"].per_mille)
    assert back.test.heads["plain"].per_mille is None
    assert np.array_equal(back.test.severity, cell.test.severity)


def test_a_cell_of_160_test_images_and_five_heads_stays_below_60_kb(make_cell, make_answers, tmp_path):
    cell = make_cell(val=make_answers(1, images=117, heads=5), test=make_answers(2, images=160, heads=5))
    write_cell(tmp_path / "cell.json", cell)
    assert (tmp_path / "cell.json").stat().st_size < 60_000


def test_the_figures_beside_the_answers_are_of_the_answers(make_cell):
    cell = make_cell()
    figures = cell.to_json()["figures"]["test"]
    heads = figures["heads"]["plain"]["expected_maee"]["macro_f1"]
    assert len(heads["each"]) == 2
    assert heads["mean"] == pytest.approx(sum(heads["each"]) / 2, abs=1e-6)
    assert set(figures["severity"]) >= {"kendall_tau", "auroc_healthy", "pair_brier"}
    assert set(figures["masks"]) == {"iou", "dice", "pooled_iou", "pooled_dice"}


def test_grades_are_decided_before_probabilities_are_rounded(make_answers):
    from semise_training.compare.cells.answers import HeadAnswers

    near_tie = np.array([[[0.49996, 0.50004, 0.0]]])
    answers = HeadAnswers.of(near_tie, keep=True)
    assert answers.per_mille.tolist() == [[[500, 500, 0]]]
    assert answers.decided["argmax"].tolist() == [[1]]


def test_file_names_say_what_a_cell_is():
    key = CellKey(name="semise", folds=5, fold=2, split_seed=0, seed=1)
    assert key.slug == "semise-fold2of5-split0-seed1"
    few = CellKey(name="a+b", folds=0, fold=0, split_seed=3, seed=3, alpha=0.5, label_fraction=0.05)
    assert few.slug == "a+b-alpha0.5-labels0.05-split3-seed3"


@pytest.mark.parametrize(
    ("name", "is_good"), [("semise+rnc", True), ("v1.2", True), ("../x", False), ("", False), ("a b", False)]
)
def test_names_of_rows_can_be_names_of_files(name, is_good):
    assert is_row_name(name) is is_good


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        (lambda data: data.pop("seconds"), "cell.json to have", "missing seconds"),
        (lambda data: data.update(more=1), "cell.json to have", "unknown 'more'"),
        (lambda data: data.update(schema=9), "schema in", "to be 1, found 9: compute it anew with --redo"),
        (lambda data: data.update(views="many"), "views in", "to be a whole number, found 'many'"),
        (lambda data: data.update(dirty=1), "dirty in", "to be true or false, found 1"),
        (lambda data: data["key"].update(fold="0"), "key.fold in", "to be a whole number, found '0'"),
        (lambda data: data["key"].update(seed=True), "key.seed in", "to be a whole number, found True"),
        (lambda data: data["key"].update(name="../../x"), "key.name in", "a row's name"),
        (lambda data: data["test"].update(levels="0" * 39), "test.levels in", "levels as 40 letters"),
        (lambda data: data["test"]["severity"].append(0.5), "test.severity in", "to be a list of 40, found one of 41"),
        (
            lambda data: data["test"]["severity"].__setitem__(0, None),
            "test.severity[0] in",
            "to be a number, found None",
        ),
        (lambda data: data["test"]["heads"]["plain"]["argmax"].pop(), "test.heads.plain in", "as many heads"),
        (
            lambda data: data["test"]["heads"]["plain"]["argmax"].__setitem__(0, "3" * 40),
            "test.heads.plain.argmax[0] in",
            "letters of 012",
        ),
        (
            lambda data: data["test"]["heads"]["weighted"]["per_mille"].pop(),
            "test.heads.weighted.per_mille in",
            "to be whole numbers of shape (2, 40, 3), found",
        ),
        (lambda data: data["test"]["mask_rows"].__setitem__(0, 40), "test.mask_rows in", "to be of 0 to 39, found 40"),
        (lambda data: data["test"]["mask_counts"].pop(), "test.mask_counts in", "to be whole numbers of shape ("),
        (
            lambda data: data["val"].update(groups=[-1] * 40),
            "val.groups in",
            "to be whole numbers of shape (None,), found [-1, -1,",
        ),
        (lambda data: data.update(test=[]), "test in", "to be an object, found []"),
    ],
)
def test_what_is_wrong_with_a_cell_is_said_in_one_sentence(make_cell, tmp_path, change, name, said):
    data = json.loads(json.dumps(make_cell().to_json()))
    change(data)
    path = tmp_path / "cell.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError) as caught:
        read_cell(path)
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_torn_file_is_no_cell(tmp_path):
    (tmp_path / "cell.json").write_text('{"schema": 1,')
    with pytest.raises(DataError, match=r"cell\.json to be JSON, found Expecting property name"):
        read_cell(tmp_path / "cell.json")


def test_answers_without_masks_come_back(make_answers):
    import dataclasses

    answers = dataclasses.replace(
        make_answers(), mask_rows=np.zeros(0, np.int64), mask_counts=np.zeros((0, 3), np.int64)
    )
    back = Answers.from_json(JsonSource("answers", ValueError).parse(json.dumps(answers.to_json())), classes=3)
    assert back.mask_counts.shape == (0, 3)
