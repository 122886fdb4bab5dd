"""The data check: everything that is wrong with a manifest and its images, at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.system.progress import Reporter
from semise_sdk.tables.read import Problem
from semise_training.data.checks.findings import CheckReport, Finding, in_order
from semise_training.data.checks.inspection import inspect_manifest
from semise_training.data.checks.rules import (
    alike_findings,
    alike_sets,
    count_findings,
    file_findings,
    mask_content_findings,
    mask_size_findings,
    pixel_findings,
    same_key,
    scale_findings,
    split_findings,
)
from semise_training.data.manifest import Manifest, Sample, scan_manifest
from semise_training.data.splits.split import Assignment

__all__ = [
    "CheckReport",
    "Finding",
    "check",
    "check_file",
    "images_per_grade",
    "images_per_split",
    "refuse_leakage",
]


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
    sets = alike_sets(inspections)
    findings = [Finding("bad_row", (problem.row,), (), problem.message) for problem in problems]
    findings += file_findings(manifest, inspections)
    findings += mask_size_findings(manifest, inspections)
    findings += mask_content_findings(manifest, inspections)
    findings += scale_findings(manifest)
    findings += count_findings(manifest, inspections)
    findings += split_findings(manifest)
    findings += pixel_findings(manifest, inspections)
    findings += alike_findings(manifest, inspections, sets)
    return CheckReport(
        manifest=manifest.path.as_posix(),
        findings=in_order(findings),
        images=len(manifest.samples),
        unlabeled=sum(sample.severity is None for sample in manifest.samples),
        classes=images_per_grade(manifest, manifest.samples),
        splits=images_per_split(manifest),
        near_duplicate_images=sum(len(members) for members in sets),
        near_duplicate_sets=len(sets),
        pixel_hashes=tuple(seen.fingerprint.pixels if seen.fingerprint else None for seen in inspections),
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


def refuse_leakage(
    manifest: Manifest, assignment: Assignment, *, pixel_hashes: Sequence[str | None] | None = None
) -> None:
    """Raises DataError, with every case in ``problems``, when a group or the same pixels are in two splits.

    Args:
        manifest: The images.
        assignment: The split of each sample.
        pixel_hashes: The pixel hash of each sample (see CheckReport).
    """
    part_of = {sample.row: part for sample, part in zip(manifest.samples, assignment, strict=True)}
    groups = same_key(manifest, [sample.group for sample in manifest.samples])
    problems = [_torn(f"group {torn[0].group}", torn, part_of) for torn in _parted(groups, part_of)]
    identical = [] if pixel_hashes is None else same_key(manifest, pixel_hashes)
    problems += [_torn("the same image", torn, part_of) for torn in _parted(identical, part_of)]
    if problems:
        raise DataError(
            f"expected every group and every image in one split, found {len(problems)} in two "
            f"(first: {problems[0]}); mend the manifest's group or split column",
            problems=problems,
        )


def _parted(sets: Sequence[Sequence[Sample]], part_of: Mapping[int, str]) -> list[Sequence[Sample]]:
    return [samples for samples in sets if len({part_of[sample.row] for sample in samples}) > 1]


def _torn(what: str, samples: Sequence[Sample], part_of: Mapping[int, str]) -> str:
    parts = " and ".join(sorted({part_of[sample.row] for sample in samples}))
    rows = ", ".join(str(sample.row) for sample in samples[:6]) + (", ..." if len(samples) > 6 else "")
    return f"{what} is in {parts} (rows {rows})"
