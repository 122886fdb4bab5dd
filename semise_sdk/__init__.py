"""SemiSe SDK: rank, grade and segment medical images by severity."""

from semise_sdk.bundle import Bundle
from semise_sdk.errors import (
    BackendError,
    BundleError,
    ConfigError,
    DataError,
    ImageReadError,
    OutputError,
    ParityError,
    ReferenceImageError,
    SemiseError,
    SpecError,
    TrainingError,
)
from semise_sdk.isolation import ReaderLimits
from semise_sdk.predictor import Predictor
from semise_sdk.references import ReferenceBank
from semise_sdk.results import (
    Analysis,
    Classification,
    Embedding,
    RankedImage,
    Ranking,
    Segmentation,
    Severity,
)
from semise_sdk.spec import InputSpec, ModelInfo
from semise_sdk.version import __version__

__all__ = [
    "Analysis",
    "BackendError",
    "Bundle",
    "BundleError",
    "Classification",
    "ConfigError",
    "DataError",
    "Embedding",
    "ImageReadError",
    "InputSpec",
    "ModelInfo",
    "OutputError",
    "ParityError",
    "Predictor",
    "RankedImage",
    "Ranking",
    "ReaderLimits",
    "ReferenceBank",
    "ReferenceImageError",
    "Segmentation",
    "SemiseError",
    "Severity",
    "SpecError",
    "TrainingError",
    "__version__",
]
