"""Bundles for benchmarks: real architectures, random weights, exported as any other."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from semise_export.onnx import export_graphs, graph_entry
from semise_sdk.bundle import write_manifest
from semise_sdk.models.encoder import create_body, feature_dim, input_scaling
from semise_sdk.models.network import SemiSeNetwork
from semise_sdk.references import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

ENCODERS = ("resnet50", "tf_efficientnet_lite0")


def build_bundle(encoder: str, folder: Path, *, size: int = 224) -> Path:
    """Returns a bundle of an untrained network: speed does not depend on the weights."""
    torch.manual_seed(0)
    body = create_body(encoder)
    mean, std = input_scaling(body)
    config = NetworkConfig(encoder=encoder, feature_dim=feature_dim(body), mean=mean, std=std, classes=3)
    network = SemiSeNetwork(config, body).eval()
    model = ModelInfo(
        name=f"bench-{encoder}",
        spec=InputSpec(height=size, width=size),
        labels=("normal", "benign", "malignant"),
        network=config,
    )
    bundle = folder / "bundle"
    bundle.mkdir(parents=True)
    graphs = {Path(file).stem: graph_entry(bundle / file) for file in export_graphs(network, model.spec, bundle)}
    save_file(network.state_dict(), bundle / "weights.safetensors")
    ReferenceBank(np.random.default_rng(0).normal(size=(8, 256)).astype(np.float32)).save(
        bundle / "references.safetensors"
    )
    (bundle / "calibration.json").write_text(json.dumps({"schema": 1, "n": 0, "healthy_severity": []}))
    write_manifest(bundle, model=model, graphs=graphs)
    return bundle
