"""What was measured of an image, as the answer of each task."""

from semise_sdk.images.postprocess import mask_of, severity_map_of
from semise_sdk.inference.measure import Measurement
from semise_sdk.results import Analysis, Classification, Embedding, Segmentation, Severity, severity_fields
from semise_sdk.spec import ModelInfo

NO_MASK = "out_of_memory: expected to hold a mask of the image's size in memory, found too little"


def severity_of(measured: Measurement, _model: ModelInfo) -> Severity:
    """Returns the answer of ``rank``."""
    return measured.answer


def classification_of(measured: Measurement, _model: ModelInfo) -> Classification:
    """Returns the answer of ``classify``."""
    answer = measured.answer
    return Classification(
        file=answer.file,
        label=answer.grade,
        probabilities=answer.probabilities,
        status=answer.status,
        reason=answer.reason,
        grade_set=answer.grade_set,
    )


def embedding_of(measured: Measurement, _model: ModelInfo) -> Embedding:
    """Returns the answer of ``embed``."""
    answer = measured.answer
    return Embedding(file=answer.file, embedding=measured.embedding, status=answer.status, reason=answer.reason)


def segmentation_of(measured: Measurement, model: ModelInfo) -> Segmentation:
    """Returns the answer of ``segment``, its mask at the source's size."""
    analysis = analysis_of(measured, model)
    return Segmentation(
        file=analysis.file,
        mask=analysis.mask,
        area_fraction=analysis.area_fraction,
        status=analysis.status,
        reason=analysis.reason,
    )


def analysis_of(measured: Measurement, model: ModelInfo) -> Analysis:
    """Returns the answer of ``analyze``, its mask and map at the source's size."""
    answer, geometry = measured.answer, measured.geometry
    mask, area_fraction, places = None, None, None
    try:
        if geometry is not None and measured.logits is not None:
            mask, area_fraction = mask_of(measured.logits, geometry, threshold=model.mask_threshold)
        if geometry is not None and measured.places is not None:
            places = severity_map_of(measured.places, geometry)
    except MemoryError:
        return Analysis(file=answer.file, status="error", reason=NO_MASK)
    return Analysis(
        **severity_fields(answer),
        mask=mask,
        area_fraction=area_fraction,
        severity_map=places,
        nearest_reference=measured.nearest,
    )
