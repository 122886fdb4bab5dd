"""Replays a bundle's golden files: does it answer here as it did where it was exported?"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.backends import BACKENDS, available
from semise_sdk.bundle import GOLDEN, WEIGHTS, Bundle
from semise_sdk.bundle.signing import PublicKey
from semise_sdk.errors import BackendError, BundleError, ParityError
from semise_sdk.predictor import Predictor
from semise_sdk.spec import Precision
from semise_sdk.system.json_fields import JsonField, JsonSource

SCHEMA = 1
EXPECTED = "expected.json"
EMBEDDING_VALUES = 8

QUANTITIES = ("severity", "probabilities", "area_fraction", "embedding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says of one golden picture.

    Args:
        file: Name of the picture.
        severity: Against the bundle's own references; None where the model gives none.
        probabilities: Of the grades; empty without a classifier.
        area_fraction: Of the mask; None without a U-Net.
        embedding: The first values of the pooled feature.
        reason: Why there is no severity.
    """

    file: str
    severity: float | None
    probabilities: tuple[float, ...] = ()
    area_fraction: float | None = None
    embedding: tuple[float, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        """Returns the answer as expected.json holds it."""
        return {
            "file": self.file,
            "severity": self.severity,
            "probabilities": list(self.probabilities),
            "area_fraction": self.area_fraction,
            "embedding": list(self.embedding),
        }

    def values(self, quantity: str) -> tuple[float, ...]:
        """Returns the numbers of one of :data:`QUANTITIES`; none where the model does not answer it."""
        value: object = getattr(self, quantity)
        if isinstance(value, tuple):
            return value
        return () if value is None else (float(str(value)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One quantity of one golden picture that is not what it was.

    ``error`` is the largest of its numbers; None where some numbers are missing, or too many.
    """

    file: str
    quantity: str
    error: float | None
    tolerance: float

    def __str__(self) -> str:
        if self.error is None:
            return f"{self.quantity} of {self.file} is there on one side only"
        return f"{self.quantity} of {self.file} differs by {self.error:.3g}, more than {self.tolerance:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """The replay of a bundle on one backend.

    Args:
        backend: Backend and device that ran.
        precision: What it computed in.
        pictures: Number of golden pictures.
        errors: Largest error of each quantity that was compared.
        differences: What lies beyond its tolerance.
    """

    backend: str
    precision: Precision
    pictures: int
    errors: Mapping[str, float]
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """True when every answer is what it was."""
        return not self.differences

    def require_agreement(self) -> None:
        """Raises ParityError, naming the first difference, unless the replay passed."""
        if self.differences:
            more = f" (and {len(self.differences) - 1} more)" if len(self.differences) > 1 else ""
            raise ParityError(
                f"the golden files replay otherwise on {self.backend} in {self.precision}: {self.differences[0]}{more}"
            )

    def to_json(self) -> dict[str, object]:
        """Returns the report as plain JSON data."""
        return {
            "backend": self.backend,
            "precision": self.precision,
            "pictures": self.pictures,
            "passed": self.passed,
            "errors": dict(self.errors),
            "differences": [str(difference) for difference in self.differences],
        }


def expected_file(precision: Precision) -> str:
    """Returns the name of the file of golden answers in a precision."""
    return EXPECTED if precision == "fp32" else f"expected_{precision}.json"


def replay(
    bundle: str | os.PathLike[str],
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
    public_key: PublicKey | None = None,
) -> ReplayReport:
    """Returns how the bundle answers its golden pictures here, against the answers at its export.

    In fp32 those are torch's; in another precision, that of the first backend that computed in it.

    Raises:
        BundleError: the bundle is damaged, is not signed by ``public_key``, or holds no golden files.
        BackendError: the backend is missing or refuses the graphs.
    """
    with Bundle.open(bundle, public_key=public_key) as opened:
        expected = _read_expected(opened, expected_file(precision))
        images = [opened.path(GOLDEN + answer.file) for answer in expected.answers]
        # drawn pictures are of no kind that a gate would let through
        with Predictor.open(
            opened.folder,
            backend=backend,
            device=device,
            precision=precision,
            isolate=False,
            public_key=public_key,
            calibrated=False,
        ) as predictor:
            found = list(answers(predictor, images))
            name = predictor.backend
    return _compare(expected, found, backend=name, precision=precision)


def replay_all(
    bundle: str | os.PathLike[str], *, public_key: PublicKey | None = None
) -> tuple[tuple[ReplayReport, ...], dict[str, str]]:
    """Returns a replay on every backend in every precision that can run here, and for the others why they cannot.

    Raises:
        BundleError: the bundle is damaged, is not signed by ``public_key``, or holds no golden files.
        BackendError: no backend can run it, or one that should refuses it.
    """
    with Bundle.open(bundle, public_key=public_key) as opened:
        skipped = {entry.name: f"{entry.reason} ({entry.pip})" for entry in available() if entry.reason}
        if WEIGHTS not in opened.manifest.files:
            skipped.setdefault("pytorch", f"the bundle holds no {WEIGHTS}")
        chosen = [entry.name for entry in BACKENDS if entry.name not in skipped]
        if not chosen:
            raise BackendError(f"expected a backend to replay on, found none: {'; '.join(skipped.values())}")
        computed = {entry.name: entry.precisions for entry in BACKENDS}
        for precision in opened.precisions:
            if not any(precision in computed[name] for name in chosen):
                skipped[precision] = "no backend that is installed here computes in it"
        return tuple(
            replay(opened.folder, backend=name, precision=precision, public_key=public_key)
            for precision in opened.precisions
            for name in chosen
            if precision in computed[name]
        ), skipped


def answers(predictor: Predictor, images: Sequence[Path]) -> Iterator[Answer]:
    """Yields what an open predictor says of golden pictures."""
    embeddings = predictor.iter_embed(images)
    for image, analysis, embedding in zip(images, predictor.iter_analyze(images), embeddings, strict=True):
        values = () if embedding.embedding is None else embedding.embedding[:EMBEDDING_VALUES].tolist()
        yield Answer(
            file=image.name,
            severity=analysis.severity,
            probabilities=tuple(analysis.probabilities),
            area_fraction=analysis.area_fraction,
            embedding=tuple(values),
            reason=analysis.reason,
        )


@dataclass(frozen=True, slots=True)
class _Expected:
    answers: tuple[Answer, ...]
    tolerance: Mapping[str, float]


def _read_expected(bundle: Bundle, name: str) -> _Expected:
    source = JsonSource(GOLDEN + name, BundleError, "update semise-sdk, or export again")
    data = source.parse(bundle.read(GOLDEN + name))
    data["schema"].choice(SCHEMA)
    tolerance = {quantity: data["tolerance"][quantity].number() for quantity in QUANTITIES}
    golden = tuple(_answer(entry) for entry in data["answers"].entries())
    if not golden:
        raise data["answers"].refused("to hold golden answers", "none")
    return _Expected(golden, tolerance)


def _answer(entry: JsonField) -> Answer:
    return Answer(
        file=entry["file"].text(),
        severity=entry["severity"].optional(JsonField.number),
        probabilities=entry["probabilities"].of(tuple[float, ...]),
        area_fraction=entry["area_fraction"].optional(JsonField.number),
        embedding=entry["embedding"].of(tuple[float, ...]),
    )


def largest_errors(one: Sequence[Answer], other: Sequence[Answer]) -> dict[str, float]:
    """Returns each quantity's largest difference between two runs over the same pictures; inf where one lacks it."""
    errors = dict.fromkeys(QUANTITIES, 0.0)
    for first, second in zip(one, other, strict=True):
        for quantity in QUANTITIES:
            error = _error(first.values(quantity), second.values(quantity))
            errors[quantity] = max(errors[quantity], float("inf") if error is None else error)
    return errors


def _compare(expected: _Expected, found: Sequence[Answer], *, backend: str, precision: Precision) -> ReplayReport:
    errors: dict[str, float] = {}
    differences = []
    for one, other in zip(expected.answers, found, strict=True):
        for quantity in QUANTITIES:
            error = _error(one.values(quantity), other.values(quantity))
            tolerance = expected.tolerance[quantity]
            # written so that NaN differs
            if error is None or not error <= tolerance:
                differences.append(Difference(file=one.file, quantity=quantity, error=error, tolerance=tolerance))
            if error is not None and one.values(quantity):
                errors[quantity] = max(error, errors.get(quantity, 0.0))
    return ReplayReport(
        backend=backend,
        precision=precision,
        pictures=len(expected.answers),
        errors=errors,
        differences=tuple(differences),
    )


def _error(expected: Sequence[float], found: Sequence[float]) -> float | None:
    """Returns the largest difference, None where one side has more numbers."""
    if len(expected) != len(found):
        return None
    return max((abs(one - other) for one, other in zip(expected, found, strict=True)), default=0.0)
