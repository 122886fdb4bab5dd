"""The comparison's folder: what it remembers, what it refuses to mix, and what it lets go."""

import dataclasses
import shutil

import pytest

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.system.progress import SilentReporter
from semise_training.compare.cells.cells import read_cell, write_cell
from semise_training.compare.cells.experiment import portable
from semise_training.compare.cells.failures import Failure, write_failure
from semise_training.compare.cells.folder import Folder
from semise_training.compare.cells.plan import Protocol
from semise_training.compare.compute.run import compare

SILENT = {"reporter": SilentReporter(), "stages": SilentReporter()}


def cell_of(root, name):
    (path,) = [path for path in Folder(root).cells.glob("*.json") if path.name.startswith(f"{name}-fold")]
    return read_cell(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"protocol": Protocol(head_seeds=3, passes=6)},
            "head_seeds 2 (imagenet-fold0of3-split0-seed0) and 3 ",
        ),
        ({"folds": 4}, "folds 3 "),
        ({"variants": ["large:encoder.name=test_vit"]}, "encoder.name test_resnet"),
    ],
)
def test_cells_that_would_not_stand_in_one_table_are_refused(change, said, compared, phantoms, make_plan, tmp_path):
    """Others than those that are there: a new row, or a new fold, under another protocol."""
    shutil.copytree(compared, tmp_path / "other")
    for path in Folder(tmp_path / "other").cells.glob("majority*"):
        path.unlink()
    with pytest.raises(ConfigError, match="one protocol, split, canvas, encoder and U-Net") as caught:
        compare(make_plan(phantoms, methods=("majority",), **change), tmp_path / "other", **SILENT)
    assert said in str(caught.value)


def test_a_cell_file_of_another_key_is_named(compared, phantoms, make_plan, tmp_path):
    shutil.copytree(compared, tmp_path / "other")
    plan = make_plan(phantoms, methods=("semise",), alphas=(0.25,))
    (planned,) = plan.cells()
    cell = cell_of(compared, "semise")
    near = dataclasses.replace(cell, key=dataclasses.replace(planned.key, alpha=0.25000001))
    write_cell(Folder(tmp_path / "other").cell(planned.key), near)
    with pytest.raises(DataError, match=r"alpha=0\.25,.*alpha=0\.25000001"):
        compare(plan, tmp_path / "other", **SILENT)


def test_a_cell_that_succeeds_takes_its_failure_away(phantoms, make_plan, tmp_path):
    plan = make_plan(phantoms, methods=("majority",))
    key, folder = plan.cells()[0].key, Folder(tmp_path)
    write_failure(folder.failed(key), Failure(key, "collapsed"))
    compare(plan, tmp_path, **SILENT)
    assert not folder.failed(key).exists()


def test_a_failed_redo_leaves_no_cell_of_the_other_experiment(compared, phantoms, make_plan, tmp_path):
    shutil.copytree(compared, tmp_path / "other")
    folder, key = Folder(tmp_path / "other"), cell_of(compared, "semise").key
    plan = make_plan(phantoms, methods=("semise",))
    wild = {"optimizer": {"name": "sgd", "lr": 1e20, "head_lr": 1e20}}
    outcome = compare(dataclasses.replace(plan, settings={**plan.settings, **wild}), folder.root, redo=True, **SILENT)
    assert list(outcome.failed) == [key]
    assert not folder.cell(key).exists()
    assert not folder.maps(key).exists()


def test_alphas_that_were_asked_for_are_remembered(tmp_path):
    folder = Folder(tmp_path)
    assert folder.candidates() is None
    folder.add_candidates([0.5, 0.1])
    folder.add_candidates([])
    folder.add_candidates([0.0])
    assert folder.candidates() == {0.0, 0.1, 0.5}
    folder.add_candidates([])
    assert folder.candidates() == {0.0, 0.1, 0.5}
    folder.alphas.write_text("{")
    with pytest.raises(DataError, match="delete it"):
        folder.candidates()


def test_semise_chooses_among_alphas_and_without_them_its_own_joins(compared, phantoms, make_plan, tmp_path):
    shutil.copytree(compared, tmp_path / "other")
    folder, plan = Folder(tmp_path / "other"), make_plan(phantoms, methods=("semise",))
    compare(plan, folder.root, **SILENT)
    assert folder.candidates() is None
    for cell in make_plan(phantoms, methods=("semise",), alphas=(0.0, 0.5)).cells():
        asked = cell.asked(cell_of(compared, "semise").data_digest)
        done = dataclasses.replace(cell_of(compared, "semise"), key=cell.key, config=portable(cell.config), asked=asked)
        write_cell(folder.cell(cell.key), done)
    compare(dataclasses.replace(plan, alphas=(0.0, 0.5)), folder.root, **SILENT)
    assert folder.candidates() == {0.0, 0.5}
    compare(plan, folder.root, **SILENT)
    assert folder.candidates() == {0.0, 0.1, 0.5}


def test_a_refused_command_leaves_the_choice_of_alpha_as_it_was(phantoms, make_plan, tmp_path):
    impossible = make_plan(phantoms, methods=("semise",), alphas=(0.5,), protocol=Protocol(passes=0.1))
    with pytest.raises(ConfigError, match="image views"):
        compare(impossible, tmp_path, **SILENT)
    assert Folder(tmp_path).candidates() is None


def test_a_redone_cell_without_masks_loses_its_maps(compared, phantoms, make_plan, tmp_path):
    shutil.copytree(compared, tmp_path / "other")
    folder, key = Folder(tmp_path / "other"), cell_of(compared, "imagenet").key
    for path in folder.cells.glob("semise*.json"):
        path.unlink()  # under another protocol it would not stand beside the others
    assert folder.maps(key).is_dir()
    plan = make_plan(phantoms, methods=("majority", "imagenet"), protocol=Protocol(head_seeds=2, passes=6, masks=False))
    compare(plan, folder.root, redo=True, **SILENT)
    assert not folder.maps(key).exists()
