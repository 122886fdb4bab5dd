"""The rules of the data check; each yields findings and knows nothing of the others."""

from collections import Counter
from collections.abc import Iterator, Sequence

from semise_training.data.checks.findings import ErrorKind, Finding, about
from semise_training.data.checks.inspection import Inspection
from semise_training.data.manifest import Manifest, Sample
from semise_training.data.splits.blocks import Block
from semise_training.data.splits.split import DEFAULT_FRACTIONS

_LISTED = 6


def all_findings(
    manifest: Manifest,
    inspections: Sequence[Inspection],
    *,
    pixel_hashes: Sequence[str | None],
    blocks: Sequence[Block],
    alike: Sequence[tuple[int, ...]],
) -> list[Finding]:
    """Returns what every rule finds, rule by rule.

    Args:
        manifest: The images.
        inspections: What looking at each of them found.
        pixel_hashes: The hash of each image's pixels; None where it cannot be read.
        blocks: The groups that no split may part.
        alike: Sets of near-duplicates, as indices of samples.
    """
    return [
        *file_findings(manifest, inspections),
        *mask_size_findings(manifest, inspections),
        *mask_content_findings(manifest, inspections),
        *scale_findings(manifest),
        *count_findings(manifest, blocks),
        *split_findings(manifest),
        *pixel_findings(manifest, pixel_hashes),
        *alike_findings(manifest, pixel_hashes, alike),
    ]


def file_findings(manifest: Manifest, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """Yields the images and masks that are missing or cannot be read."""
    for sample, seen in zip(manifest.samples, inspections, strict=True):
        name = manifest.name_of(sample)
        if (error := seen.image_error) is not None:
            image_kind: ErrorKind = "missing_image" if error.code == "not_found" else "unreadable_image"
            yield about(image_kind, manifest, [sample], f"image {name}: {error.reason}")
        if (error := seen.mask_error) is not None:
            mask_kind: ErrorKind = "missing_mask" if error.code == "not_found" else "unreadable_mask"
            yield about(mask_kind, manifest, [sample], f"mask of {name}: {error.reason}")


def mask_size_findings(manifest: Manifest, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """Yields the masks whose upright size is not that of their image."""
    for sample, seen in zip(manifest.samples, inspections, strict=True):
        image, mask = seen.fingerprint, seen.mask
        if image and mask and (mask.height, mask.width) != (image.height, image.width):
            sizes = f"{mask.width}x{mask.height} for an image of {image.width}x{image.height}"
            yield about("mask_size", manifest, [sample], f"the mask of {manifest.name_of(sample)} is {sizes}")


def mask_content_findings(manifest: Manifest, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """Yields at most one finding of a kind: what is odd in one mask is often so in every mask of a data set."""
    masked = [(one, seen.mask) for one, seen in zip(manifest.samples, inspections, strict=True) if seen.mask]
    soft = [sample for sample, mask in masked if not mask.is_binary]
    empty = [sample for sample, mask in masked if sample.severity and not mask.has_lesion]
    lesion_on_healthy = [sample for sample, mask in masked if sample.severity == 0 and mask.has_lesion]
    if soft:
        message = f"masks hold more than two values, above half of the highest is lesion: {listed(manifest, soft)}"
        yield about("mask_not_binary", manifest, soft, message)
    if empty:
        yield about("mask_empty", manifest, empty, f"masks are empty above severity 0: {listed(manifest, empty)}")
    if lesion_on_healthy:
        message = f"masks mark a lesion at severity 0: {listed(manifest, lesion_on_healthy)}"
        yield about("mask_on_healthy", manifest, lesion_on_healthy, message)


def scale_findings(manifest: Manifest) -> Iterator[Finding]:
    """Yields what is wrong with the severity scale, and rows whose label is that of another level."""
    levels = manifest.levels
    if 0 not in levels:
        yield Finding("no_healthy", (), (), "no image of severity 0: severity is measured from healthy images")
    gaps = sorted(set(range(1, max(levels, default=0))) - set(levels))
    if gaps:
        missing = ", ".join(str(level) for level in gaps[:_LISTED]) + (", ..." if len(gaps) > _LISTED else "")
        message = f"no image of severity {missing} below {max(levels)}: levels must be 0, 1, 2, ... without a gap"
        yield Finding("severity_gap", (), (), message)
    for sample in manifest.samples:
        expected = None if sample.severity is None else manifest.labels[sample.severity]
        if sample.label is not None and expected not in (None, sample.label):
            message = (
                f"{manifest.name_of(sample)} is called {sample.label!r}, severity {sample.severity} is {expected!r}"
            )
            yield about("label_mismatch", manifest, [sample], message)


def count_findings(manifest: Manifest, blocks: Sequence[Block]) -> Iterator[Finding]:
    """Yields the classes that are too small to be split."""
    images = Counter(sample.severity for sample in manifest.samples)
    groups = Counter(level for block in blocks for level in block.images)
    parts = len(DEFAULT_FRACTIONS)
    for level in manifest.levels:
        name = f"severity {level} ({manifest.labels[level]})"
        if images[level] < 2:
            message = f"{name} has a single image: it cannot be split"
        elif not manifest.names_splits and groups[level] < parts:
            message = f"{name} is in {groups[level]} groups: a split into {', '.join(DEFAULT_FRACTIONS)} needs {parts}"
        else:
            continue
        yield about("too_few_images", manifest, [s for s in manifest.samples if s.severity == level], message)


def split_findings(manifest: Manifest) -> Iterator[Finding]:
    """Yields what is wrong with the splits that a manifest names, when it names any."""
    if not manifest.names_splits:
        return
    absent = manifest.absent_parts(DEFAULT_FRACTIONS)
    if absent:
        yield Finding("split_incomplete", (), (), f"the split column names no row as {' or '.join(absent)}")
    unnamed = manifest.without_split
    if unnamed:
        message = f"{len(unnamed)} labeled rows name no split while others do: {listed(manifest, unnamed)}"
        yield about("split_incomplete", manifest, unnamed, message)
    for group in manifest.sharing([sample.group for sample in manifest.samples]):
        splits = splits_of(group)
        if len(splits) > 1:
            message = f"group {group[0].group} is in {' and '.join(splits)}: {listed(manifest, group)}"
            yield about("group_in_two_splits", manifest, group, message)


def pixel_findings(manifest: Manifest, pixel_hashes: Sequence[str | None]) -> Iterator[Finding]:
    """Yields the sets of images with identical pixels."""
    for same in manifest.sharing(pixel_hashes):
        names, splits = listed(manifest, same), splits_of(same)
        if len(splits) > 1:
            message = f"the same pixels are in {' and '.join(splits)}: {names}"
            yield about("same_pixels_in_two_splits", manifest, same, message)
        if contradict(same):
            yield about("label_conflict", manifest, same, f"the same pixels have contradicting severities: {names}")
        elif len(splits) <= 1:
            yield about("same_pixels", manifest, same, f"the same pixels occur {len(same)} times: {names}")


def alike_findings(
    manifest: Manifest, pixel_hashes: Sequence[str | None], sets: Sequence[tuple[int, ...]]
) -> Iterator[Finding]:
    """Yields the sets of near-duplicates; a set of nothing but identical pixels is left to the rule above."""
    for members in sets:
        if len({pixel_hashes[index] for index in members}) == 1:
            continue
        alike = [manifest.samples[index] for index in members]
        names, splits = listed(manifest, alike), splits_of(alike)
        if contradict(alike):
            message = f"images that look alike have contradicting severities: {names}"
            yield about("near_duplicate_conflict", manifest, alike, message)
        if len(splits) > 1:
            message = f"images that look alike are in {' and '.join(splits)}: {names}"
            yield about("near_duplicate_in_two_splits", manifest, alike, message)
        if not contradict(alike) and len(splits) <= 1:
            yield about("near_duplicate", manifest, alike, _alike_message(alike, names))


def _alike_message(alike: Sequence[Sample], names: str) -> str:
    if len({sample.group for sample in alike}) == 1:
        return f"images of one group look alike: {names}"
    return f"images of different groups look alike, give them one group so that no split parts them: {names}"


def splits_of(samples: Sequence[Sample]) -> list[str]:
    """Returns the splits that the manifest names for these samples."""
    return sorted({sample.split for sample in samples if sample.split is not None})


def contradict(samples: Sequence[Sample]) -> bool:
    """Returns True when two of the samples have different severities."""
    return len({sample.severity for sample in samples if sample.severity is not None}) > 1


def listed(manifest: Manifest, samples: Sequence[Sample]) -> str:
    """Returns the samples' names with their grades, cut short when there are many."""
    shown = ", ".join(f"{manifest.name_of(one)} ({_grade(manifest, one)})" for one in samples[:_LISTED])
    return shown + (f" and {len(samples) - _LISTED} more" if len(samples) > _LISTED else "")


def _grade(manifest: Manifest, sample: Sample) -> str:
    return "unlabeled" if sample.severity is None else manifest.labels[sample.severity]
