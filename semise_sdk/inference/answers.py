"""What was measured of an image, as the answer of each task."""

import numpy as np
from numpy.typing import NDArray

from semise_sdk.images.postprocess import mask_of, severity_map_of
from semise_sdk.images.record import Geometry
from semise_sdk.inference.measure import Row
from semise_sdk.results import Analysis, Classification, Embedding, Segmentation, Severity
from semise_sdk.spec import ModelInfo


def severity_of(row: Row, model: ModelInfo) -> Severity:
    """Returns a row as the answer of ``rank``."""
    if not row.is_scored:
        return Severity(file=row.file, status=row.status, reason=row.reason)
    return Severity(
        file=row.file,
        severity=row.severity,
        grade=_grade(row, model),
        status=row.status,
        reason=row.reason,
        probabilities=row.probabilities,
        grade_set=_grade_set(row, model),
        percentile=row.percentile,
        severity_low=row.severity_low,
        severity_high=row.severity_high,
        resampled=row.resampled,
    )


def classification_of(row: Row, model: ModelInfo) -> Classification:
    """Returns a row as the answer of ``classify``."""
    if not row.is_scored:
        return Classification(file=row.file, status=row.status, reason=row.reason)
    return Classification(
        file=row.file,
        label=_grade(row, model),
        probabilities=row.probabilities,
        status=row.status,
        reason=row.reason,
        grade_set=_grade_set(row, model),
    )


def embedding_of(row: Row, _model: ModelInfo) -> Embedding:
    """Returns a row as the answer of ``embed``."""
    if not row.is_scored:
        return Embedding(file=row.file, status=row.status, reason=row.reason)
    return Embedding(file=row.file, embedding=row.embedding)


def segmentation_of(row: Row, model: ModelInfo) -> Segmentation:
    """Returns a row as the answer of ``segment``, its mask at the source's size."""
    analysis = analysis_of(row, model)
    return Segmentation(
        file=row.file,
        mask=analysis.mask,
        area_fraction=analysis.area_fraction,
        status=analysis.status,
        reason=analysis.reason,
    )


def analysis_of(row: Row, model: ModelInfo) -> Analysis:
    """Returns a row as the answer of ``analyze``, its mask and map at the source's size."""
    if not row.is_scored or row.geometry is None:
        return Analysis(file=row.file, status=row.status, reason=row.reason)
    try:
        mask, area_fraction = _mask(row.logits, row.geometry, model.mask_threshold)
        places = None if row.places is None else severity_map_of(row.places, row.geometry)
    except MemoryError:
        reason = "out_of_memory: expected to hold a mask of the image's size in memory, found too little"
        return Analysis(file=row.file, status="error", reason=reason)
    return Analysis(
        file=row.file,
        severity=row.severity,
        grade=_grade(row, model),
        probabilities=row.probabilities,
        mask=mask,
        area_fraction=area_fraction,
        severity_map=places,
        status=row.status,
        reason=row.reason,
        grade_set=_grade_set(row, model),
        percentile=row.percentile,
        severity_low=row.severity_low,
        severity_high=row.severity_high,
        resampled=row.resampled,
        nearest_reference=row.nearest,
    )


def _mask(
    logits: NDArray[np.float32] | None, geometry: Geometry, threshold: float
) -> tuple[NDArray[np.uint8] | None, float | None]:
    return (None, None) if logits is None else mask_of(logits, geometry, threshold=threshold)


def _grade(row: Row, model: ModelInfo) -> str | None:
    return None if row.level is None else model.labels[row.level]


def _grade_set(row: Row, model: ModelInfo) -> tuple[str, ...]:
    return tuple(model.labels[level] for level in row.possible)
