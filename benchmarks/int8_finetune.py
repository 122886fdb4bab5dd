"""Whether fine-tuning under simulated int8 brings int8 nearer to the network that was trained.

    python benchmarks/int8_finetune.py RUN [--lr 1e-5] [--epochs 2] [--json FILE]

The run's network is distilled into a copy of itself whose encoder computes with 8-bit weights and inputs; gradients
pass straight through the rounding, and the decoder stays in fp32. Both are then quantised as ``semise export
--precision int8`` does and compared with the network that was trained, on the validation images. A share of 1 is where
the gate begins to refuse.
"""

import argparse
import copy
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from semise_export.graphs.margin import Margin, run_graph
from semise_export.graphs.onnx import export_graphs
from semise_export.graphs.quantize import WITHOUT_WEIGHTS_IN_DECODER, first_layer, parts_of, quantized
from semise_export.graphs.variants import CALIBRATION_IMAGES, canvases, validation_margin
from semise_export.limits import LIMITS
from semise_export.run import TrainedRun, spread
from semise_sdk.bundle import REFERENCES
from semise_sdk.models.network import SemiSeNetwork, load_network
from semise_sdk.system.machine import describe_machine

BATCH = 16


def main() -> None:
    """Fine-tunes, measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch:
        rows = study(TrainedRun.open(options.run), Path(scratch), options, console)
    table = Table("network", "precision", *list(rows[0])[2:], title="share of the int8 limit that is used up")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.2f}" for value in row.values()))
    Console().print(table)
    if options.json:
        report = {"machine": describe_machine(), "lr": options.lr, "epochs": options.epochs, "rows": rows}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def study(run: TrainedRun, folder: Path, options: argparse.Namespace, console: Console) -> list[dict[str, object]]:
    """Returns what the trained and the fine-tuned network use up of the limits, in fp32 and in int8."""
    shutil.copyfile(run.checkpoint / REFERENCES, folder / REFERENCES)
    trained = load_network(run.model.network, run.checkpoint / "model.safetensors").eval()
    graph = exported(trained, run, folder)
    margin = validation_margin(folder, graph, run, limits=LIMITS["int8"])
    images = torch.from_numpy(canvases(run.images("train"), run.model.spec))
    tuned = finetuned(trained, images, options, console)
    (folder / "tuned").mkdir()
    graphs = {"trained": graph, "fine-tuned": exported(tuned, run, folder / "tuned")}
    calibration = canvases(spread(run.images("train"), CALIBRATION_IMAGES), run.model.spec)
    samples = [{"pixels": row[None]} for row in calibration]
    rows = []
    for name, candidate in graphs.items():
        parts = parts_of(candidate)
        decoder = [part for part in parts if ".unet." in part or part == WITHOUT_WEIGHTS_IN_DECODER]
        kept = [node for part in (first_layer(candidate), *decoder) for node in parts[part]]
        rows.append(row_of(name, "fp32", candidate, margin))
        rows.append(row_of(name, "int8 encoder", quantized(candidate, samples, kept=kept, ranges="histogram"), margin))
    return rows


def exported(network: SemiSeNetwork, run: TrainedRun, folder: Path) -> onnx.ModelProto:
    """Returns the network's largest graph."""
    return onnx.load(folder / export_graphs(network, run.model.spec, folder)[-1])


def row_of(name: str, precision: str, graph: onnx.ModelProto, margin: Margin) -> dict[str, object]:
    """Returns a row of the table."""
    shares = margin.shares(run_graph(graph.SerializeToString(), margin.pixels))
    return {"network": name, "precision": precision, **shares}


def finetuned(network: SemiSeNetwork, images: Tensor, options: argparse.Namespace, console: Console) -> SemiSeNetwork:
    """Returns a copy of the network, trained to answer in 8 bits what the network answers in fp32."""
    learner = copy.deepcopy(network)
    fold_normalisations(learner)
    layers = list(simulate_int8(learner.encoder))[1:]  # the first layer keeps measuring: it stays in fp32
    with torch.inference_mode():
        batches = [answers(network, batch) for batch in images.split(BATCH)]
        for batch in images[: 4 * BATCH].split(BATCH):
            answers(learner, batch)
    for layer in layers:
        layer.is_measuring = False
    wanted = [torch.cat(parts).clone() for parts in zip(*batches, strict=True)]
    distil(learner, images, wanted, options, console)
    restore_layers(learner.encoder)
    return learner.eval()


def distil(
    learner: SemiSeNetwork, images: Tensor, wanted: Sequence[Tensor], options: argparse.Namespace, console: Console
) -> None:
    """Trains the learner to give the wanted answers, each weighed by its variance."""
    optimizer = torch.optim.AdamW(learner.parameters(), lr=options.lr, weight_decay=0)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps)
    generator, scales = torch.Generator().manual_seed(0), [rows.var() for rows in wanted]
    for epoch in range(options.epochs):
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator).split(BATCH)[:steps]:
            found = answers(learner, images[rows])
            errors = [((f - w[rows]) ** 2).mean() / scale for f, w, scale in zip(found, wanted, scales, strict=True)]
            optimizer.zero_grad()
            torch.stack(errors).sum().backward()
            optimizer.step()
            schedule.step()
            total += sum(error.item() for error in errors) / steps
        console.print(f"epoch {epoch + 1}: {total:.4f} of the answers' variance")


def answers(network: SemiSeNetwork, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns embedding, severity vectors and mask logits."""
    planes = pixels.float().permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    features = network.encoder.features(planes)
    severity = network.severity(network.projection(features.embedding))
    return features.embedding, severity, network.unet(planes, features.pyramid)


class SimulatedInt8(nn.Module):
    """A convolution with 8-bit weights per output channel and 8-bit inputs of the range that was measured."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.largest = 0.0
        self.is_measuring = True

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the convolution of the rounded inputs with the rounded weights."""
        if self.is_measuring:
            self.largest = max(self.largest, float(inputs.abs().max()))
            return self.layer(inputs)
        low, high = (0, 255) if float(inputs.detach().min()) >= 0 else (-128, 127)
        rounded = torch.fake_quantize_per_tensor_affine(inputs, self.largest / high, 0, low, high)
        weight = self.layer.weight
        scale = (weight.detach().abs().amax(dim=(1, 2, 3)) / 127).clamp(min=1e-8)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)
        return torch.func.functional_call(self.layer, {"weight": weight}, (rounded,))


def simulate_int8(module: nn.Module) -> Iterator[SimulatedInt8]:
    """Puts a :class:`SimulatedInt8` in the place of every convolution, and yields them in the order of the modules."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            simulated = SimulatedInt8(child)
            setattr(module, name, simulated)
            yield simulated
        else:
            yield from simulate_int8(child)


def restore_layers(module: nn.Module) -> None:
    """Puts every convolution back in its place."""
    for name, child in list(module.named_children()):
        if isinstance(child, SimulatedInt8):
            setattr(module, name, child.layer)
        else:
            restore_layers(child)


def fold_normalisations(module: nn.Module) -> None:
    """Folds each BatchNorm into the convolution before it, as the exported graph has them."""
    before: str | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            setattr(module, before, fuse_conv_bn_eval(getattr(module, before), child))
            rest = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]  # timm's BatchNormAct2d
            setattr(module, name, nn.Sequential(*rest))
        elif not isinstance(child, nn.Conv2d):
            fold_normalisations(child)
        before = name if isinstance(child, nn.Conv2d) else None


if __name__ == "__main__":
    main()
