"""The public names are frozen: a name that appears or goes is a decision, and changes this list."""

import semise_sdk

PUBLIC = [
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


def test_the_public_names_are_these():
    assert sorted(semise_sdk.__all__) == PUBLIC
    assert list(semise_sdk.__all__) == sorted(semise_sdk.__all__)
    assert all(hasattr(semise_sdk, name) for name in PUBLIC)


def test_version_and_changelog_agree():
    from pathlib import Path

    changelog = Path(semise_sdk.__file__).parents[1] / "CHANGELOG.md"
    first = next(line for line in changelog.read_text().splitlines() if line.startswith("## "))
    assert first.split()[1] == semise_sdk.__version__
