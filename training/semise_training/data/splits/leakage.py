"""Leakage: a group, or the same picture, in two parts of a split."""

from collections.abc import Mapping, Sequence

from semise_sdk.errors import DataError
from semise_training.data.manifest import Manifest, Sample
from semise_training.data.splits.split import Assignment


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
    groups = manifest.sharing([sample.group for sample in manifest.samples])
    problems = [_torn(f"group {torn[0].group}", torn, part_of) for torn in _parted(groups, part_of)]
    identical = [] if pixel_hashes is None else manifest.sharing(pixel_hashes)
    problems += [_torn("the same image", torn, part_of) for torn in _parted(identical, part_of)]
    if problems:
        raise DataError(
            f"expected every group and every image in one split, found {len(problems)} in two "
            f"(first: {problems[0]}); correct the manifest's group or split column",
            problems=problems,
        )


def _parted(sets: Sequence[Sequence[Sample]], part_of: Mapping[int, str]) -> list[Sequence[Sample]]:
    return [samples for samples in sets if len({part_of[sample.row] for sample in samples}) > 1]


def _torn(what: str, samples: Sequence[Sample], part_of: Mapping[int, str]) -> str:
    parts = " and ".join(sorted({part_of[sample.row] for sample in samples}))
    rows = ", ".join(str(sample.row) for sample in samples[:6]) + (", ..." if len(samples) > 6 else "")
    return f"{what} is in {parts} (rows {rows})"
