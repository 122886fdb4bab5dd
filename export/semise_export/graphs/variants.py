"""The graphs of a bundle in the precisions beside fp32, each made from the fp32 graphs that stand in its folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from semise_export.graphs.half import half_graph
from semise_export.graphs.margin import Margin, run_graph
from semise_export.graphs.onnx import check_graph, graph_entry, save_graph, write_graph
from semise_export.graphs.quantize import Ranges, encoder_of, first_layer, parts_of, quantized
from semise_export.graphs.sensitivity import restored, restoring_order, share_in_8_bits
from semise_export.limits import ParityThresholds
from semise_export.run import TrainedRun, spread
from semise_sdk.bundle import REFERENCES
from semise_sdk.bundle.manifest import GraphEntry
from semise_sdk.errors import DataError, ParityError
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, Precision
from semise_sdk.system.progress import Reporter

CALIBRATION_IMAGES = 128
VALIDATION_IMAGES = 128
JUDGED_IMAGES = 32
"""Training images on which one part after the other is quantised alone: enough to tell which brings more error."""
RANGES: tuple[Ranges, ...] = get_args(Ranges)

# What int8 may use up of a limit on the validation images: the rest is for the images that it has not seen.
_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The graphs of one precision.

    Args:
        precision: Their precision.
        graphs: What the manifest says of them, by the manifest's keys.
        notes: How they came about, for the manifest: calibration, layers that stay in fp32.
    """

    precision: Precision
    graphs: Mapping[str, GraphEntry]
    notes: Mapping[str, object] = field(default_factory=dict)


def write_variant(
    precision: Precision,
    folder: Path,
    graphs: Mapping[str, GraphEntry],
    *,
    run: TrainedRun,
    limits: ParityThresholds,
    reporter: Reporter,
) -> Variant:
    """Writes the graphs of one precision beside the fp32 graphs of ``folder`` and returns what they are.

    Args:
        precision: ``fp16``, ``bf16`` or ``int8``.
        folder: The bundle's folder.
        graphs: The fp32 graphs in it.
        run: The run that they come from: int8 is calibrated on its training images and steered by its validation part.
        limits: The gate's limits for the precision.
        reporter: Receives what happens.

    Raises:
        DataError: the run's training or validation images are missing.
        ConfigError: the quantiser is not installed.
        ParityError: a written graph is not what every backend relies on.
        OutputError: a file could not be written.
    """
    if precision == "bf16":  # a way to compute that a CPU runtime is asked for; the graphs are the fp32 ones
        entries = {f"{name}_bf16": replace(entry, precision=precision) for name, entry in graphs.items()}
        return Variant(precision=precision, graphs=entries)
    if precision == "fp16":
        contents = {name: half_graph((folder / e.file).read_bytes(), f"{name}_fp16") for name, e in graphs.items()}
        return Variant(precision=precision, graphs=_written(folder, precision, contents))
    models, notes = _int8(folder, graphs, run=run, limits=limits, reporter=reporter)
    contents = {name: save_graph(model, f"{name}_int8") for name, model in models.items()}
    return Variant(precision=precision, graphs=_written(folder, precision, contents), notes=notes)


def _written(folder: Path, precision: Precision, contents: Mapping[str, bytes]) -> dict[str, GraphEntry]:
    entries = {}
    for name, content in contents.items():
        path = folder / f"{name}_{precision}.onnx"
        write_graph(content, path)
        check_graph(path)
        entries[path.stem] = graph_entry(path, precision=precision)
    return entries


def _int8(
    folder: Path,
    graphs: Mapping[str, GraphEntry],
    *,
    run: TrainedRun,
    limits: ParityThresholds,
    reporter: Reporter,
) -> tuple[dict[str, onnx.ModelProto], dict[str, object]]:
    """Returns the int8 graphs; encoder and U-Net share one quantised encoder, because one is cut out of the other."""
    largest = "unet" if "unet" in graphs else "encoder"
    graph = onnx.load(folder / f"{largest}.onnx")
    calibration = canvases(spread(run.images("train"), CALIBRATION_IMAGES), run.model.spec)
    margin = validation_margin(folder, graph, run, limits=limits)
    reporter.say(f"quantising {largest} on {len(calibration)} training images")
    whole, used, kept = _quantized_graph(graph, calibration, margin, reporter=reporter)
    models = {largest: whole}
    if largest == "unet":
        models["encoder"] = encoder_of(whole)
    if "classifier" in graphs:
        embeddings = run_graph((folder / "encoder.onnx").read_bytes(), calibration)["embedding"]
        models["classifier"] = quantized(
            onnx.load(folder / "classifier.onnx"), [{"embedding": row[None]} for row in embeddings]
        )
    shares = {name: share_in_8_bits(graph, models[name], calibration[:1]) for name in (largest, "encoder")}
    told = " and ".join(f"{share:.0%} of {name}" for name, share in shares.items())
    reporter.say(f"int8: {told} is multiplied in 8 bits; {len(kept)} parts stay in fp32: {', '.join(kept)}")
    notes = {
        "quantiser": "nncf, symmetric, per output channel",
        "calibration_images": len(calibration),
        "validation_images": len(margin.pixels),
        "limit_used_on_validation": round(used, 3),
        "multiplications_in_8_bits": {name: round(share, 3) for name, share in shares.items()},
        "parts_in_fp32": list(kept),
    }
    return models, notes


def _quantized_graph(
    graph: onnx.ModelProto, calibration: NDArray[np.uint8], margin: Margin, *, reporter: Reporter
) -> tuple[onnx.ModelProto, float, tuple[str, ...]]:
    """Returns the graph in as much int8 as the validation images allow, the share of the limit it takes, and the rest.

    Raises:
        ParityError: they allow none.
    """
    samples = [{"pixels": row[None]} for row in calibration]
    first = first_layer(graph)
    parts = parts_of(graph)
    never = parts.pop(first)
    candidates = {ranges: quantized(graph, samples, kept=never, ranges=ranges) for ranges in RANGES}
    used = {ranges: margin.used(candidate) for ranges, candidate in candidates.items()}
    ranges = min(used, key=lambda name: used[name])
    for name, share in used.items():
        reporter.say(f"int8 with only {first} in fp32, {name} ranges: {share:.2f} of the tightest limit")
    if used[ranges] <= _SHARE:
        return candidates[ranges], used[ranges], (first,)
    whole, pixels = candidates[ranges], calibration[:JUDGED_IMAGES]
    order = restoring_order(graph, whole, parts, pixels, reporter=reporter)

    def attempt(count: int) -> tuple[onnx.ModelProto, float]:
        candidate = restored(whole, graph, [node for name in order[:count] for node in parts[name]])
        share = margin.used(candidate)
        reporter.say(f"int8 with {count + 1} of {len(order) + 1} parts in fp32: {share:.2f} of the tightest limit")
        return candidate, share

    count, (model, share) = _fewest(attempt, len(order))
    return model, share, (first, *order[:count])


def _fewest(
    attempt: Callable[[int], tuple[onnx.ModelProto, float]], most: int
) -> tuple[int, tuple[onnx.ModelProto, float]]:
    """Returns the fewest parts in fp32 that bisection finds within the limit, and that attempt; 0 are too few."""
    found, too_few, enough = None, 0, most
    while enough - too_few > 1:
        count = (too_few + enough) // 2
        candidate = attempt(count)
        if candidate[1] <= _SHARE:
            found, enough = candidate, count
        else:
            too_few = count
    if found is None:
        raise ParityError(
            f"expected int8 within the gate's limits on the validation images, found none with fewer than {most} "
            "parts in fp32: use fp16 or bf16, or train an encoder that allows it"
        )
    return enough, found


def canvases(images: Sequence[Path], spec: InputSpec) -> NDArray[np.uint8]:
    """Returns images on their canvas, ``uint8 [N, H, W, 3]``.

    Raises:
        DataError: there are none, or one is missing or unreadable.
    """
    if not images:
        raise DataError("expected training and validation images to quantise with, found none: train with both")
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise DataError(
            f"expected the run's images to quantise with, found {missing[0]} missing: make the data available"
        )
    return np.stack([to_canvas(read_image(image, dicom=spec.dicom), spec).pixels for image in images])


def validation_margin(folder: Path, graph: onnx.ModelProto, run: TrainedRun, *, limits: ParityThresholds) -> Margin:
    """Returns what measures candidates against an fp32 graph of ``folder`` on the run's validation images."""
    images = spread(run.images("val"), VALIDATION_IMAGES)
    pixels = canvases(images, run.model.spec)
    levels = run.levels(images)
    classifier = folder / "classifier.onnx"
    threshold = run.model.mask_threshold
    return Margin(
        pixels=pixels,
        wanted=run_graph(graph.SerializeToString(), pixels),
        bank=ReferenceBank.from_file(folder / REFERENCES, mode=run.model.reference_mode),
        classifier=classifier.read_bytes() if classifier.is_file() else None,
        levels=None if None in levels else np.array(levels, np.intp),
        limits=limits,
        mask_level=float(np.log(threshold / (1 - threshold))),
    )
