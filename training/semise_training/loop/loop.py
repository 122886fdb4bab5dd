"""The one training loop: epochs, checkpoints, selection, figures; every stage of every method runs through it."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semise_sdk.errors import TrainingError
from semise_sdk.system.atomic import write_text
from semise_sdk.system.progress import Reporter
from semise_training.loop.checkpoint import Checkpoint, put_optimizer, restore_optimizer
from semise_training.loop.monitors import raise_if_broken
from semise_training.loop.run_folder import RunFolder, append_record, read_records
from semise_training.network.device import Compute
from semise_training.network.model import TrainingModel
from semise_training.sections import OptimizerConfig
from semise_training.seeds import derived_seed

# How often losses are read, in seconds: on a GPU each read waits for all that was asked of it.
_READ_EVERY = 1.0


class Stage(Protocol):
    """A stage of training.

    ``model`` is everything to restore after a kill; ``trained`` the part that this stage changes; ``selection`` names
    the validation figure of :meth:`end_epoch` whose best epoch is kept, None to keep the last.
    """

    name: str
    epochs: int
    model: TrainingModel
    optimizer: torch.optim.Optimizer
    selection: str | None

    @property
    def trained(self) -> nn.Module:
        """The part of the model that this stage changes."""

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepares an epoch, such as its reference direction, and sets the modes."""

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Yields the indices of each batch; depends only on the seed and the epoch."""

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the weighted terms of the loss; their sum is minimised."""

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns the monitors of the epoch on validation data; raises TrainingError on a collapse."""


@dataclass(frozen=True, slots=True)
class Session:
    """What every stage of one run shares."""

    run: RunFolder
    compute: Compute
    seed: int
    reporter: Reporter


def run_stage(stage: Stage, session: Session, optimizer_config: OptimizerConfig) -> None:
    """Trains a stage to its end, from where the run's checkpoint stands.

    Raises:
        TrainingError: the loss is not finite or the encoder collapsed.
    """
    checkpoint = Checkpoint.load(session.run.checkpoint)
    if stage.name in checkpoint.finished:
        return
    first_epoch = _restore(stage, checkpoint)
    _forget_later_records(session.run, stage.name, first_epoch)
    session.reporter.start(stage.name, (stage.epochs - first_epoch) * stage.steps_per_epoch())
    scaler = session.compute.gradient_scaler()
    for epoch in range(first_epoch, stage.epochs):
        started, views_before = time.monotonic(), stage.model.views
        try:
            means = train_epoch(stage, epoch, session, optimizer_config, scaler=scaler)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"{stage.name}: out of memory, lower {stage.name}.batch_size or input.size") from error
        monitors = stage.end_epoch(epoch)
        seconds, views = round(time.monotonic() - started, 3), stage.model.views - views_before
        record = {"stage": stage.name, "epoch": epoch + 1, "seconds": seconds, "views": views, "loss": means}
        append_record(session.run.metrics, record | monitors)
        _keep(stage, epoch, monitors, checkpoint)
        checkpoint.save(session.run.checkpoint)
        if epoch + 1 == stage.epochs:
            _warn(stage.name, monitors, session.reporter)
    _finish(stage, checkpoint)
    checkpoint.save(session.run.checkpoint)


def _restore(stage: Stage, checkpoint: Checkpoint) -> int:
    if checkpoint.stage != stage.name:
        checkpoint.stage, checkpoint.epoch, checkpoint.best = stage.name, 0, None
        checkpoint.put("best", {})
        return 0
    stage.model.load_state_dict(checkpoint.section("model"))
    restore_optimizer(checkpoint, stage.optimizer)
    return checkpoint.epoch


def _forget_later_records(run: RunFolder, stage: str, epochs_done: int) -> None:
    """Drops the record of an epoch that was logged but not checkpointed before a kill."""
    records = read_records(run.metrics)
    kept = [r for r in records if r["stage"] != stage or int(str(r["epoch"])) <= epochs_done]
    if len(kept) < len(records):
        write_text(run.metrics, "".join(json.dumps(record) + "\n" for record in kept))


def train_epoch(
    stage: Stage, epoch: int, session: Session, optimizer_config: OptimizerConfig, *, scaler: torch.amp.GradScaler
) -> dict[str, float]:
    """Trains one epoch and returns the mean of each weighted term; raises TrainingError when the loss is not finite."""
    torch.manual_seed(derived_seed(session.seed, stage.name, epoch))
    stage.begin_epoch(epoch)
    steps = stage.steps_per_epoch()
    losses = _Losses(stage.name, first_step=epoch * steps)
    for step, batch in enumerate(stage.batches(epoch)):
        set_learning_rate(stage.optimizer, optimizer_config, (epoch * steps + step) / (stage.epochs * steps))
        with session.compute.autocast():
            terms = stage.terms(batch, seed=derived_seed(session.seed, stage.name, epoch, step))
        total = torch.stack(list(terms.values())).sum()
        _descend(total, stage, scaler, optimizer_config.clip_norm)
        losses.add(terms, total)
        session.reporter.step(losses.note)
    losses.read()
    return {name: round(value / steps, 6) for name, value in losses.sums.items()}


class _Losses:
    """The losses of an epoch, which stay on the device until they are read.

    ``sums`` holds the sum of each term over the steps that were read, added in their order in float64; ``note`` the
    means as text.
    """

    def __init__(self, stage: str, *, first_step: int) -> None:
        self.sums: dict[str, float] = {}
        self.note = ""
        self._stage = stage
        self._first_step = first_step
        self._steps_read = 0
        self._waiting: list[tuple[Tensor, dict[str, Tensor]]] = []
        self._last_read = time.monotonic()

    def add(self, terms: Mapping[str, Tensor], total: Tensor) -> None:
        """Takes the terms of a step and their sum; now and then reads all that wait."""
        self._waiting.append((total.detach(), {name: value.detach() for name, value in terms.items()}))
        if time.monotonic() - self._last_read >= _READ_EVERY:
            self.read()

    def read(self) -> None:
        """Reads all that wait at once; raises TrainingError for the first step whose loss is not finite."""
        if not self._waiting:
            return
        waiting = [value for total, terms in self._waiting for value in (total, *terms.values())]
        values = iter(torch.stack(waiting).tolist())
        for _, terms in self._waiting:
            raise_if_broken(next(values), self._first_step + self._steps_read, self._stage)
            for name in terms:
                self.sums[name] = self.sums.get(name, 0.0) + next(values)
            self._steps_read += 1
        self.note = " ".join(f"{name} {value / self._steps_read:.3f}" for name, value in self.sums.items())
        self._waiting, self._last_read = [], time.monotonic()


def _descend(total: Tensor, stage: Stage, scaler: torch.amp.GradScaler, clip_norm: float) -> None:
    stage.optimizer.zero_grad(set_to_none=True)
    scaler.scale(total).backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    if clip_norm:
        scaler.unscale_(stage.optimizer)
        nn.utils.clip_grad_norm_(stage.trained.parameters(), clip_norm)
    scaler.step(stage.optimizer)
    scaler.update()


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerConfig, progress: float) -> None:
    """Sets every group's rate for a place in the stage, ``progress`` in [0, 1): linear warm-up, then the schedule."""
    factor = 1.0
    if progress < config.warmup_fraction:
        factor = 0.01 + 0.99 * progress / config.warmup_fraction
    elif config.schedule == "cosine":
        rest = (progress - config.warmup_fraction) / (1 - config.warmup_fraction)
        factor = 0.5 * (1 + math.cos(math.pi * rest))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def _warn(stage: str, monitors: Mapping[str, object], reporter: Reporter) -> None:
    """Says loudly what an average would hide."""
    if monitors.get("monotone_radius") is False:
        reporter.say(f"warning: after {stage} the mean severity does not rise with the grade: {monitors['radius']}")
    if monitors.get("majority_fraction") == 1.0:
        reporter.say(f"warning: after {stage} every validation image gets the same grade")


def _keep(stage: Stage, epoch: int, monitors: Mapping[str, object], checkpoint: Checkpoint) -> None:
    checkpoint.epoch = epoch + 1
    checkpoint.put("model", stage.model.state_dict())
    put_optimizer(checkpoint, stage.optimizer)
    if stage.selection is None:
        return
    figure = monitors[stage.selection]
    if isinstance(figure, float) and (checkpoint.best is None or figure > checkpoint.best):
        checkpoint.best = figure
        checkpoint.put("best", stage.trained.state_dict())


def _finish(stage: Stage, checkpoint: Checkpoint) -> None:
    best = checkpoint.section("best")
    if best:
        stage.trained.load_state_dict(best)
        checkpoint.put("model", stage.model.state_dict())
    checkpoint.finished.append(stage.name)


def restore_model(model: nn.Module, run: RunFolder) -> None:
    """Gives a model the weights of the run's checkpoint, where it has one; a stage restores its own extras."""
    weights = Checkpoint.load(run.checkpoint).section("model")
    if weights:
        model.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith("extras.")})
