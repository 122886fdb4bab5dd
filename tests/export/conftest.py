"""One bundle in every precision, made once for the tests of half, quantize, margin and variants."""

import dataclasses
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def limits():
    """The default limits, wider for bf16 and int8 where one of 24 images would decide."""
    from semise_export.limits import LIMITS

    few_images = {"task_c_index": 0.05, "class_flips": 0.1, "pooled_dice": 0.9, "dice": 0.9}
    few_images |= {"c_index": 0.85, "kendall_tau": 0.7}
    return LIMITS | {name: dataclasses.replace(LIMITS[name], **few_images) for name in ("bf16", "int8")}


@pytest.fixture(scope="session")
def every_precision(tiny_run, limits, make_once) -> Path:
    """The tiny run's bundle in fp32, fp16, bf16 and int8; tests that change it copy it first."""
    from semise_export.assemble import export_run

    def export(folder: Path) -> None:
        export_run(tiny_run, out=folder / "bundle", precisions=["fp16", "bf16", "int8"], limits=limits)

    return make_once("every-precision", export) / "bundle"


@pytest.fixture(scope="session")
def pixels():
    """Four canvases of the tiny run's size, ``uint8 [4, 48, 48, 3]``."""
    import numpy as np

    coarse = np.random.default_rng(4).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)
