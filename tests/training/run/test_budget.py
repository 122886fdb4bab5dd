"""Image views: counted as they pass, known beforehand, and the same for every method of a budget."""

import numpy as np
import pytest

from semise_sdk.errors import ConfigError
from semise_sdk.system.progress import SilentReporter
from semise_training.config import merge
from semise_training.data.size import DataSize, size_of
from semise_training.loop.loop import Session, run_stage
from semise_training.loop.run_folder import RunFolder, read_records
from semise_training.methods import METHODS
from semise_training.recipe import build_config
from semise_training.run.budget import fit_budget, total_views

DATA = {"data": {"manifest": "data.csv"}}
TRAINED = [name for name, method in METHODS.items() if method.upstream]
PER_LEVEL = (90, 280, 130)


def counted(method, upstream_of, folder, preset="recommended", **overrides):
    """Returns the views per epoch of each stage as the loop recorded them, and as they were foretold."""
    config, upstream = upstream_of(method, preset, **overrides)
    size = size_of(upstream.dataset)
    run = RunFolder(folder)
    session = Session(run, upstream.compute, 0, SilentReporter())
    foretold = {}
    for row in METHODS[method].upstream:
        run_stage(row.build(upstream, config), session, config.optimizer)
        foretold[row.section] = row.views_per_epoch(config, size)
    records = read_records(run.metrics)
    found = {name: [record["views"] for record in records if record["stage"] == name] for name in foretold}
    return found, foretold


EPOCHS = {name: {"epochs": 2} for name in ("phase1", "phase2", "refit", "simclr", "supervised", "soda")}


@pytest.mark.parametrize("method", [name for name in TRAINED if name != "semise-faithful"])
def test_a_method_passes_the_views_that_it_foretells(method, upstream_of, tmp_path):
    found, foretold = counted(method, upstream_of, tmp_path, **EPOCHS)
    assert found == {name: [views] * 2 for name, views in foretold.items()}
    assert all(views for name, views in foretold.items() if name != "refit")


def test_views_of_anomalous_images_only_are_foretold_on_average(upstream_of, tmp_path):
    # Three equal grades: 2/3 of the 2 x 60 images of 60 pairs are anomalous, and each pair brings a reference.
    large = {"batch_size": 60, "pairs_per_epoch": 120}
    overrides = {"phase1": {"epochs": 1, **large}, "phase2": {"epochs": 3, **large}, "heads": {"residual": True}}
    found, foretold = counted("semise-faithful", upstream_of, tmp_path, **overrides)
    assert foretold == {"phase1": 240, "phase2": pytest.approx(2 * (120 + 80 + 60))}
    assert found["phase1"] == [240]
    assert sum(found["phase2"]) == pytest.approx(3 * foretold["phase2"], rel=0.03)
    assert len(set(found["phase2"])) > 1


def test_views_by_hand():
    size = DataSize(train_images=100, unlabeled_images=30, images_per_level=(50, 50))
    views = {
        method: [row.views_per_epoch(build_config("recommended", {**DATA, "method": method}), size) for row in rows]
        for method, rows in ((name, METHODS[name].upstream) for name in TRAINED)
    }
    assert views["supervised"] == [5 * 24]  # 100 images in 5 batches, each full
    assert views["simclr"] == [3 * 48 * 2]  # 130 images in 3 batches, two views
    assert views["supcon-2"] == views["supcon-n"] == [5 * 24]
    assert views["conpro"] == [5 * 24, 5 * 24]
    assert views["semise"] == [5 * 24, 5 * (24 + 2 * 24), 0]
    # Pairs of a healthy and an anomalous image: two originals, one augmented view, one reference.
    assert views["semise-faithful"] == [3_125 * 64, 3_125 * 32 * 4]


def test_the_other_readings_of_phase_2_pass_the_views_that_they_foretell(upstream_of, tmp_path):
    readings = [
        {"alpha": 0.0, "preference": {"reference": "random"}},
        {"alpha": 1.0, "preference": {"reference": "random"}},
        {"alpha": 0.5, "ntxent": {"scope": "all"}, "preference": {"reference": "random"}},
        {"alpha": 0.5, "pairing": "sampled", "ntxent": {"scope": "all+unlabeled"}},
        {"alpha": 0.5, "ntxent": {"scope": "unlabeled"}},
        {"alpha": 0.5, "ntxent": {"scope": "none"}},
        {"alpha": 0.5, "ntxent": {"scope": "anomalous", "views": "original_aug"}, "batches_per_epoch": 2},
    ]
    for index, phase2 in enumerate(readings):
        overrides = {"phase1": {"epochs": 0}, "phase2": {"epochs": 1, **phase2}, "refit": {"epochs": 0}}
        found, foretold = counted("semise", upstream_of, tmp_path / str(index), **overrides)
        assert found["phase2"] == [foretold["phase2"]], phase2


def test_monitors_references_and_heads_pass_no_views(upstream_of):
    _, upstream = upstream_of()
    upstream.model.train()
    upstream.healthy_vectors()
    upstream.model.eval()
    upstream.model.project(upstream.original(np.arange(4)))
    assert upstream.model.views == 0
    upstream.model.train()
    upstream.model.project(upstream.original(np.arange(4)))
    assert upstream.model.views == 4


@pytest.mark.parametrize("preset", ["recommended", "faithful"])
@pytest.mark.parametrize(
    ("views", "train_images", "unlabeled_images"),
    [(8_000, 500, 0), (8_000, 500, 300), (20_000, 546, 0), (9_000, 96, 0)],
)
@pytest.mark.parametrize("method", TRAINED)
def test_every_method_lands_within_five_percent_of_the_budget(method, preset, views, train_images, unlabeled_images):
    config = build_config(preset, {**DATA, "method": method})
    sizes = {"train_images": train_images, "unlabeled_images": unlabeled_images, "images_per_level": PER_LEVEL}
    fitted = fit_budget(config, views=views, **sizes)
    assert total_views(fitted, DataSize(**sizes)) == pytest.approx(views, rel=0.05)
    stages = {row.section for row in METHODS[method].upstream}
    assert fitted.model_dump(exclude=stages) == config.model_dump(exclude=stages)


@pytest.mark.parametrize("views", [8_000, 20_000])
@pytest.mark.parametrize("method", ["semise", "conpro", "semise-faithful"])
def test_the_phases_keep_their_shares(method, views):
    config = build_config("recommended", {**DATA, "method": method})
    size = DataSize(train_images=500, images_per_level=PER_LEVEL)
    shares = []
    for each in (config, fit_budget(config, views=views, train_images=500, images_per_level=PER_LEVEL)):
        phase1 = METHODS[method].upstream[0]
        first = each.phase1.epochs * phase1.views_per_epoch(each, size)
        shares.append(first / total_views(each, size))
    assert shares[1] == pytest.approx(shares[0], abs=0.05)


def test_epochs_stay_about_one_pass_or_keep_their_number_where_pairs_are_sampled():
    supervised = build_config("recommended", {**DATA, "method": "supervised"})
    # 8,100 views are 16.9 passes over 480 images.
    fitted = fit_budget(supervised, views=8_100, train_images=480).supervised
    assert (fitted.epochs, fitted.batches(480)) == (17, 20)
    faithful = build_config("faithful", {**DATA, "phase1": {"batch_size": 16}, "phase2": {"batch_size": 16}})
    fitted = fit_budget(faithful, views=20_000, train_images=500, images_per_level=PER_LEVEL)
    assert (fitted.phase1.epochs, fitted.phase2.epochs) == (5, 5)
    assert fitted.phase1.pairs_per_epoch < 1_000


def test_a_stage_that_was_switched_off_stays_off():
    config = build_config("recommended", merge(DATA, {"phase1": {"epochs": 0}}))
    fitted = fit_budget(config, views=5_000, train_images=300)
    assert fitted.phase1 == config.phase1
    assert total_views(fitted, DataSize(train_images=300)) == pytest.approx(5_000, rel=0.05)


@pytest.mark.parametrize("method", ["imagenet", "majority"])
def test_a_method_without_training_needs_no_budget(method):
    config = build_config("recommended", {**DATA, "method": method})
    assert fit_budget(config, views=1, train_images=10) is config


def test_a_budget_below_one_batch_of_each_stage_is_refused():
    config = build_config("recommended", DATA)
    with pytest.raises(ConfigError, match=r"48 image views or more.*found 47"):
        fit_budget(config, views=47, train_images=500)
    assert fit_budget(config, views=48, train_images=500).phase2.epochs == 1
