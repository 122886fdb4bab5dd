"""Whether a bundle's answers depend on what they should not: the batch, the place in it, the graph that was asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semise_export.gate.answers import Answers, ask
from semise_export.limits import ParityThresholds
from semise_sdk.predictor import Predictor
from semise_sdk.spec import Precision
from semise_sdk.system.progress import Reporter

SMALL_BATCHES = (1, 2, 3)
STABILITY_IMAGES = 48
"""Whether rows depend on their batch is a property of the graph and its engine: a sample shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How far a backend agrees with itself.

    Args:
        images: Number of images compared between batch sizes.
        batches: The batch sizes.
        severity_error: Largest difference of one image's severity between batch sizes.
        class_flips: Most images whose grade changed with the batch size; None without a classifier.
        equal_rows_error: Largest difference of severity between equal images of one batch.
        graph_error: Largest difference of severity between encoder.onnx and unet.onnx; None without a U-Net.
    """

    images: int
    batches: tuple[int, ...]
    severity_error: float
    class_flips: int | None
    equal_rows_error: float
    graph_error: float | None

    def problems(self, limits: ParityThresholds) -> tuple[str, ...]:
        """Returns one sentence for each figure beyond its limit."""
        errors = {
            f"severity difference between batches of {', '.join(map(str, self.batches))}": self.severity_error,
            "severity difference between equal images of one batch": self.equal_rows_error,
            "severity difference between encoder.onnx and unet.onnx": self.graph_error or 0.0,
        }
        # written so that NaN fails
        too_far = {what: error for what, error in errors.items() if not error <= limits.batch_error}
        sentences = [f"{what} {error:.6g} is above {limits.batch_error:.6g}" for what, error in too_far.items()]
        if self.class_flips:
            sentences.append(f"{self.class_flips} of {self.images} grades change with the batch size")
        return tuple(sentences)

    def to_json(self) -> dict[str, object]:
        """Returns the figures by name."""
        return {
            "images": self.images,
            "batches": list(self.batches),
            "severity_error": self.severity_error,
            "class_flips": self.class_flips,
            "equal_rows_error": self.equal_rows_error,
            "graph_error": self.graph_error,
        }


def measure_stability(
    bundle: Path,
    images: Sequence[Path],
    answers: Answers,
    *,
    backend: str,
    batch: int,
    reporter: Reporter,
    precision: Precision = "fp32",
    device: str = "auto",
) -> Stability:
    """Returns how the bundle's answers vary with the batch size, the place in the batch and the graph.

    Args:
        bundle: The bundle.
        images: The images.
        answers: What it says of them in batches of ``batch``.
        backend: The backend.
        batch: The largest batch size.
        reporter: Receives progress.
        precision: Which of the bundle's graphs run.
        device: Device of the backend.

    Raises:
        DataError: it cannot answer one of the images.
        BackendError: the backend cannot run a batch of one of the sizes.
    """
    count = min(len(images), STABILITY_IMAGES)
    sample = [index * len(images) // count for index in range(count)]
    chosen = [images[index] for index in sample]

    def in_batches(some: Sequence[Path], size: int) -> Answers:
        with Predictor.open(
            bundle,
            backend=backend,
            device=device,
            batch_size=size,
            precision=precision,
            isolate=False,
            calibrated=False,
        ) as predictor:
            return ask(predictor, some, reporter=reporter, label=f"{backend} {precision}, batches of {size}")

    small = [in_batches(chosen, size) for size in SMALL_BATCHES]
    equal = in_batches([images[0]] * batch, batch)
    return Stability(
        images=count,
        batches=(*SMALL_BATCHES, batch),
        severity_error=max(_severity_error(answers, other, sample) for other in small),
        class_flips=max(_flips(answers, other, sample) for other in small) if answers.grades else None,
        equal_rows_error=float(max(np.ptp(equal.severity), np.ptp(equal.analyzed_severity))),
        graph_error=_largest_gap(answers.severity, answers.analyzed_severity) if answers.masks else None,
    )


def _severity_error(answers: Answers, other: Answers, sample: Sequence[int]) -> float:
    return max(
        _largest_gap([answers.severity[index] for index in sample], other.severity),
        _largest_gap([answers.analyzed_severity[index] for index in sample], other.analyzed_severity),
    )


def _flips(answers: Answers, other: Answers, sample: Sequence[int]) -> int:
    return sum(answers.grades[index] != grade for index, grade in zip(sample, other.grades, strict=True))


def _largest_gap(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.abs(np.array(one) - np.array(other)).max())
