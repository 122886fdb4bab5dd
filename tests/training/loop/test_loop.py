import itertools
import math

import pytest
import torch

from semise_training.loop.loop import _warn, set_learning_rate
from semise_training.sections import OptimizerConfig
from semise_training.seeds import derived_seed


def rate(progress, **options):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 2.0, "base_lr": 2.0}])
    set_learning_rate(optimizer, OptimizerConfig(**options), progress)
    return optimizer.param_groups[0]["lr"]


def test_cosine_schedule_at_hand_worked_places():
    options = {"schedule": "cosine", "warmup_fraction": 0.2}
    assert rate(0.0, **options) == pytest.approx(0.02)
    assert rate(0.1, **options) == pytest.approx(2 * (0.01 + 0.99 * 0.5))
    assert rate(0.2, **options) == pytest.approx(2.0)
    assert rate(0.6, **options) == pytest.approx(1.0)
    assert rate(0.999999, **options) == pytest.approx(0.0, abs=1e-6)


def test_constant_schedule_stays():
    assert rate(0.7, schedule="constant", warmup_fraction=0.0) == 2.0


def test_seeds_depend_on_every_part_of_the_place():
    places = itertools.product((0, 1), ("phase1", "phase2"), (0, 1), (0, 1))
    seeds = {derived_seed(*place) for place in places}
    assert len(seeds) == 16
    assert derived_seed(0, "phase1", 3) == derived_seed(0, "phase1", 3)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert math.log2(max(seeds)) > 55


class Listener:
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def test_a_radius_that_does_not_rise_and_a_majority_classifier_are_said():
    listener = Listener()
    _warn("phase2", {"monotone_radius": False, "radius": {"0": 0.5, "1": 0.4}}, listener)
    _warn("classifier", {"majority_fraction": 1.0}, listener)
    _warn("phase2", {"monotone_radius": True, "radius": {}, "majority_fraction": 0.6}, listener)
    assert len(listener.said) == 2
    assert "does not rise" in listener.said[0]
    assert "same grade" in listener.said[1]
