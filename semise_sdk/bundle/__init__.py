"""The bundle: a model with everything it needs in one folder, verified before any parser touches it."""

from semise_sdk.bundle.bundle import (
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MODEL_CARD,
    MODEL_FILES,
    REFERENCE_PICTURES,
    REFERENCES,
    SUFFIX,
    WEIGHTS,
    Bundle,
    GraphFile,
    GraphName,
    RunModel,
    is_run,
    open_run,
    reference_picture,
)
from semise_sdk.bundle.write import check_place, pack, sign, write_manifest

# fmt: off
__all__ = [
    "CALIBRATION", "GOLDEN", "MANIFEST", "MODEL_CARD", "MODEL_FILES", "REFERENCES", "REFERENCE_PICTURES", "SUFFIX",
    "WEIGHTS", "Bundle", "GraphFile", "GraphName", "RunModel", "check_place", "is_run", "open_run", "pack",
    "reference_picture", "sign", "write_manifest",
]
# fmt: on
