"""What a made-up model says of made-up images."""

import numpy as np
import pytest

from semise_sdk.calibration import Observed, look
from semise_sdk.demo.phantoms import draw_phantom
from semise_sdk.images.postprocess import softmax
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

LABELS = ("none", "mild", "severe")
MODEL = ModelInfo(
    name="made up",
    spec=InputSpec(height=48, width=48),
    labels=LABELS,
    network=NetworkConfig(
        encoder="none", feature_dim=16, vector_dim=8, mean=(0.0,) * 3, std=(1.0,) * 3, classes=len(LABELS)
    ),
)


@pytest.fixture(scope="session")
def bank():
    return ReferenceBank(np.eye(1, 8, dtype=np.float32))


@pytest.fixture(scope="session")
def model():
    return MODEL


@pytest.fixture(scope="session")
def made_up():
    """Returns ``n`` observations of ``n / 2`` groups, with overconfident probabilities."""

    def build(n=160, *, seed=0):
        generator = np.random.default_rng(seed)
        levels = np.repeat(generator.integers(0, 3, (n + 1) // 2), 2)[:n]
        truth = -((levels[:, None] + generator.normal(0, 0.7, (n, 1)) - np.arange(3)) ** 2)
        pictures = [
            look(to_canvas(read_image(draw_phantom(level, seed=seed + index, size=48).image), MODEL.spec))
            for index, level in enumerate(levels.tolist())
        ]
        vectors = generator.normal(size=(n, 8)) * 0.2
        vectors[:, 0] += 1
        vectors[:, 1] += levels
        return Observed(
            levels=levels.astype(np.int64),
            groups=[f"p{index // 2}" for index in range(n)],
            probabilities=softmax(truth * 6),
            embeddings=(generator.normal(size=(n, 16)) + 5).astype(np.float32),
            severity_vectors=vectors.astype(np.float32),
            pictures=pictures,
        )

    return build
