"""How sure an answer is: calibrated probabilities, grade sets, percentiles, and the gates that refuse an image."""

from semise_sdk.calibration.conformal import grade_sets, rps_scores, upper_limit
from semise_sdk.calibration.file import CALIBRATION, CALIBRATION_TENSORS, read_calibration, write_calibration
from semise_sdk.calibration.fit import DEFAULT_ALPHA, UNLABELED, Observed, check_alpha, coverage_of, fit_calibration
from semise_sdk.calibration.grading import Grade, grade_of
from semise_sdk.calibration.model import (
    MIN_IMAGES,
    NO_CALIBRATION,
    Calibration,
    GradeSets,
    Healthy,
    percentile_of,
)
from semise_sdk.calibration.quality import MEASURES, Picture, look, natural_limits
from semise_sdk.calibration.trained_on import (
    TRAINING_IMAGES,
    canvas_hash,
    load_training_hashes,
    save_training_hashes,
)
from semise_sdk.results import PASSED, Verdict

__all__ = [
    "CALIBRATION",
    "CALIBRATION_TENSORS",
    "DEFAULT_ALPHA",
    "MEASURES",
    "MIN_IMAGES",
    "NO_CALIBRATION",
    "PASSED",
    "TRAINING_IMAGES",
    "UNLABELED",
    "Calibration",
    "Grade",
    "GradeSets",
    "Healthy",
    "Observed",
    "Picture",
    "Verdict",
    "canvas_hash",
    "check_alpha",
    "coverage_of",
    "fit_calibration",
    "grade_of",
    "grade_sets",
    "load_training_hashes",
    "look",
    "natural_limits",
    "percentile_of",
    "read_calibration",
    "rps_scores",
    "save_training_hashes",
    "upper_limit",
    "write_calibration",
]
