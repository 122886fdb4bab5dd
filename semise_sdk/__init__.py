"""SemiSe SDK: rank, grade and segment medical images by severity."""

from semise_sdk.bundle import Bundle
from semise_sdk.calibration import Calibration
from semise_sdk.errors import (
    BackendError,
    BundleError,
    ConfigError,
    DataError,
    ImageReadError,
    LedgerError,
    OutputError,
    ParityError,
    ReferenceImageError,
    SemiseError,
    SpecError,
    TrainingError,
)
from semise_sdk.images.isolation import ReaderLimits
from semise_sdk.predictor import Predictor
from semise_sdk.results import (
    Analysis,
    Classification,
    Embedding,
    RankedImage,
    Ranking,
    Segmentation,
    Severity,
)
from semise_sdk.severity.comparison import ImageComparison
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo
from semise_sdk.timeline import Timeline, Visit, VisitSeverity, read_visits
from semise_sdk.version import __version__

__all__ = [
    "Analysis",
    "BackendError",
    "Bundle",
    "BundleError",
    "Calibration",
    "Classification",
    "ConfigError",
    "DataError",
    "Embedding",
    "ImageComparison",
    "ImageReadError",
    "InputSpec",
    "LedgerError",
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
    "SeverityDifference",
    "SpecError",
    "Timeline",
    "TrainingError",
    "Visit",
    "VisitSeverity",
    "__version__",
    "read_visits",
]
