"""Inference on a GPU: end-to-end ``rank`` against the bare engine, torch.compile, and parity of every engine."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from semise_export.gate.parity import check_backend, torch_answers
from semise_export.limits import LIMITS
from semise_sdk.bench import Request, run_bench
from semise_sdk.bundle import Bundle
from semise_sdk.errors import SemiseError
from semise_sdk.models.network import EncoderGraph, load_network
from semise_sdk.system.progress import SilentReporter

Rows = list[dict[str, object]]

TARGETS = (
    ("pytorch", "cuda"),
    ("onnxruntime", "cuda"),
    ("onnxruntime", "tensorrt"),
    ("onnxruntime", "tensorrt_rtx"),
    ("tensorrt", "cuda"),
)


def engine_rows(bundle: Path, images: Sequence[Path], *, seconds: float, batch: int, on_cpu: bool) -> Rows:
    """Returns one row per backend, device, precision and batch: the bare engine, ``rank`` and their ratio."""
    targets = (("pytorch", "cpu"), ("onnxruntime", "cpu")) if on_cpu else TARGETS
    request = Request(bundle=bundle, targets=targets, batches=(None, batch), seconds=seconds, images=tuple(images))
    rows = []
    for row in run_bench(request, reporter=SilentReporter()).rows:
        data = row.to_json()
        if row.speed is not None and row.speed.rank_images_per_second is not None:
            data["rank_over_engine"] = round(row.speed.rank_images_per_second / row.speed.images_per_second, 3)
        rows.append(data)
    return rows


def torch_rows(bundle: Path, *, device: str, batch: int, seconds: float) -> Rows:
    """Returns the bare encoder's images/s in torch, eager and compiled, in fp32 and bf16, pixels to vectors."""
    with Bundle.open(bundle) as opened:
        network = load_network(opened.model.network, opened.weights).eval().to(device)
        spec = opened.model.spec
    network = network.to(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3), dtype=np.uint8)
    rows: Rows = []
    for mode in ("eager", "compile"):
        encoder: Callable[[torch.Tensor], object] = EncoderGraph(network)
        if mode == "compile":
            encoder = torch.compile(EncoderGraph(network))
        for precision in ("fp32", "bf16"):
            row: dict[str, object] = {"engine": f"torch {mode}", "device": device, "precision": precision}
            try:
                rate = torch_rate(encoder, pixels, device=device, is_bf16=precision == "bf16", seconds=seconds)
                row |= {"batch": batch, "images_per_second": round(rate, 1)}
            except Exception as error:  # a compiler may raise anything
                row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            rows.append(row)
    return rows


@torch.inference_mode()
def torch_rate(
    encoder: Callable[[torch.Tensor], object], pixels: np.ndarray, *, device: str, is_bf16: bool, seconds: float
) -> float:
    """Returns images per second from pixels in memory to vectors in memory, after three runs for warm-up."""
    done, started = 0, 0.0
    for run in range(1_000_000):
        if run == 3:
            started = time.perf_counter()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_bf16):
            outputs = encoder(torch.from_numpy(pixels).to(device))
        for values in outputs:  # type: ignore[attr-defined]  # a named tuple of tensors
            values.float().cpu()
        done = run - 2
        if run >= 5 and time.perf_counter() - started > seconds:
            break
    return done * len(pixels) / (time.perf_counter() - started)


def parity_rows(bundle: Path, images: Sequence[Path], *, on_cpu: bool) -> Rows:
    """Returns the gate's figures of every engine and precision against torch in fp32."""
    reference = torch_answers(bundle, images, reporter=SilentReporter())
    with Bundle.open(bundle) as opened:
        precisions = opened.precisions
    rows: Rows = []
    for backend, device in (("onnxruntime", "cpu"),) if on_cpu else TARGETS[1:]:
        for precision in precisions:
            row: dict[str, object] = {"engine": backend, "device": device, "precision": precision}
            try:
                checked = check_backend(
                    bundle,
                    images,
                    backend=backend,
                    device=device,
                    precision=precision,
                    reference=reference,
                    thresholds=LIMITS[precision],
                    reporter=SilentReporter(),
                )
                rows.append(row | checked.to_json())
            except SemiseError as error:
                rows.append(row | {"error": str(error)})
    return rows
