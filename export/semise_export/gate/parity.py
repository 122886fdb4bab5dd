"""The gate: runs a bundle on real images, file to score, and refuses it where it differs from torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from semise_export.gate.agreement import Agreement, agreement
from semise_export.gate.answers import Answers, ask, ask_vectors
from semise_export.gate.stability import Stability, measure_stability
from semise_export.limits import ParityThresholds
from semise_sdk.backends import available
from semise_sdk.errors import BackendError, ParityError, SemiseError
from semise_sdk.predictor import Predictor
from semise_sdk.spec import Precision
from semise_sdk.system.progress import Reporter

BATCH = 16
"""The largest batch checked: beyond it engines only repeat their blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityRow:
    """How far one backend's answers agree with torch's.

    Args:
        backend: Backend and device that ran.
        precision: Precision of the graphs.
        agreement: Figures against torch in fp32.
        stability: Figures of the backend against itself.
        reasons: Why the row fails, one sentence each; none where it passes.
    """

    backend: str
    precision: Precision
    agreement: Agreement
    stability: Stability
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True when every figure is within its threshold."""
        return not self.reasons

    def to_json(self) -> dict[str, object]:
        """Returns the row as the manifest holds it."""
        return {
            "backend": self.backend,
            "precision": self.precision,
            "passed": self.passed,
            "reasons": list(self.reasons),
            **self.agreement.to_json(),
            "batch_independence": self.stability.to_json(),
        }


def torch_answers(run: Path, images: Sequence[Path], *, reporter: Reporter) -> Answers:
    """Returns what the run's own network says of the images, in torch and fp32 on the CPU.

    Raises:
        DataError: it cannot answer one of them.
    """
    with Predictor.open(run, backend="pytorch", device="cpu", batch_size=BATCH, isolate=False) as predictor:
        return _full_answers(predictor, images, reporter=reporter, label="torch fp32")


def check_backend(
    bundle: Path,
    images: Sequence[Path],
    *,
    backend: str,
    reference: Answers,
    thresholds: ParityThresholds,
    reporter: Reporter,
    precision: Precision = "fp32",
    device: str = "auto",
    levels: Sequence[int | None] | None = None,
) -> ParityRow:
    """Returns how far ``bundle`` on ``backend`` agrees with ``reference``, torch's answers to the same images.

    Args:
        bundle: The bundle.
        images: Validation and test images.
        backend: What runs its graphs.
        reference: torch's answers in fp32.
        thresholds: The limits.
        reporter: Receives progress.
        precision: Which of its graphs run.
        device: Device of the backend.
        levels: True grade of each image, None where it has none.

    Raises:
        ParityError: the backend cannot run the graphs on these images at all.
    """
    with _refusing(backend):
        with Predictor.open(
            bundle,
            backend=backend,
            device=device,
            batch_size=BATCH,
            precision=precision,
            isolate=False,
            calibrated=False,
        ) as predictor:
            name = predictor.backend
            answers = _full_answers(predictor, images, reporter=reporter, label=f"{backend} {precision}")
        stability = measure_stability(
            bundle,
            images,
            answers,
            backend=backend,
            device=device,
            precision=precision,
            batch=BATCH,
            reporter=reporter,
        )
    figures = agreement(reference, answers, levels)
    reasons = (*figures.problems(thresholds), *stability.problems(thresholds))
    return ParityRow(backend=name, precision=precision, agreement=figures, stability=stability, reasons=reasons)


def refuse_failures(rows: Sequence[ParityRow]) -> None:
    """Raises ParityError, naming the first figure that is out of bounds, unless every row passes."""
    for row in rows:
        if not row.passed:
            more = f" (and {len(row.reasons) - 1} more)" if len(row.reasons) > 1 else ""
            raise ParityError(
                f"{row.backend} {row.precision} does not agree with torch: {row.reasons[0]}{more}; nothing was written"
            )


def gate_backends(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the backends to check a bundle on: those asked for, else all that are installed but torch itself.

    Raises:
        BackendError: one asked for cannot be used here, or none is installed.
    """
    found = {entry.name: entry for entry in available() if entry.name != "pytorch"}
    if wanted is None:
        chosen = tuple(name for name, entry in found.items() if entry.is_available)
        if not chosen:
            reasons = "; ".join(f"{name}: {entry.reason}" for name, entry in found.items())
            raise BackendError(f"expected a backend to check the export on, found none: {reasons}")
        return chosen
    for name in wanted:
        if name not in found:
            raise BackendError(f"expected a backend of {', '.join(found)} to check the export on, found {name!r}")
        if not found[name].is_available:
            raise BackendError(f"backend {name} cannot check the export here: {found[name].reason}")
    return tuple(dict.fromkeys(wanted))


def _full_answers(predictor: Predictor, images: Sequence[Path], *, reporter: Reporter, label: str) -> Answers:
    answers = ask(predictor, images, reporter=reporter, label=label)
    ask_vectors(predictor, images, answers)
    return answers


@contextmanager
def _refusing(backend: str) -> Iterator[None]:
    """Turns whatever a backend says against the graphs or a batch into a refusal of the export."""
    try:
        yield
    except ParityError:
        raise
    except SemiseError as error:
        raise ParityError(f"{backend} cannot run the exported graphs: {error}; nothing was written") from error
