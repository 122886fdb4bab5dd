"""What each cell is trained with: one budget for all, and a temperature of its own for each classifier."""

from pathlib import Path

import numpy as np
import pytest
import torch

from semise_sdk.system.progress import SilentReporter
from semise_training.compare.cells.answers import LOSSES
from semise_training.compare.cells.plan import Plan, Protocol
from semise_training.compare.cells.rows import rows_of
from semise_training.compare.compute.downstream import train_heads
from semise_training.compare.compute.select import cell_config
from semise_training.compare.compute.shared import Selection
from semise_training.config import ClassifierConfig
from semise_training.data.dataset import UNLABELED, Dataset
from semise_training.data.manifest import Manifest, Sample
from semise_training.data.size import size_of
from semise_training.data.splits.fraction import hide_labels
from semise_training.loop.loop import Session
from semise_training.loop.run_folder import RunFolder
from semise_training.methods import METHODS
from semise_training.run.budget import total_views
from semise_training.run.temperature import fit_logit_temperature
from semise_training.stages.classifier import head_features

TRAINED = [name for name, method in METHODS.items() if method.upstream]
PER_LEVEL = {0: 90, 1: 280, 2: 130, UNLABELED: 100}


def selection(fraction):
    """500 labeled training images and 100 unlabeled ones, without pixels, with a share of the labels."""
    levels = np.repeat(list(PER_LEVEL), list(PER_LEVEL.values()))
    count, train = len(levels), np.flatnonzero(levels != UNLABELED)
    severities = [None if level == UNLABELED else int(level) for level in levels]
    samples = [
        Sample(row, Path(f"{row}.png"), level, None, None, str(row), None) for row, level in enumerate(severities)
    ]
    dataset = Dataset(
        canvases=np.zeros((count, 1, 1, 3), np.uint8),
        masks=np.zeros((count, 1, 1), np.uint8),
        has_mask=np.zeros(count, bool),
        levels=levels,
        groups=np.arange(count),
        parts={"train": train, **dict.fromkeys(("val", "test", "calibration"), train[:0])},
        unlabeled=np.flatnonzero(levels == UNLABELED),
        labels=("healthy", "mild", "severe"),
    )
    manifest = Manifest(Path("data.csv"), Path(), tuple(samples), dataset.labels)
    return Selection.of(hide_labels(dataset, fraction=fraction, seed=0), manifest)


@pytest.mark.parametrize("fraction", [1.0, 0.25, 0.05])
@pytest.mark.parametrize("method", TRAINED)
def test_every_method_gets_the_views_of_all_labels_within_five_percent(method, fraction):
    rows = rows_of((method,), (), with_fractions=False)
    protocol = Protocol(passes=20)
    plan = Plan(rows=rows, settings={"data": {"manifest": "data.csv"}}, protocol=protocol, folds=5, only_fold=0)
    (planned,) = plan.cells()
    data = selection(fraction)
    config = cell_config(planned, data)
    assert data.labeled == 500
    assert total_views(config, size_of(data.dataset)) == pytest.approx(20 * 500, rel=0.05)


def test_each_classifier_gets_a_temperature_of_its_own(upstream_of, tmp_path):
    """Asked for a temperature, each head gives the same logits over a constant: the one that fits its own logits."""
    _, upstream = upstream_of()
    upstream.model.eval()
    features = head_features(upstream, augmented_views=0)
    heads = {}
    for temperature in ("none", "validation"):
        config = ClassifierConfig(epochs=8, lr=0.01, temperature=temperature)
        session = Session(RunFolder(tmp_path), upstream.compute, 0, SilentReporter())
        heads[temperature] = train_heads(upstream, features, config, session, seeds=2)
    found = []
    for loss in LOSSES:
        for plain, scaled in zip(heads["none"][loss], heads["validation"][loss], strict=True):
            with torch.inference_mode():
                before, after = (head.classifier.eval()(features.validation).numpy() for head in (plain, scaled))
            found.append(fit_logit_temperature(before, features.validation_levels))
            assert after == pytest.approx(before / found[-1], rel=1e-4, abs=1e-6)
    assert len(set(found)) == 2  # a seed each: on equal grades the two losses are one
