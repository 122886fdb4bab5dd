"""A tiny run and its bundle, made once for the tests that need a whole model."""

from pathlib import Path

import pytest

PACKS = Path(__file__).resolve().parents[1].parent / "shared" / "data"

TINY = {
    "name": "tiny",
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 48},
    "heads": {"vector_dim": 32},
    "phase1": {"epochs": 2, "batch_size": 20},
    "phase2": {"epochs": 2, "batch_size": 20},
    "classifier": {"epochs": 5, "augmented_views": 1},
    "unet": {"epochs": 2, "decoder_channels": [16, 16, 8, 8, 8]},
    "runtime": {"precision": "fp32"},
}


@pytest.fixture(scope="session")
def packs() -> Path:
    """The real image packs; skips where the checkout has none beside it."""
    if not PACKS.is_dir():
        pytest.skip("needs the image packs at ../shared/data")
    return PACKS


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """The manifest of 80 phantom images with masks and a few unlabeled ones."""
    from semise_sdk.phantoms import write_phantoms

    return write_phantoms(tmp_path_factory.mktemp("phantoms"), count=80, seed=3, size=64)


@pytest.fixture(scope="session")
def random_network():
    """Returns a network of random weights with three grades and a U-Net, in eval mode."""
    import torch

    from semise_sdk.models.encoder import create_body, feature_dim, input_scaling
    from semise_sdk.models.network import SemiSeNetwork
    from semise_sdk.spec import NetworkConfig

    def build(encoder: str = "test_resnet", *, classifier_hidden: tuple[int, int] = (16, 8)):
        torch.manual_seed(0)
        body = create_body(encoder)
        mean, std = input_scaling(body)
        config = NetworkConfig(
            encoder=encoder,
            feature_dim=feature_dim(body),
            vector_dim=32,
            mean=mean,
            std=std,
            classes=3,
            classifier_hidden=classifier_hidden,
            decoder_channels=(16, 16, 8, 8, 8),
        )
        return SemiSeNetwork(config, body).eval()

    return build


@pytest.fixture(scope="session")
def tiny_config():
    """Returns the configuration of a run of a few seconds, with overrides."""
    from semise_training.config import build_config, merge

    def build(manifest: Path, **overrides):
        return build_config("recommended", merge(merge(TINY, {"data": {"manifest": manifest}}), overrides))

    return build


@pytest.fixture(scope="session")
def tiny_run(phantoms, tiny_config, tmp_path_factory) -> Path:
    """A finished run folder, trained for real for a few seconds."""
    from semise_sdk.reporting import SilentReporter
    from semise_training.train import train

    root = tmp_path_factory.mktemp("runs") / "tiny"
    return train(tiny_config(phantoms), root, reporter=SilentReporter()).root
