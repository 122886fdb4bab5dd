"""Bundles for benchmarks: real architectures, random weights, exported as any other."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import save_file

from semise_export.graphs.half import half_graph
from semise_export.graphs.margin import run_graph
from semise_export.graphs.onnx import export_graphs, graph_entry, save_graph
from semise_export.graphs.quantize import first_layer, nodes_of, quantized
from semise_sdk.bundle import write_manifest
from semise_sdk.bundle.manifest import GraphEntry
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.models.encoder import create_body, feature_dim, input_scaling
from semise_sdk.models.network import SemiSeNetwork
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig, Precision

ENCODERS = ("resnet50", "tf_efficientnet_lite0")
NAMES = ("encoder", "classifier")
CALIBRATION = 32


def build_bundle(
    encoder: str,
    folder: Path,
    *,
    size: int = 224,
    precisions: Sequence[Precision] = ("fp32",),
    images: Sequence[Path] = (),
) -> Path:
    """Returns a bundle of an untrained network, ungated: speed does not depend on the weights.

    int8 is calibrated on some of ``images``, with the first layer in fp32 as in a real export.
    """
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
    for precision in precisions:
        graphs |= in_precision(precision, bundle, graphs, model.spec, images)
    save_file(network.state_dict(), bundle / "weights.safetensors")
    ReferenceBank(np.random.default_rng(0).normal(size=(8, 256)).astype(np.float32)).save(
        bundle / "references.safetensors"
    )
    (bundle / "calibration.json").write_text(json.dumps({"schema": 1, "n": 0, "healthy_severity": []}))
    write_manifest(bundle, model=model, graphs=graphs)
    return bundle


def in_precision(
    precision: Precision, bundle: Path, graphs: dict[str, GraphEntry], spec: InputSpec, images: Sequence[Path]
) -> dict[str, GraphEntry]:
    """Writes the bundle's graphs in one precision and returns their entries."""
    if precision == "fp32":
        return {}
    if precision == "bf16":
        return {f"{name}_bf16": dataclasses.replace(graphs[name], precision=precision) for name in NAMES}
    if precision == "fp16":
        contents = {name: half_graph((bundle / graphs[name].file).read_bytes(), f"{name}_fp16") for name in NAMES}
    else:
        contents = quantised(bundle, spec, images)
    entries = {}
    for name, content in contents.items():
        path = bundle / f"{name}_{precision}.onnx"
        path.write_bytes(content)
        entries[path.stem] = graph_entry(path, precision=precision)
    return entries


def quantised(bundle: Path, spec: InputSpec, images: Sequence[Path]) -> dict[str, bytes]:
    """Returns the int8 graphs."""
    samples = [{"pixels": to_canvas(read_image(path), spec).pixels[None]} for path in images[:CALIBRATION]]
    fp32 = onnx.load(bundle / "encoder.onnx")
    encoder = quantized(fp32, samples, kept=nodes_of(fp32, [first_layer(fp32)]))
    features = [run_graph((bundle / "encoder.onnx").read_bytes(), sample["pixels"])["embedding"] for sample in samples]
    classifier = quantized(onnx.load(bundle / "classifier.onnx"), [{"embedding": row} for row in features])
    models = {"encoder": encoder, "classifier": classifier}
    return {name: save_graph(model, f"{name}_int8") for name, model in models.items()}
