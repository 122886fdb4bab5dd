"""``calibration.json`` and ``calibration.safetensors``: written whole, read with every number checked."""

import json
import math
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

SCHEMA = 2
CALIBRATION, CALIBRATION_TENSORS = "calibration.json", "calibration.safetensors"

_EMBEDDINGS, _HEALTHY = "embeddings", "healthy_vectors"
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
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise _wrong("a JSON object", type(data).__name__)
        if data.get("schema") == 1:
            return _from_schema_1(data)
        if data.get("schema") != SCHEMA:
            raise BundleError(
                f"expected {CALIBRATION} of schema 1 or {SCHEMA}, found {data.get('schema')!r}: update semise-sdk"
            )
        return _from_json(data, _tensors(tensors, model), model)
    except (ValueError, TypeError, KeyError, RecursionError, SafetensorError, ReferenceImageError) as error:
        raise BundleError(f"expected a calibration in {CALIBRATION}, found {error!r}: get the bundle again") from error


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


def _from_schema_1(data: Mapping[str, object]) -> Calibration:
    severities = _severities(data.get("healthy_severity", []))
    source = str(data.get("source", "held-out healthy images"))
    n = len(severities)
    healthy = Healthy(vectors=None, severities=severities)
    return Calibration(source=source, images=n, groups=0, healthy=healthy, gates_constant=False)


def _from_json(data: Mapping[str, object], tensors: Mapping[str, NDArray[np.float32]], model: ModelInfo) -> Calibration:
    sets, gates = data["sets"], data["gates"]
    quality, distance = (None, None) if gates is None else _gates(_object(gates), tensors)
    severities = _severities(data["healthy_severity"])
    vectors = tensors.get(_HEALTHY, np.zeros((0, model.network.vector_dim), np.float32))
    if len(vectors) != len(severities):
        raise _wrong(f"{len(severities)} {_HEALTHY} in {CALIBRATION_TENSORS}", str(len(vectors)))
    return Calibration(
        source=_text(data["source"]),
        images=_count(data["images"]),
        groups=_count(data["groups"]),
        sets=None if sets is None else _sets(_object(sets), model),
        quality=quality,
        distance=distance,
        healthy=Healthy(vectors=vectors, severities=severities),
    )


def _sets(data: Mapping[str, object], model: ModelInfo) -> GradeSets:
    of_grade = _object(data["coverage_of_grade"])
    if not model.has_classifier or tuple(of_grade) != model.labels:
        raise _wrong(f"grade sets over {', '.join(model.labels)}", ", ".join(of_grade))
    return GradeSets(
        temperature=_number(data["temperature"], LOWEST, HIGHEST),
        alpha=_number(data["alpha"], 0, 1),
        threshold=_number(data["threshold"], 0, len(model.labels)),
        coverage=_estimate(data["coverage"]),
        of_grade={label: _estimate(one) for label, one in of_grade.items()},
        mean_size=_number(data["mean_size"], 0, len(model.labels)),
        groups=_count(data["groups"]),
    )


def _gates(data: Mapping[str, object], tensors: Mapping[str, NDArray[np.float32]]) -> tuple[QualityGate, DistanceGate]:
    limits, distance = _object(data["quality"]), _object(data["distance"])
    layout = data["layout"]
    if set(limits) != set(MEASURES) or _EMBEDDINGS not in tensors:
        raise _wrong(f"limits of {', '.join(MEASURES)}, and {_EMBEDDINGS} in {CALIBRATION_TENSORS}", "otherwise")
    if not isinstance(layout, list) or len(layout) != LAYOUT_SIDE**2:
        raise _wrong(f"a layout of {LAYOUT_SIDE**2} grey levels", "otherwise")
    quality = QualityGate(
        limits={name: _limits(_object(limits[name])) for name in MEASURES},
        layout=np.array([_number(grey, 0, 255) for grey in layout]),
    )
    bank = ReferenceBank(tensors[_EMBEDDINGS], "knn")
    review, abstain = (_number(distance[name], 0, 2) for name in ("review", "abstain"))
    return quality, DistanceGate(bank=bank, review=review, abstain=abstain)


def _limits(data: Mapping[str, object]) -> Limits:
    values = {end: None if data[end] is None else _number(data[end], -math.inf, math.inf) for end in _ENDS}
    return Limits(**values)


def _estimate(data: object) -> Estimate:
    figures = _object(data)
    value, low, high = (None if figures[k] is None else _number(figures[k], 0, 1) for k in ("value", "low", "high"))
    return Estimate(value, low, high, _count(figures["n"]))


def _severities(data: object) -> NDArray[np.float64]:
    if not isinstance(data, list):
        raise _wrong("a list of severities", type(data).__name__)
    return np.sort(np.array([_number(value, 0, 2) for value in data], np.float64))


def _tensors(content: bytes | None, model: ModelInfo) -> dict[str, NDArray[np.float32]]:
    """Returns the tensors, each of the model's width and with a direction in every row."""
    tensors = {} if content is None else load(content)
    widths = {_EMBEDDINGS: model.network.feature_dim, _HEALTHY: model.network.vector_dim}
    for name, values in tensors.items():
        fits = name in widths and values.dtype == np.float32 and values.ndim == 2 and values.shape[1] == widths[name]
        if not fits or not has_direction(values).all():
            raise _wrong(
                f"{CALIBRATION_TENSORS} to hold float32 vectors of the model's width", f"{name} {values.shape}"
            )
    return tensors


def _object(data: object) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise _wrong("an object", type(data).__name__)
    return data


def _text(data: object) -> str:
    if not isinstance(data, str):
        raise _wrong("a text", type(data).__name__)
    return data


def _count(data: object) -> int:
    if not isinstance(data, int) or isinstance(data, bool) or data < 0:
        raise _wrong("a count", repr(data))
    return data


def _number(data: object, low: float, high: float) -> float:
    if not isinstance(data, int | float) or isinstance(data, bool) or not (math.isfinite(data) and low <= data <= high):
        raise _wrong(f"a number of {low:g} to {high:g}", repr(data))
    return float(data)


def _wrong(expected: str, found: str) -> SemiseError:
    return BundleError(f"{CALIBRATION}: expected {expected}, found {found}: get the bundle again")
