"""Cells out of thin air, and a small comparison on phantoms computed once."""

import dataclasses

import numpy as np
import pytest

from semise_sdk.system.progress import SilentReporter
from semise_training.compare.cells.answers import LOSSES, Answers, HeadAnswers
from semise_training.compare.cells.cells import Cell, CellKey, CodeVersion
from semise_training.compare.cells.plan import Plan, Protocol
from semise_training.compare.cells.rows import rows_of
from semise_training.compare.compute.run import compare
from semise_training.compare.report.measures import summary

SETTINGS = {
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 48},
    "heads": {"vector_dim": 16},
    "phase1": {"epochs": 1, "batch_size": 20},
    "phase2": {"epochs": 1, "batch_size": 20},
    "classifier": {"epochs": 3, "augmented_views": 1},
    "unet": {"epochs": 1, "decoder_channels": [8, 8, 8, 8, 8]},
    "runtime": {"precision": "fp32", "threads": 1},
}


def random_answers(seed=0, *, images=40, first_group=0, classes=3, heads=2, shift=0.0, per_group=1):
    """Answers that know something of the truth; more with ``shift``."""
    random = np.random.default_rng(seed)
    levels = np.arange(images) % classes
    logits = random.normal(size=(heads, images, classes))
    logits[:, np.arange(images), levels] += 0.5 + shift
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    truth = random.integers(50, 90, images)
    inside = random.integers(10, 50, images)
    return Answers(
        groups=first_group + np.arange(images) // per_group,
        levels=levels,
        severity=np.round(levels * (0.2 + shift) + random.normal(scale=0.3, size=images), 5),
        heads={loss: HeadAnswers.of(probabilities, keep=loss == "weighted") for loss in LOSSES},
        mask_rows=np.arange(images),
        mask_counts=np.stack([inside, inside + 9, truth], axis=1),
    )


def constant_answers(like):
    """Answers that say the same of every image."""
    probabilities = np.zeros((1, len(like.levels), 3))
    probabilities[:, :, 1] = 1
    heads = {loss: HeadAnswers.of(probabilities, keep=loss == "weighted") for loss in LOSSES}
    return dataclasses.replace(like, severity=np.zeros(len(like.levels)), heads=heads)


def cell(name="semise", *, fold=0, seed=0, folds=5, alpha=None, own_alpha=0.1, fraction=1.0, val=None, test=None):
    """A cell of three grades with the given answers."""
    val = random_answers(100 + fold) if val is None else val
    test = random_answers(fold, first_group=100 * fold) if test is None else test
    return Cell(
        key=CellKey(name=name, folds=folds, fold=fold, split_seed=0, seed=seed, alpha=alpha, label_fraction=fraction),
        method="semise",
        asked={"config": {}},
        data_digest="e" * 64,
        labels=("healthy", "mild", "severe"),
        config={
            "phase2": {"alpha": own_alpha if alpha is None else alpha},
            "encoder": {"name": "test_resnet"},
            "input": {"size": 48},
        },
        protocol={"head_seeds": 2, "masks": True, "passes": 2.0},
        selected={"head_macro_f1": {"weighted": [0.5, 0.7]}},
        counts={"train": {"healthy": 5}, "unlabeled": 1},
        views=None,
        seconds=1.5,
        code=CodeVersion(None, None),
        machine={"processor": "a processor", "cores": 2},
        val=val,
        test=test,
        figures={"val": summary(val, classes=3), "test": summary(test, classes=3)},
    )


def small_plan(manifest, *, methods=("majority", "imagenet", "semise"), **options):
    """A plan of cells of a second or two: the first of three folds."""
    settings = {**SETTINGS, "data": {"manifest": manifest}}
    given = {"protocol": Protocol(head_seeds=2, passes=6), "folds": 3, "only_fold": 0, **options}
    return Plan(rows=rows_of(methods, given.pop("variants", ()), with_fractions=False), settings=settings, **given)


@pytest.fixture(scope="session")
def compared(phantoms, make_once):
    """The folder of a comparison of three methods on one fold."""

    def compute(folder):
        outcome = compare(small_plan(phantoms), folder, reporter=SilentReporter(), stages=SilentReporter())
        assert len(outcome.computed) == 3

    return make_once("comparison", compute)


@pytest.fixture(scope="session")
def make_answers():
    """Returns the function that makes answers."""
    return random_answers


@pytest.fixture(scope="session")
def make_constant():
    """Returns the function that makes constant answers."""
    return constant_answers


@pytest.fixture(scope="session")
def make_cell():
    """Returns the function that makes cells."""
    return cell


@pytest.fixture(scope="session")
def make_plan():
    """Returns the function that makes plans."""
    return small_plan
