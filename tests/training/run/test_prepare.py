"""From a configuration to the arrays of a run: which seed splits, and which labels stay."""

import numpy as np
import pytest

from semise_sdk.system.progress import SilentReporter
from semise_training.loop.run_folder import RunFolder
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
