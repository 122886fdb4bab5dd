"""From a configuration to the arrays of a run: which seed splits, which labels stay, and what is done once."""

import sys
from collections import Counter

import numpy as np
import pytest

from semise_sdk.system.progress import SilentReporter
from semise_training.loop.run_folder import RunFolder
from semise_training.run import prepare as preparing
from semise_training.run.prepare import prepare


def test_a_run_takes_the_fraction_from_its_configuration(phantoms, tiny_config, tmp_path):
    whole, few = (
        prepare(tiny_config(phantoms, data={"label_fraction": f}), RunFolder(tmp_path), reporter=SilentReporter())
        for f in (1.0, 0.25)
    )
    assert len(few.parts["train"]) == pytest.approx(len(whole.parts["train"]) / 4, abs=3)
    assert len(few.unlabeled) + len(few.parts["train"]) == len(whole.unlabeled) + len(whole.parts["train"])
    assert np.array_equal(few.parts["val"], whole.parts["val"])


def test_the_split_has_the_runs_seed_unless_it_is_given_its_own(phantoms, tiny_config, tmp_path):
    def test_part(seed, **data):
        run = RunFolder(tmp_path / f"{seed}{data}")
        config = tiny_config(phantoms, seed=seed, data=data)
        return prepare(config, run, reporter=SilentReporter()).parts["test"].tolist()

    assert test_part(1) == test_part(2, split_seed=1) != test_part(2)
    folds = {"folds": 3, "fold": 1}
    assert test_part(1, **folds) == test_part(2, split_seed=1, **folds) != test_part(2, **folds)


def test_only_a_resumed_run_reads_the_split_that_was_written(phantoms, tiny_config, tmp_path, monkeypatch):
    read = []

    def reading(*arguments):
        read.append(arguments)
        return read_split(*arguments)

    read_split = preparing.read_split
    monkeypatch.setattr(preparing, "read_split", reading)
    run = RunFolder(tmp_path)
    new = prepare(tiny_config(phantoms), run, reporter=SilentReporter())
    assert run.split.is_file()
    assert not read
    resumed = prepare(tiny_config(phantoms), run, reporter=SilentReporter())
    assert len(read) == 1
    assert all(np.array_equal(new.parts[part], resumed.parts[part]) for part in new.parts)


@pytest.mark.parametrize("data", [{}, {"folds": 3, "fold": 1}])
def test_check_rules_blocks_and_split_are_entered_once_from_manifest_to_arrays(data, phantoms, tiny_config, tmp_path):
    """An entry is a call from another file."""
    entries = Counter()

    def count(frame, event, _):
        if event == "call" and frame.f_back is not None and not frame.f_code.co_name.startswith("<"):
            file = frame.f_code.co_filename
            entries[file.rpartition("semise_training/data/")[2]] += file != frame.f_back.f_code.co_filename

    sys.setprofile(count)
    try:
        prepare(tiny_config(phantoms, data=data), RunFolder(tmp_path), reporter=SilentReporter())
    finally:
        sys.setprofile(None)
    walk = ("checks/check.py", "checks/rules.py", "splits/blocks.py", "splits/split.py", "splits/leakage.py")
    assert {file: entries[file] for file in walk} == dict.fromkeys(walk, 1)
