"""The data check: everything that is wrong with a manifest and its images, at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from semise_sdk.system.progress import Reporter
from semise_sdk.tables.read import Problem
from semise_training.data.checks.findings import CheckReport, Finding, in_order
from semise_training.data.checks.inspection import alike_sets, inspect_manifest
from semise_training.data.checks.rules import all_findings
from semise_training.data.manifest import Manifest, Sample, scan_manifest
from semise_training.data.splits.blocks import blocks_of

__all__ = ["CheckReport", "Finding", "check", "check_file", "images_per_grade", "images_per_split"]


def check_file(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    root: Path | None = None,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Returns the report of a manifest file: the wrong rows, and all that :func:`check` finds in the others.

    Raises:
        DataError: the file is unusable as a whole.
        ConfigError: ``columns`` names a column that is not ours.
    """
    scan = scan_manifest(path, columns=columns, root=root)
    return check(scan.manifest, problems=scan.problems, reporter=reporter)


def check(manifest: Manifest, *, problems: Sequence[Problem] = (), reporter: Reporter | None = None) -> CheckReport:
    """Returns everything that is wrong with the images, masks, severities and splits of a manifest.

    Each file is decoded once. ``problems`` are the wrong rows that reading the file left out.
    """
    inspections = inspect_manifest(manifest, reporter=reporter)
    pixel_hashes = tuple(None if seen.fingerprint is None else seen.fingerprint.pixels for seen in inspections)
    blocks = tuple(blocks_of(manifest, pixel_hashes))
    sets = alike_sets(inspections)
    findings = [Finding("bad_row", (problem.row,), (), problem.message) for problem in problems]
    findings += all_findings(manifest, inspections, pixel_hashes=pixel_hashes, blocks=blocks, alike=sets)
    return CheckReport(
        manifest=manifest.path.as_posix(),
        findings=in_order(findings),
        images=len(manifest.samples),
        unlabeled=sum(sample.severity is None for sample in manifest.samples),
        classes=images_per_grade(manifest, manifest.samples),
        splits=images_per_split(manifest),
        near_duplicate_images=sum(len(members) for members in sets),
        near_duplicate_sets=len(sets),
        pixel_hashes=pixel_hashes,
        blocks=blocks,
    )


def images_per_split(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Returns the images of each grade (see :func:`images_per_grade`) in each split that the manifest names."""
    members: dict[str, list[Sample]] = {}
    for sample in manifest.samples:
        if sample.split is not None:
            members.setdefault(sample.split, []).append(sample)
    return {part: images_per_grade(manifest, samples) for part, samples in sorted(members.items())}


def images_per_grade(manifest: Manifest, samples: Sequence[Sample]) -> dict[str, int]:
    """Returns the images of each grade in severity order, and the unlabeled ones when there are any."""
    counts = Counter(sample.severity for sample in samples)
    named = {label: counts[level] for level, label in enumerate(manifest.labels)}
    return named | ({"unlabeled": counts[None]} if counts[None] else {})
