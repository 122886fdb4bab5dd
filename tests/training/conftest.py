"""A tiny network and random pictures for the tests of stages and methods."""

import numpy as np
import pytest
import torch

from semise_training.augment import Augmenter
from semise_training.config import merge
from semise_training.data.dataset import UNLABELED, Dataset
from semise_training.methods import find_method
from semise_training.network.device import Compute
from semise_training.network.model import build_model
from semise_training.recipe import build_config
from semise_training.stages.upstream import Upstream

TINY = {
    "data": {"manifest": "data.csv"},
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 32},
    "heads": {"vector_dim": 8},
    "phase1": {"batch_size": 6, "pairs_per_epoch": 12},
    "phase2": {"batch_size": 6, "pairs_per_epoch": 12},
    "simclr": {"batch_size": 6},
    "supervised": {"batch_size": 6},
    "classifier": {"augmented_views": 1},
    "unet": {"decoder_channels": [8, 8, 8, 8, 8], "batch_size": 4},
}


@pytest.fixture
def tiny_dataset():
    """Returns 24 labeled images of three grades, 18 of them for training, and 4 unlabeled ones, of 32 px."""

    def build(seed=0):
        random = np.random.default_rng(seed)
        levels = np.array([0, 1, 2] * 8 + [UNLABELED] * 4)
        canvases = random.integers(0, 255, (len(levels), 32, 32, 3), dtype=np.uint8)
        for index, level in enumerate(levels):
            canvases[index, :16] //= 1 + max(int(level), 0)
        masks = np.zeros(canvases.shape[:3], np.uint8)
        masks[levels > 0, :16] = 255
        return Dataset(
            canvases=canvases,
            masks=masks,
            has_mask=levels != UNLABELED,
            levels=levels,
            groups=np.arange(len(levels)) // 2,
            parts={
                "train": np.arange(18),
                "val": np.arange(18, 24),
                "test": np.arange(0),
                "calibration": np.arange(0),
            },
            unlabeled=np.flatnonzero(levels == UNLABELED),
            labels=("healthy", "mild", "severe"),
        )

    return build


@pytest.fixture
def upstream_of(tiny_dataset):
    """Returns the resolved configuration and the upstream of a method on the tiny data, with overrides."""

    def build(method="semise", preset="recommended", **overrides):
        config = build_config(preset, merge(merge(TINY, {"method": method}), overrides))
        model = build_model(config, classes=3, identity=find_method(method).identity)
        compute = Compute(torch.device("cpu"), "fp32")
        return config, Upstream(model, tiny_dataset(), Augmenter(config.augment), compute, 0)

    return build
