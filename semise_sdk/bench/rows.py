"""The rows of a benchmark: what was measured, what came out, or why nothing did."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from semise_sdk.spec import Precision
from semise_sdk.system.json_fields import JsonField, JsonSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one row measures.

    Args:
        backend: Backend, as ``--backend`` names it.
        device: Device, as ``--device`` names it.
        precision: What the graphs compute in; None in a row about every precision.
        batch: Images per engine run; None for what serves the backend best, or in a row about every batch.
    """

    backend: str
    device: str
    precision: Precision | None = None
    batch: int | None = None

    def __str__(self) -> str:
        parts = (self.backend, self.device, self.precision, f"batch {self.batch}" if self.batch else None)
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of the time that one engine run takes when nothing runs beside it, in milliseconds.

    Example:
        >>> Latency.of([0.010, 0.020, 0.030]).p50
        20.0
    """

    p50: float
    p95: float
    p99: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Self:
        """Returns the percentiles of measured ``seconds``, at least one, linear between neighbours."""
        p50, p95, p99 = (round(float(value) * 1000, 4) for value in np.percentile(seconds, [50, 95, 99]))
        return cls(p50=p50, p95=p95, p99=p99, runs=len(seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one row measured.

    Args:
        provider: What really computed, as the backend reports it.
        batch: Images per engine run.
        concurrency: Engine runs side by side while ``images_per_second`` was measured.
        first_result_seconds: From opening the bundle to the first image's answer, the engine's import included.
        latency: Of one engine run at a time.
        images_per_second: Of the engine alone, on images that lie ready in memory.
        rank_images_per_second: End to end, from files to severities; None where no images were given.
        peak_memory_bytes: Most memory that the row's process ever held; None where the system does not say.
        gpu_memory_bytes: What the GPU held more at the end than at the start; None where nothing says.
    """

    provider: str
    batch: int
    concurrency: int
    first_result_seconds: float
    latency: Latency
    images_per_second: float
    rank_images_per_second: float | None
    peak_memory_bytes: int | None
    gpu_memory_bytes: int | None

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data that :meth:`from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Returns the measurement that :meth:`to_json` wrote."""
        return JsonField(data, JsonSource("the measurement", ValueError)).of(cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One row of the table.

    Args:
        case: What was to be measured.
        speed: What was; None where it was skipped.
        reason: Why it was skipped; empty where it was not.
        model_bytes: Sizes of what the backend loads, by name.
        metrics: Task metrics against the truth, each with its interval; None without labelled images.
        agreement: Figures against the bundle's own fp32 run; None without images.
        answers_reason: Why there are neither, although images were given.
    """

    case: Case
    speed: Speed | None = None
    reason: str = ""
    model_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float | int | None]] | None = None
    agreement: Mapping[str, float | int | str | None] | None = None
    answers_reason: str = ""

    @property
    def batch(self) -> int | None:
        """Images per engine run; None in a row about every batch."""
        return self.case.batch if self.speed is None else self.speed.batch

    @property
    def encoder_bytes(self) -> int | None:
        """Size of the encoder's graph, or of the whole network's weights for the pytorch backend."""
        return self.model_bytes.get("encoder", self.model_bytes.get("weights"))

    def to_json(self) -> dict[str, object]:
        """Returns the row as plain JSON data; its keys are the same whether it was skipped or not."""
        names = [field.name for field in dataclasses.fields(Speed)]
        measured = dict.fromkeys(names) if self.speed is None else self.speed.to_json()
        return {
            "backend": self.case.backend,
            "device": self.case.device,
            "precision": self.case.precision,
            "status": "skipped" if self.speed is None else "ok",
            "reason": self.reason,
            **measured,
            "batch": self.batch,
            "model_bytes": dict(self.model_bytes),
            "metrics": self.metrics,
            "agreement": self.agreement,
            "answers_reason": self.answers_reason,
        }
