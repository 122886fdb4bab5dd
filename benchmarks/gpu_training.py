"""Training images per second of phase 1 and phase 2, against the same step on a resident random tensor."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semise_training.augment import Augmenter
from semise_training.config import TrainConfig
from semise_training.data.dataset import Dataset
from semise_training.loop.loop import Stage
from semise_training.methods import find_method
from semise_training.network.device import Compute, resolve
from semise_training.network.model import build_model
from semise_training.recipe import build_config
from semise_training.stages.upstream import Upstream

LEVELS = 3


@dataclass(frozen=True, slots=True)
class ResidentUpstream(Upstream):
    """An upstream whose images lie ready on the device: no transfer, no augmentation."""

    planes: Tensor = field(default_factory=lambda: torch.empty(0))

    def augmented(self, indices: NDArray[np.int64], *, seed: int) -> Tensor:  # noqa: ARG002
        """Returns as many resident random planes as there are ``indices``."""
        return self.planes[: len(indices)]

    def original(self, indices: NDArray[np.int64]) -> Tensor:
        """Returns as many resident random planes as there are ``indices``."""
        return self.planes[: len(indices)]


def training_rows(
    encoder: str, *, device: str, precision: str, size: int, batch: int, steps: int
) -> list[dict[str, object]]:
    """Returns one row per phase: images/s as trained, images/s of the resident step, and their ratio."""
    overrides = {
        "data": {"manifest": "none"},
        "encoder": {"name": encoder, "init": "scratch"},
        "input": {"size": size},
        "phase1": {"batch_size": batch},
        "phase2": {"batch_size": batch},
        "unet": {"epochs": 0},
        "runtime": {"device": device, "precision": precision},
    }
    config = build_config("recommended", overrides)
    compute = resolve(config.runtime)
    dataset = random_dataset(4 * batch, size=size)
    rows = []
    for index, phase in enumerate(("phase1", "phase2")):
        trained = rate(config, dataset, compute, phase=index, steps=steps, is_resident=False)
        resident = rate(config, dataset, compute, phase=index, steps=steps, is_resident=True)
        rows.append(
            {
                "phase": phase,
                "encoder": encoder,
                "size": size,
                "batch": batch,
                "precision": compute.precision,
                "images_per_second": round(trained, 1),
                "resident_images_per_second": round(resident, 1),
                "ratio": round(trained / resident, 3),
            }
        )
    return rows


def random_dataset(count: int, *, size: int) -> Dataset:
    """Returns a labeled dataset of random canvases, a third of it healthy."""
    random = np.random.default_rng(0)
    canvases = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    everything = np.arange(count)
    return Dataset(
        canvases=canvases,
        masks=np.zeros((count, size, size), np.uint8),
        has_mask=np.zeros(count, bool),
        levels=everything % LEVELS,
        groups=everything,
        parts={"train": everything, "val": everything[:0], "test": everything[:0], "calibration": everything[:0]},
        unlabeled=everything[:0],
        labels=("healthy", "mild", "severe"),
    )


def rate(
    config: TrainConfig, dataset: Dataset, compute: Compute, *, phase: int, steps: int, is_resident: bool
) -> float:
    """Returns labeled images per second of whole training steps, after three for warm-up."""
    model = build_model(config, classes=LEVELS, identity=False).to(compute.device)
    given = (model, dataset, Augmenter(config.augment), compute, config.seed)
    upstream = ResidentUpstream(*given, planes=random_planes(config, compute)) if is_resident else Upstream(*given)
    stage = find_method("semise").upstream[phase].build(upstream, config)
    stage.begin_epoch(0)
    batches = endless(stage)
    for seed in range(3):
        train_step(stage, next(batches), compute, seed=seed)
    wait(compute)
    started, images = time.perf_counter(), 0
    for seed in range(steps):
        images += train_step(stage, next(batches), compute, seed=seed)
    wait(compute)
    return images / (time.perf_counter() - started)


def random_planes(config: TrainConfig, compute: Compute) -> Tensor:
    """Returns random planes on the device, enough for the images of any step."""
    count = 2 * config.phase2.batch_size + 64
    planes = torch.rand(count, 3, config.input.size, config.input.size, device=compute.device) * 255
    return planes.contiguous(memory_format=torch.channels_last)


def endless(stage: Stage) -> Iterator[NDArray[np.int64]]:
    """Yields a stage's batches, epoch after epoch."""
    epoch = 0
    while True:
        yield from stage.batches(epoch)
        epoch += 1


def train_step(stage: Stage, batch: NDArray[np.int64], compute: Compute, *, seed: int) -> int:
    """Takes one step as the training loop does, its check for a finite loss included; returns its labeled images."""
    with compute.autocast():
        terms = stage.terms(batch, seed=seed)
    total = torch.stack(list(terms.values())).sum()
    float(total.detach())
    stage.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    stage.optimizer.step()
    return batch.size


def wait(compute: Compute) -> None:
    """Waits until the GPU has done everything it was given."""
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)
