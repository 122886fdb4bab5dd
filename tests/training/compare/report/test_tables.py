"""The tables, as data and as files."""

import csv
import dataclasses
import json

import pytest

from semise_sdk.errors import ConfigError, DataError
from semise_training.compare.cells.cells import write_cell
from semise_training.compare.cells.failures import Failure
from semise_training.compare.cells.folder import Folder
from semise_training.compare.cells.setup import mixture, read_cells, setup_of
from semise_training.compare.report.page import write_page
from semise_training.compare.report.report import report
from semise_training.compare.report.statistics import Resamples, measure, row_estimate
from semise_training.compare.report.tables import TABLE1, build_tables
from semise_training.compare.report.write import best_of, gaps_of, markdown, note_on, to_json, write_tables

ALPHA = {"phase2": {"alpha": 0.1}}


@pytest.fixture(scope="module")
def cells(make_cell, make_answers, make_constant):
    """Three folds of four rows: semise at three alphas, one of them its own, a constant, and two of fewer labels."""
    found = []
    for fold in range(3):
        test = make_answers(fold, first_group=100 * fold)
        better = make_answers(fold, first_group=100 * fold, shift=1.0)
        found += [
            make_cell(fold=fold, alpha=0.0, val=make_answers(7, shift=0.0), test=test),
            make_cell(fold=fold, val=make_answers(7, shift=2.0), test=better),
            make_cell(fold=fold, alpha=0.5, val=make_answers(7, shift=0.5), test=test),
            make_cell("majority", fold=fold, val=make_constant(make_answers(7)), test=make_constant(test)),
            make_cell("a+variant", fold=fold, test=test),
            make_cell(fold=fold, fraction=0.1, test=test),
            make_cell("semise-labeled", fold=fold, fraction=0.1, test=test),
        ]
    return found


@pytest.fixture(scope="module")
def tables(cells):
    return build_tables(cells, part="test", repeats=40)


def row(rows, **keys):
    (found,) = [each for each in rows if all(each.keys[name] == value for name, value in keys.items())]
    return found


def test_semise_is_the_alpha_that_validation_chose(cells, tables):
    own = [
        cell for cell in cells if cell.key.name == "semise" and cell.key.alpha is None and cell.key.label_fraction == 1
    ]
    resamples = Resamples(cells, "test", repeats=40)
    expected = row_estimate([measure(cell, resamples)["macro_f1"] for cell in own])
    assert row(tables.rows, method="semise").estimates["macro_f1"] == expected
    assert tables.chosen == {0.0: 0, 0.1: 3, 0.5: 0}
    assert row(tables.alphas, alpha="0.1").estimates == row(tables.rows, method="semise").estimates
    assert [each.keys["alpha"] for each in tables.alphas] == ["0", "0.1", "0.5"]


def test_methods_come_in_their_order_then_variants(tables):
    assert [each.keys["method"] for each in tables.rows] == ["majority", "semise", "a+variant"]
    assert all(each.cells == 3 for each in tables.rows)


def test_a_constant_is_marked_and_its_ranks_are_undefined(tables):
    majority = row(tables.rows, method="majority")
    assert majority.collapsed == 1
    assert majority.estimates["kendall_tau"].to_json() == {"value": None, "sd": None, "low": None, "high": None, "n": 0}
    assert row(tables.rows, method="semise").collapsed == 0
    assert "| majority † |" in markdown(tables)


def test_differences_are_semise_minus_each_other_row(tables):
    assert [each.keys["method"] for each in tables.differences] == ["majority", "a+variant"]
    own, other = (row(tables.rows, method=name).estimates["maee"].value for name in ("semise", "a+variant"))
    gap = row(tables.differences, method="a+variant").estimates["maee"]
    assert gap.value == pytest.approx(own - other)
    assert gap.high < 0
    assert row(tables.differences, method="majority").estimates["kendall_tau"].n == 0


def test_each_loss_and_decoding_has_its_row(tables):
    assert len(tables.heads) == 3 * 4
    weighted = row(tables.heads, method="semise", head="weighted", decoding="argmax")
    assert weighted.estimates["macro_f1"] == row(tables.rows, method="semise").estimates["macro_f1"]


def test_fewer_labels_end_at_all_of_them_with_the_same_alpha(tables):
    names = [(each.keys["method"], each.keys["label_fraction"]) for each in tables.fractions]
    assert names == [("semise", "0.1"), ("semise", "1"), ("semise-labeled", "0.1")]
    full = row(tables.fractions, method="semise", label_fraction="1")
    assert full.estimates["kendall_tau"] == row(tables.alphas, alpha="0.1").estimates["kendall_tau"]


def test_differences_with_fewer_labels_are_of_the_same_labels(cells, make_cell, make_answers, tmp_path):
    better = make_cell("semise-labeled", fraction=0.1, test=make_answers(0, shift=2.0))
    others = [cell for cell in cells if not (cell.key.name == "semise-labeled" and cell.key.fold == 0)]
    tables = build_tables([*others, better], part="test", repeats=40)
    (found,) = tables.fraction_differences
    assert found.keys == {"method": "semise-labeled", "label_fraction": "0.1"}
    own = row(tables.fractions, method="semise", label_fraction="0.1").estimates["maee"].value
    other = row(tables.fractions, method="semise-labeled", label_fraction="0.1").estimates["maee"].value
    assert found.estimates["maee"].value == pytest.approx(own - other)
    assert found.estimates["maee"].value > 0
    write_tables(tmp_path, tables)
    with (tmp_path / "label_differences.csv").open(newline="") as stream:
        lines = {line["metric"]: line for line in csv.DictReader(stream)}
    assert lines["maee"]["label_fraction"] == "0.1"
    assert float(lines["maee"]["difference"]) == pytest.approx(own - other, abs=1e-6)
    assert "## semise minus each other row of the same labels" in markdown(tables)


def test_the_tables_say_how_many_pairs_were_drawn(cells, make_cell, tmp_path):
    drawn = {"epochs": 5, "pairs_per_epoch": 64, "pairing": "sampled"}
    faithful = [make_cell("semise-faithful", fold=fold) for fold in range(3)]
    for fold, cell in enumerate(faithful):
        cell.config.update(phase1=drawn, phase2={**drawn, "epochs": 4 + fold % 2})
    simclr = [dataclasses.replace(make_cell("simclr", fold=fold), method="simclr") for fold in range(3)]
    for cell in simclr:
        cell.config.update(phase1=drawn, phase2=drawn)  # it trains neither
    tables = build_tables([*cells, *faithful, *simclr], part="test", repeats=5)
    said = "draws its pairs, 1e5 an epoch in the paper, here in all 320 in phase 1 and 256 to 320 in phase 2."
    assert list(tables.sampled) == ["semise-faithful"]
    assert said in markdown(tables)
    write_page(tmp_path / "page.html", [*cells, *faithful], tables, [])
    assert said in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_row_that_lacks_a_fold_says_so_and_is_paired_on_the_others(cells, make_answers, tmp_path):
    """It is the best of all on the folds that it has, and is marked, not chosen."""
    strong = [
        dataclasses.replace(cell, test=make_answers(cell.key.fold, first_group=100 * cell.key.fold, shift=5.0))
        for cell in cells
        if cell.key.name == "a+variant" and cell.key.fold < 2
    ]
    fewer = [cell for cell in cells if cell.key.name != "a+variant"] + strong
    missing = dataclasses.replace(strong[0].key, fold=2)
    tables = build_tables(fewer, part="test", repeats=10, failures=[Failure(missing, "loss is NaN")])
    variant = row(tables.rows, method="a+variant")
    assert (variant.cells, variant.of, variant.is_whole) == (2, 3, False)
    assert variant.estimates["macro_f1"].value > row(tables.rows, method="semise").estimates["macro_f1"].value
    assert best_of(tables.rows, "macro_f1") == row(tables.rows, method="semise").estimates["macro_f1"].value
    said = "a+variant rests on 2 of 3 cells: 1 failed (first: loss is NaN)."
    assert gaps_of(tables) == [said] == to_json(tables)["incomplete"]
    text = markdown(tables)
    assert said in text
    line = next(line for line in text.splitlines() if line.startswith("| a+variant ‡ |"))
    assert line.endswith("| 2 of 3 |")
    assert "**" not in line
    write_page(tmp_path / "page.html", fewer, tables, [])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert said in page
    assert "<td>a+variant ‡</td>" in page
    write_tables(tmp_path, tables)
    with (tmp_path / "differences.csv").open(newline="") as stream:
        pairs = {line["method"]: (line["pairs"], line["of"]) for line in csv.DictReader(stream)}
    assert pairs == {"majority": ("3", "3"), "a+variant": ("2", "3")}


def test_a_system_that_has_no_cell_or_is_not_done_is_named_too(cells):
    wild = dataclasses.replace(cells[0].key, name="wild", alpha=None)
    failures = [Failure(dataclasses.replace(wild, fold=fold), "collapsed") for fold in range(3)]
    fewer = [cell for cell in cells if not (cell.key.name == "majority" and cell.key.fold)]
    assert gaps_of(build_tables(fewer, part="val", repeats=5, failures=failures)) == [
        "majority rests on 1 of 3 cells: 2 not computed.",
        "wild has no cell: 3 failed (first: collapsed).",
    ]


def test_a_cell_that_only_ends_the_curve_of_labels_is_no_choice_of_alpha(cells):
    """Its own alpha is the best on validation data; --alphas did not name it."""
    tables = build_tables(cells, part="test", repeats=5, alphas=frozenset({0.0, 0.5}))
    assert [each.keys["alpha"] for each in tables.alphas] == ["0", "0.5"]
    assert tables.chosen == {0.0: 0, 0.5: 3}
    at_half = row(tables.alphas, alpha="0.5")
    assert row(tables.rows, method="semise").estimates == at_half.estimates
    own = [cell for cell in cells if cell.key.alpha is None]
    alone = build_tables(own, part="test", repeats=5, alphas=frozenset({0.7}))  # not computed yet
    end = row(tables.fractions, method="semise", label_fraction="1").estimates["macro_f1"].value
    assert end == row(alone.rows, method="semise").estimates["macro_f1"].value != at_half.estimates["macro_f1"].value


def test_where_no_image_is_unlabeled_semise_ends_the_curve_of_semise_labeled(cells):
    none = [dataclasses.replace(cell, counts={"unlabeled": 0}) for cell in cells]
    tables = build_tables(none, part="test", repeats=5)
    ends = [row(tables.fractions, method=name, label_fraction="1") for name in ("semise", "semise-labeled")]
    assert ends[0].estimates == ends[1].estimates
    assert "semise-labeled" not in [each.keys["method"] for each in tables.rows]


def test_validation_tables_say_what_was_chosen_on_their_images(cells, tables):
    assert "chosen on these very images" in note_on(build_tables(cells, part="val", repeats=5))
    assert "chosen on these very images" not in note_on(tables)


def test_a_report_can_be_of_some_rows(cells, tmp_path):
    for cell in cells:
        write_cell(Folder(tmp_path).cell(cell.key), cell)
    tables = report(tmp_path, repeats=5, rows=("semise", "majority"))
    assert [each.keys["method"] for each in tables.rows] == ["majority", "semise"]
    with pytest.raises(ConfigError, match=r"rows of a\+variant, majority, semise, semise-labeled,.*found soda"):
        report(tmp_path, repeats=5, rows=("soda",))


def test_files_hold_every_figure_with_its_spread_and_interval(tables, tmp_path):
    write_tables(tmp_path, tables)
    with (tmp_path / "table1.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert list(lines[0])[:9] == [
        "method", "macro_f1", "macro_f1_sd", "macro_f1_low", "macro_f1_high", "maee", "maee_sd", "maee_low", "maee_high"
    ]  # fmt: skip
    assert {f"{name}{end}" for name in TABLE1 for end in ("", "_sd", "_low", "_high")} < set(lines[0])
    assert lines[0]["kendall_tau"] == ""
    estimate = row(tables.rows, method="semise").estimates["c_index"]
    assert float(lines[1]["c_index_high"]) == pytest.approx(estimate.high, abs=1e-6)
    with (tmp_path / "differences.csv").open(newline="") as stream:
        long = {(line["method"], line["metric"]): line for line in csv.DictReader(stream)}
    assert float(long["a+variant", "maee"]["low"]) < float(long["a+variant", "maee"]["difference"]) < 0
    assert (tmp_path / "table2.csv").read_text().startswith("method,iou,iou_sd,iou_low,iou_high,dice,")
    chosen = [line.split(",")[-1] for line in (tmp_path / "alphas.csv").read_text().splitlines()]
    assert chosen == ["chosen", "0", "3", "0"]
    data = json.loads((tmp_path / "comparison.json").read_text())
    assert data["systems"][0]["figures"]["kendall_tau"] == {
        "value": None, "sd": None, "low": None, "high": None, "n": 0
    }  # fmt: skip


def test_a_table_that_has_become_empty_goes(tables, tmp_path):
    write_tables(tmp_path, tables)
    write_tables(tmp_path, dataclasses.replace(tables, alphas=(), fractions=()))
    assert not (tmp_path / "alphas.csv").exists()
    assert not (tmp_path / "label_fractions.csv").exists()
    assert (tmp_path / "table1.csv").exists()


def test_the_best_of_a_column_is_the_lowest_where_lower_is_better(tables):
    assert best_of(tables.rows, "maee") == min(each.estimates["maee"].value for each in tables.rows)
    assert best_of(tables.rows, "macro_f1") == max(each.estimates["macro_f1"].value for each in tables.rows)


def test_on_validation_nothing_of_the_test_part_is_read(cells, make_answers):
    other = [dataclasses.replace(cell, test=make_answers(77, shift=4.0, first_group=5000)) for cell in cells]
    found, same = (to_json(build_tables(each, part="val", repeats=10)) for each in (cells, other))
    assert found == same
    assert found["part"] == "val"


def test_the_report_of_validation_lies_apart(cells, tmp_path):
    for cell in cells[:5]:
        write_cell(Folder(tmp_path).cell(cell.key), cell)
    report(tmp_path, part="val", repeats=10)
    assert (tmp_path / "val" / "table1.csv").is_file()
    assert not (tmp_path / "table1.csv").exists()
    report(tmp_path, repeats=10)
    assert (tmp_path / "table1.csv").read_text() != (tmp_path / "val" / "table1.csv").read_text()


def test_cells_of_two_data_sets_are_not_mixed(cells, tmp_path):
    write_cell(Folder(tmp_path).cell(cells[0].key), cells[0])
    write_cell(Folder(tmp_path).cell(cells[1].key), dataclasses.replace(cells[1], data_digest="f" * 64))
    with pytest.raises(DataError, match="one data set"):
        read_cells(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": {"head_seeds": 2, "masks": True, "passes": 9.0}}, "passes 2.0 (a+variant"),
        (
            {"config": {**ALPHA, "encoder": {"name": "resnet18"}, "input": {"size": 48}}},
            "encoder.name",
        ),
        (
            {"config": {**ALPHA, "encoder": {"name": "test_resnet"}, "input": {"size": 64}}},
            "input.size",
        ),
        ({"asked": {"config": {}, "weights": "f" * 64}}, "weights None"),
    ],
)
def test_cells_of_two_protocols_are_not_mixed(cells, tmp_path, change, said):
    other = dataclasses.replace(cells[3], **change)
    for cell in (cells[4], other):
        write_cell(Folder(tmp_path).cell(cell.key), cell)
    with pytest.raises(DataError, match="one protocol, split, canvas, encoder and U-Net") as caught:
        read_cells(tmp_path)
    assert said in str(caught.value)
    assert other.key.slug in str(caught.value)


def test_u_nets_of_two_recipes_are_not_mixed_but_a_variant_may_have_its_own(make_cell, tmp_path):
    def write(name: str, method: str, *, fraction: float = 1.0, **unet: object) -> None:
        config = {"unet": {"epochs": 12, **unet}, "data": {"label_fraction": fraction}}
        cell = dataclasses.replace(
            make_cell(name, fraction=fraction), method=method, asked={"config": config, "protocol": {"masks": True}}
        )
        write_cell(Folder(tmp_path).cell(cell.key), cell)

    write("conpro", "conpro")  # of before there was a prior
    write("semise-prior", "semise", prior="lesions", selection="pooled_dice")
    write("majority", "majority", prior="lesions", selection="pooled_dice")
    write("supervised", "supervised", fraction=0.25, prior="lesions", selection="pooled_dice")
    write("semise", "semise", prior="none", selection="dice")
    assert len(read_cells(tmp_path)) == 5
    write("semise", "semise", prior="lesions", selection="dice")
    with pytest.raises(DataError, match=r"unet.prior none \(conpro.*\) and lesions \(semise"):
        read_cells(tmp_path)


def test_cells_of_folds_and_of_a_random_split_are_not_mixed(make_cell, tmp_path):
    for cell in (make_cell(), make_cell("majority", folds=0)):
        write_cell(Folder(tmp_path).cell(cell.key), cell)
    with pytest.raises(DataError, match=r"folds 0 .*and 5"):
        read_cells(tmp_path)


def test_settings_that_came_later_do_not_set_cells_apart(cells):
    older = dataclasses.replace(cells[0], config={**cells[0].config, "input": {"size": 48, "fit": "letterbox"}})
    assert mixture([("a", setup_of(cells[0])), ("b", setup_of(older))]) is None


def test_a_cell_under_anothers_name_is_named(cells, tmp_path):
    write_cell(Folder(tmp_path).cell(cells[0].key), cells[1])
    with pytest.raises(DataError, match="found semise-fold0of5"):
        read_cells(tmp_path)


def test_an_empty_folder_has_no_report(tmp_path):
    with pytest.raises(DataError, match="name --methods to compute"):
        report(tmp_path)
