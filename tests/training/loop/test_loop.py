import itertools
import math

import numpy as np
import pytest
import torch

from semise_sdk.errors import TrainingError
from semise_sdk.system.progress import SilentReporter
from semise_training.loop import loop
from semise_training.loop.loop import Session, _warn, set_learning_rate, train_epoch
from semise_training.loop.run_folder import RunFolder
from semise_training.network.device import Compute
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


class TinyStage:
    """Descends on one weight; the third step has a second term, as phase 2 has where a batch gives it pairs."""

    name, epochs = "tiny", 2

    def __init__(self, values):
        self.values = [torch.tensor(value) for value in values]
        self.trained = torch.nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.SGD([{"params": self.trained.parameters(), "lr": 0.1, "base_lr": 0.1}])

    def steps_per_epoch(self):
        return len(self.values)

    def begin_epoch(self, epoch):
        pass

    def batches(self, epoch):
        yield from np.arange(len(self.values))[:, None]

    def terms(self, batch, *, seed):
        (step,) = batch.tolist()
        zero = 0 * self.trained.weight.sum()
        pairs = {"pairs": zero + 0.1} if step == 2 else {}
        return {"contrast": zero + self.values[step], **pairs}


class Clock:
    """A clock that goes on by so many seconds whenever it is read."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def monotonic(self):
        self.now += self.seconds
        return self.now


class Notes(SilentReporter):
    def __init__(self):
        self.notes = []

    def step(self, note):
        self.notes.append(note)


def trained(values, tmp_path, *, epoch=0):
    """Returns the means of an epoch and the notes of its steps."""
    compute, notes = Compute(torch.device("cpu"), "fp32"), Notes()
    session = Session(RunFolder(tmp_path), compute, 0, notes)
    options = OptimizerConfig(clip_norm=0.0)
    return train_epoch(TinyStage(values), epoch, session, options, scaler=compute.gradient_scaler()), notes.notes


@pytest.mark.parametrize("seconds", [0.0, 0.3, 2.0])
def test_the_means_are_those_of_float64_sums_in_the_order_of_the_steps(seconds, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "time", Clock(seconds))
    values = [1e8, 0.1, -1e8, 0.3, 1 / 3]
    expected = 0.0
    for value in values:
        expected += float(np.float32(value))
    means, notes = trained(values, tmp_path)
    assert means == {"contrast": round(expected / 5, 6), "pairs": round(float(np.float32(0.1)) / 5, 6)}
    assert len(notes) == 5
    assert notes[-1] == {0.0: "", 2.0: f"contrast {expected / 5:.3f} pairs 0.020"}.get(seconds, notes[-1])


def test_reads_of_the_device_do_not_grow_with_the_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "time", Clock(0.0))
    reads = []

    def counted(read):
        def counting(*arguments):
            reads.append(read.__name__)
            return read(*arguments)

        return counting

    for name in ("item", "tolist", "__float__", "__bool__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    for steps in (4, 40):
        reads.clear()
        trained([1.0] * steps, tmp_path)
        assert reads == ["tolist"]


@pytest.mark.parametrize("seconds", [0.0, 2.0])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_the_first_step_without_a_finite_loss_ends_the_epoch(seconds, broken, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "time", Clock(seconds))
    with pytest.raises(TrainingError, match=f"found {broken} at step 9 of tiny"):
        trained([0.1, 0.2, 0.3, broken, math.nan, 0.1], tmp_path, epoch=1)
