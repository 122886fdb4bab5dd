"""From a manifest to the arrays of a run: check, split and write the split down, decode once."""

from collections.abc import Sequence

from semise_sdk.errors import DataError
from semise_sdk.system.progress import Reporter
from semise_training.config import TrainConfig
from semise_training.data.cache import build_cache
from semise_training.data.checks.check import check, refuse_leakage
from semise_training.data.dataset import Dataset, build_dataset
from semise_training.data.manifest import Manifest, load_manifest
from semise_training.data.splits.fraction import hide_labels
from semise_training.data.splits.split import Assignment, folds, read_split, split, write_split
from semise_training.loop.run_folder import RunFolder


def prepare(config: TrainConfig, run: RunFolder, *, reporter: Reporter) -> Dataset:
    """Returns the data of a run; the split is made once and read back afterwards.

    Raises:
        DataError: anything that ``semise data check`` calls an error, all of it at once.
    """
    manifest = load_manifest(config.data.manifest, columns=config.data.columns)
    if not run.split.exists():
        hashes = checked_hashes(manifest, reporter=reporter)
        write_split(run.split, manifest, assign(manifest, config, hashes))
    assignment = read_split(run.split, manifest)
    cache = build_cache(run.cache, manifest.samples, config.input.spec(), reporter=reporter)
    dataset = build_dataset(manifest, assignment, cache)
    return hide_labels(dataset, fraction=config.data.label_fraction, seed=config.split_seed)


def checked_hashes(manifest: Manifest, *, reporter: Reporter) -> tuple[str | None, ...]:
    """Returns the pixel hash of each image of a manifest without errors.

    Raises:
        DataError: anything that ``semise data check`` calls an error, all of it at once.
    """
    report = check(manifest, reporter=reporter)
    if not report.ok:
        problems = [finding.message for finding in report.errors]
        raise DataError(f"{manifest.path} has {len(problems)} errors: see `semise data check`", problems)
    if report.warnings:
        reporter.say(f"{len(report.warnings)} warnings about the data: see `semise data check {manifest.path}`")
    return report.pixel_hashes


def assign(manifest: Manifest, config: TrainConfig, hashes: Sequence[str | None]) -> Assignment:
    """Returns the part of each sample, as the configuration splits them.

    Raises:
        DataError: a grade has too few groups, or a group or the same pixels would be in two parts.
    """
    data, seed = config.data, config.split_seed
    if data.folds:
        assignment = folds(manifest, n=data.folds, fold=data.fold, seed=seed, pixel_hashes=hashes)
    else:
        assignment = split(manifest, fractions=data.fractions, seed=seed, pixel_hashes=hashes)
    refuse_leakage(manifest, assignment, pixel_hashes=hashes)
    return assignment
