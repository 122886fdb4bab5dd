"""Splits: stratified by severity, whole groups only, the same on every machine for the same seed."""

import math
from collections.abc import Iterable, Mapping, Sequence

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.spec import SPLIT_NAMES, SplitName
from semise_training.data.manifest import Manifest
from semise_training.data.splits.allotment import allot
from semise_training.data.splits.blocks import Block, blocks_of

Assignment = tuple[SplitName, ...]

DEFAULT_FRACTIONS: Mapping[SplitName, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
FOLD_FRACTIONS: Mapping[SplitName, float] = {"val": 0.15}


def split(
    manifest: Manifest,
    *,
    seed: int,
    fractions: Mapping[SplitName, float] = DEFAULT_FRACTIONS,
    blocks: Sequence[Block] | None = None,
) -> Assignment:
    """Returns the part of each sample, stratified by severity, with no group cut and every grade in every part.

    Splits that the manifest names are used as they are. A group without labels goes to ``train``, the only part that
    uses unlabeled images; an unlabeled image in a group with labels goes where its group goes.

    Args:
        manifest: The images.
        seed: The draw; a group's place in it depends on the seed and its name only, not on the machine or row order.
        fractions: Share of the labeled images of each part; may name ``calibration`` as a fourth part.
        blocks: The groups that stay together, such as those that hold the same picture under two names (see
            :func:`blocks_of`); each group alone by default.

    Raises:
        DataError: a grade has fewer groups than there are parts, or the manifest names splits for some rows only.
        ConfigError: the fractions do not add up to 1.
    """
    shares = _checked(fractions)
    if manifest.names_splits:
        return _named_splits(manifest, shares)
    what = f"a split into {', '.join(shares)}"
    blocks = blocks_of(manifest) if blocks is None else blocks
    _refuse_scarcity(manifest, blocks, len(shares), what)
    assignment = _assignment(manifest, blocks, allot(blocks, shares, draw=str(seed)))
    _refuse_uncovered(manifest, assignment, shares, what)
    return assignment


def folds(
    manifest: Manifest,
    *,
    fold: int,
    seed: int,
    n: int = 5,
    fractions: Mapping[SplitName, float] = FOLD_FRACTIONS,
    blocks: Sequence[Block] | None = None,
) -> Assignment:
    """Returns the part of each sample in cross-validation: ``test`` is fold ``fold`` of ``n``, the rest is divided.

    The test parts of the ``n`` folds are disjoint and cover every labeled image. Splits that the manifest names are
    not looked at. Unlabeled images and ``blocks`` are treated as :func:`split` does.

    Args:
        manifest: The images.
        fold: Which fold, 0 to n - 1.
        seed: The draw of the folds, and of what is divided in each.
        n: Number of folds.
        fractions: Share of all labeled images of each part beside ``train`` and ``test``.
        blocks: The groups that stay together; see :func:`split`.

    Raises:
        DataError: a grade has too few groups.
        ConfigError: ``fold``, ``n`` or the fractions are out of range.
    """
    if n < 2 or not 0 <= fold < n:
        raise ConfigError(f"expected at least 2 folds and a fold of 0 to one less, found fold {fold} of {n}")
    shares = _shares_of_rest(fractions, n)
    what = f"cross-validation with {n} folds"
    blocks = blocks_of(manifest) if blocks is None else blocks
    _refuse_scarcity(manifest, blocks, max(n, len(shares) + 1), what)
    fold_of = allot(blocks, {str(index): 1 / n for index in range(n)}, draw=str(seed))
    tested: dict[str, SplitName] = {name: "test" for name, index in fold_of.items() if index == str(fold)}
    rest = [block for block in blocks if block.name not in tested]
    assignment = _assignment(manifest, blocks, tested | allot(rest, shares, draw=f"{seed}/{fold}"))
    _refuse_uncovered(manifest, assignment, ("test", *shares), what)
    return assignment


def _checked(fractions: Mapping[SplitName, float]) -> dict[SplitName, float]:
    """Returns the parts that get something; raises ConfigError unless they are parts and add up to 1."""
    unknown = [part for part in fractions if part not in SPLIT_NAMES]
    fit = all(0 <= share <= 1 for share in fractions.values()) and fractions.get("train", 0) > 0
    if unknown or not fit or not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6):
        found = ", ".join(f"{part} {share:g}" for part, share in fractions.items())
        raise ConfigError(f"expected fractions of train, val, test, calibration that add up to 1, found {found}")
    return {part: share for part, share in fractions.items() if share > 0}


def _shares_of_rest(fractions: Mapping[SplitName, float], n: int) -> dict[SplitName, float]:
    """Returns the shares of what one fold of ``n`` leaves over, ``train`` taking what ``fractions`` do not."""
    beside = {part: share for part, share in fractions.items() if share != 0}
    left = 1 - 1 / n - sum(beside.values())
    if left <= 0 or min(beside.values(), default=1) < 0 or not set(beside) <= {"val", "calibration"}:
        found = ", ".join(f"{part} {share:g}" for part, share in fractions.items())
        raise ConfigError(f"expected fractions of val and calibration that leave some of {n} folds, found {found}")
    beside["train"] = left
    return {part: share / (1 - 1 / n) for part, share in beside.items()}


def _named_splits(manifest: Manifest, shares: Mapping[SplitName, float]) -> Assignment:
    unnamed, absent = manifest.without_split, manifest.absent_parts(shares)
    problems = [f"row {sample.row}: {manifest.name_of(sample)} names no split" for sample in unnamed]
    problems += [f"no labeled row names {part}" for part in absent]
    if problems:
        raise DataError(
            f"expected every labeled row of {manifest.path} to name its split, and each of {', '.join(shares)} to be "
            f"named, or no split column at all; found {len(problems)} problems (first: {problems[0]})",
            problems=problems,
        )
    split_of_group = {sample.group: sample.split for sample in manifest.samples if sample.split is not None}
    return tuple(sample.split or split_of_group.get(sample.group) or "train" for sample in manifest.samples)


def _assignment(manifest: Manifest, blocks: Iterable[Block], part_of: Mapping[str, SplitName]) -> Assignment:
    parts: list[SplitName] = ["train"] * len(manifest.samples)
    for block in blocks:
        for index in block.members:
            parts[index] = part_of.get(block.name, "train")
    return tuple(parts)


def _refuse_scarcity(manifest: Manifest, blocks: Sequence[Block], needed: int, what: str) -> None:
    """Raises DataError unless each level is in at least ``needed`` blocks."""
    if not manifest.levels:
        raise DataError(f"expected images with a severity in {manifest.path}, found only unlabeled ones")
    groups = {level: sum(level in block.images for block in blocks) for level in manifest.levels}
    problems = [
        f"severity {level} ({manifest.labels[level]}) is in {groups[level]} groups, {what} needs {needed}"
        for level in manifest.levels
        if groups[level] < needed
    ]
    if problems:
        raise DataError(
            f"{problems[0]}: add images of that grade, merge grades, or ask for fewer parts", problems=problems
        )


def _refuse_uncovered(manifest: Manifest, assignment: Assignment, parts: Iterable[SplitName], what: str) -> None:
    """Raises DataError when a part got no image of some level, which groups of mixed levels can cause."""
    found = {(part, sample.severity) for sample, part in zip(manifest.samples, assignment, strict=True)}
    problems = [
        f"no group was left to give severity {level} ({manifest.labels[level]}) to {part} in {what}"
        for part in parts
        for level in manifest.levels
        if (part, level) not in found
    ]
    if problems:
        raise DataError(
            f"{problems[0]}: its groups hold other grades too; name the splits in the manifest or add images",
            problems=problems,
        )
