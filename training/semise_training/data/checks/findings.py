"""What a data check found: findings with row numbers, and the report that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from semise_training.data.manifest import Manifest, Sample
from semise_training.data.splits.blocks import Block

ErrorKind = Literal[
    "bad_row",
    "missing_image",
    "unreadable_image",
    "missing_mask",
    "unreadable_mask",
    "mask_size",
    "severity_gap",
    "no_healthy",
    "too_few_images",
    "split_incomplete",
    "group_in_two_splits",
    "same_pixels_in_two_splits",
]
WarningKind = Literal[
    "label_conflict",
    "near_duplicate_conflict",
    "near_duplicate_in_two_splits",
    "label_mismatch",
    "mask_not_binary",
    "mask_empty",
    "mask_on_healthy",
    "same_pixels",
    "near_duplicate",
]
Kind = ErrorKind | WarningKind

ERRORS: tuple[str, ...] = get_args(ErrorKind)
WARNINGS: tuple[str, ...] = get_args(WarningKind)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a data set.

    Args:
        kind: Stable machine-readable name of what is wrong.
        rows: 1-based line numbers in the manifest; empty when it concerns the file as a whole.
        files: Paths as the manifest gives them, in the order of ``rows``.
        message: One sentence for a person.

    Example:
        >>> Finding("missing_image", (4,), ("a.png",), "the file does not exist: a.png").level
        'error'
    """

    kind: Kind
    rows: tuple[int, ...]
    files: tuple[str, ...]
    message: str

    @property
    def level(self) -> Literal["error", "warning"]:
        """``error`` for what training refuses, ``warning`` for what a person should look at."""
        return "error" if self.kind in ERRORS else "warning"

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data."""
        return {
            "kind": self.kind,
            "level": self.level,
            "rows": list(self.rows),
            "files": list(self.files),
            "message": self.message,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything a check found.

    Args:
        manifest: The manifest file.
        findings: Errors first, then by kind and row.
        images: Number of rows that name an image.
        unlabeled: Number of those without a severity.
        classes: Images per grade name, in severity order.
        splits: Images per grade name (``unlabeled`` for the rest), for each split that the manifest names.
        near_duplicate_images: Images that look like another one, identical ones included.
        near_duplicate_sets: Number of sets that those form.
        pixel_hashes: Pixel hash of each sample, in order; None where the image cannot be read. Not part of the JSON.
        blocks: The groups that no split may part, those with the same pixels as one. Not part of the JSON.
    """

    manifest: str
    findings: tuple[Finding, ...]
    images: int
    unlabeled: int
    classes: Mapping[str, int]
    splits: Mapping[str, Mapping[str, int]]
    near_duplicate_images: int
    near_duplicate_sets: int
    pixel_hashes: tuple[str | None, ...]
    blocks: tuple[Block, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is wrong that training refuses; warnings may remain."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that training refuses."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that a person should look at."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data."""
        return {
            "manifest": self.manifest,
            "ok": self.ok,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "counts": {
                "images": self.images,
                "unlabeled": self.unlabeled,
                "classes": dict(self.classes),
                "splits": {name: dict(counts) for name, counts in self.splits.items()},
                "near_duplicate_images": self.near_duplicate_images,
                "near_duplicate_sets": self.near_duplicate_sets,
            },
            "findings": [finding.to_json() for finding in self.findings],
        }


def about(kind: Kind, manifest: Manifest, samples: Sequence[Sample], message: str) -> Finding:
    """Returns a finding about some samples of a manifest."""
    return Finding(kind, tuple(sample.row for sample in samples), named(manifest, samples), message)


def named(manifest: Manifest, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Returns the samples' image paths as the manifest gives them."""
    return tuple(manifest.name_of(sample) for sample in samples)


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Returns errors first, then warnings, the gravest kinds first and each kind by row."""
    order = {kind: place for place, kind in enumerate((*ERRORS, *WARNINGS))}
    return tuple(sorted(findings, key=lambda finding: (order[finding.kind], finding.rows)))
