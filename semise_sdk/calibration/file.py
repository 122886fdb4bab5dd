"""``calibration.json`` and ``calibration.safetensors``: written whole, read with every number checked."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from semise_sdk.calibration.gates import DistanceGate, QualityGate
from semise_sdk.calibration.model import Calibration, GradeSets, Healthy
from semise_sdk.calibration.quality import LAYOUT_SIDE, MEASURES, Limits
from semise_sdk.calibration.temperature import HIGHEST, LOWEST
from semise_sdk.errors import BundleError, ReferenceImageError, SemiseError
from semise_sdk.metrics import Estimate
from semise_sdk.severity.reference_bank import ReferenceBank, has_direction
from semise_sdk.spec import ModelInfo
from semise_sdk.system.atomic import write_bytes, write_text
from semise_sdk.system.json_fields import JsonField, JsonSource, shown

SCHEMA = 2
CALIBRATION, CALIBRATION_TENSORS = "calibration.json", "calibration.safetensors"

_EMBEDDINGS, _HEALTHY = "embeddings", "healthy_vectors"
_SOURCE = JsonSource(CALIBRATION, BundleError, "update semise-sdk, or get the bundle again")
_ENDS = tuple(Limits.__dataclass_fields__)


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Writes both files into a bundle's folder; raises OutputError."""
    tensors = {}
    if calibration.healthy.vectors is not None and len(calibration.healthy.vectors):
        tensors[_HEALTHY] = np.ascontiguousarray(calibration.healthy.vectors)
    if calibration.distance is not None:
        tensors[_EMBEDDINGS] = np.ascontiguousarray(calibration.distance.bank.vectors)
    write_bytes(folder / CALIBRATION_TENSORS, save(tensors))
    write_text(folder / CALIBRATION, json.dumps(_to_json(calibration), indent=2, allow_nan=False) + "\n")


def read_calibration(text: bytes, tensors: bytes | None, model: ModelInfo) -> Calibration:
    """Returns the calibration in the content of ``calibration.json`` and, from schema 2 on, its tensors.

    Of schema 1, which only knew severities of held-out healthy images, there are percentiles and nothing else.

    Raises:
        BundleError: it is not of a known schema, or something in it is missing, out of range or does not fit the model.
    """
    data = _SOURCE.parse(text)
    if data["schema"].choice(1, SCHEMA) == 1:
        return _from_schema_1(data)
    try:
        return _from_json(data, _tensors(tensors, model), model)
    except (ValueError, TypeError, KeyError, SafetensorError, ReferenceImageError) as error:
        raise BundleError(
            f"expected vectors that can be used in {CALIBRATION_TENSORS}, found {error!r}: get the bundle again"
        ) from error


def _to_json(calibration: Calibration) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "source": calibration.source,
        "images": calibration.images,
        "groups": calibration.groups,
        "sets": None if calibration.sets is None else _sets_json(calibration.sets),
        "gates": _gates_json(calibration.quality, calibration.distance),
        "healthy_severity": [float(value) for value in calibration.healthy.severities],
    }


def _sets_json(sets: GradeSets) -> dict[str, object]:
    return {
        "temperature": sets.temperature,
        "alpha": sets.alpha,
        "threshold": sets.threshold,
        "coverage": sets.coverage.to_json(),
        "coverage_of_grade": {label: estimate.to_json() for label, estimate in sets.of_grade.items()},
        "mean_size": sets.mean_size,
        "groups": sets.groups,
    }


def _gates_json(quality: QualityGate | None, distance: DistanceGate | None) -> dict[str, object] | None:
    if quality is None or distance is None:
        return None
    limits = {name: {end: getattr(one, end) for end in _ENDS} for name, one in quality.limits.items()}
    return {
        "quality": limits,
        "layout": [int(grey) for grey in quality.layout],
        "distance": {"review": distance.review, "abstain": distance.abstain},
    }


def _from_schema_1(data: JsonField) -> Calibration:
    severities = _severities(data.get("healthy_severity", []))
    source = data.get("source", "held-out healthy images").text()
    healthy = Healthy(vectors=None, severities=severities)
    return Calibration(source=source, images=len(severities), groups=0, healthy=healthy, gates_constant=False)


def _from_json(data: JsonField, tensors: Mapping[str, NDArray[np.float32]], model: ModelInfo) -> Calibration:
    quality, distance = data["gates"].optional(lambda gates: _gates(gates, tensors)) or (None, None)
    severities = _severities(data["healthy_severity"])
    vectors = tensors.get(_HEALTHY, np.zeros((0, model.network.vector_dim), np.float32))
    if len(vectors) != len(severities):
        raise _unfit(f"{len(severities)} {_HEALTHY}", str(len(vectors)))
    return Calibration(
        source=data["source"].text(),
        images=data["images"].whole(0),
        groups=data["groups"].whole(0),
        sets=data["sets"].optional(lambda sets: _sets(sets, model)),
        quality=quality,
        distance=distance,
        healthy=Healthy(vectors=vectors, severities=severities),
    )


def _sets(data: JsonField, model: ModelInfo) -> GradeSets:
    of_grade = data["coverage_of_grade"]
    if tuple(of_grade.data()) != model.grade_labels or not model.has_classifier:
        grades = ", ".join(model.grade_labels) or "of no classifier"
        raise of_grade.refused(f"to have the grades {grades}", shown(list(of_grade.data())))
    return GradeSets(
        temperature=data["temperature"].number(LOWEST, HIGHEST),
        alpha=data["alpha"].number(0, 1),
        threshold=data["threshold"].number(0, len(model.labels)),
        coverage=_estimate(data["coverage"]),
        of_grade={label: _estimate(one) for label, one in of_grade.members().items()},
        mean_size=data["mean_size"].number(0, len(model.labels)),
        groups=data["groups"].whole(0),
    )


def _gates(data: JsonField, tensors: Mapping[str, NDArray[np.float32]]) -> tuple[QualityGate, DistanceGate]:
    if _EMBEDDINGS not in tensors:
        raise _unfit(_EMBEDDINGS, ", ".join(tensors) or "none")
    limits = data["quality"].fields(tuple(MEASURES))
    quality = QualityGate(
        limits={name: _limits(limits[name]) for name in MEASURES},
        layout=np.array([grey.number(0, 255) for grey in data["layout"].entries(LAYOUT_SIDE**2)]),
    )
    bank = ReferenceBank(tensors[_EMBEDDINGS], "knn")
    review, abstain = (data["distance"][name].number(0, 2) for name in ("review", "abstain"))
    return quality, DistanceGate(bank=bank, review=review, abstain=abstain)


def _limits(data: JsonField) -> Limits:
    return Limits(**{end: data[end].optional(JsonField.number) for end in _ENDS})


def _estimate(data: JsonField) -> Estimate:
    value, low, high = (data[name].optional(lambda one: one.number(0, 1)) for name in ("value", "low", "high"))
    return Estimate(value, low, high, data["n"].whole(0))


def _severities(data: JsonField) -> NDArray[np.float64]:
    return np.sort(np.array([one.number(0, 2) for one in data.entries()], np.float64))


def _tensors(content: bytes | None, model: ModelInfo) -> dict[str, NDArray[np.float32]]:
    """Returns the tensors, each of the model's width and with a direction in every row."""
    tensors = {} if content is None else load(content)
    widths = {_EMBEDDINGS: model.network.feature_dim, _HEALTHY: model.network.vector_dim}
    for name, values in tensors.items():
        fits = name in widths and values.dtype == np.float32 and values.ndim == 2 and values.shape[1] == widths[name]
        if not fits or not has_direction(values).all():
            raise _unfit("float32 vectors of the model's width", f"{name} {values.dtype} {values.shape}")
    return tensors


def _unfit(expected: str, found: str) -> SemiseError:
    return BundleError(f"expected {expected} in {CALIBRATION_TENSORS}, found {found}: get the bundle again")
