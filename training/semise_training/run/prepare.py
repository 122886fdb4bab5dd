"""From a manifest to the arrays of a run: check, split and write the split down, decode once."""

from collections.abc import Sequence

from semise_sdk.errors import DataError
from semise_sdk.system.progress import Reporter
from semise_training.config import TrainConfig
from semise_training.data.cache import build_cache
from semise_training.data.checks.check import CheckReport, check
from semise_training.data.dataset import Dataset, build_dataset
from semise_training.data.manifest import Manifest, load_manifest
from semise_training.data.splits.blocks import Block
from semise_training.data.splits.fraction import hide_labels
from semise_training.data.splits.leakage import refuse_leakage
from semise_training.data.splits.split import Assignment, folds, split
from semise_training.data.splits.split_file import read_split, write_split
from semise_training.loop.run_folder import RunFolder


def prepare(config: TrainConfig, run: RunFolder, *, reporter: Reporter) -> Dataset:
    """Returns the data of a run. Its split is made once and written down; a resumed run reads it.

    Raises:
        DataError: anything that ``semise data check`` calls an error, all of it at once.
    """
    manifest = load_manifest(config.data.manifest, columns=config.data.columns)
    if run.split.exists():
        assignment = read_split(run.split, manifest)
    else:
        report = checked_report(manifest, reporter=reporter)
        assignment = assign(manifest, config, blocks=report.blocks, pixel_hashes=report.pixel_hashes)
        write_split(run.split, manifest, assignment)
    cache = build_cache(run.cache, manifest.samples, config.input.spec(), reporter=reporter)
    dataset = build_dataset(manifest, assignment, cache)
    return hide_labels(dataset, fraction=config.data.label_fraction, seed=config.split_seed)


def checked_report(manifest: Manifest, *, reporter: Reporter) -> CheckReport:
    """Returns the report of a manifest without errors.

    Raises:
        DataError: anything that ``semise data check`` calls an error, all of it at once.
    """
    report = check(manifest, reporter=reporter)
    if not report.ok:
        problems = [finding.message for finding in report.errors]
        raise DataError(f"{manifest.path} has {len(problems)} errors: see `semise data check`", problems)
    if report.warnings:
        reporter.say(f"{len(report.warnings)} warnings about the data: see `semise data check {manifest.path}`")
    return report


def assign(
    manifest: Manifest, config: TrainConfig, *, blocks: Sequence[Block], pixel_hashes: Sequence[str | None]
) -> Assignment:
    """Returns the part of each sample, as the configuration splits them; see CheckReport for the last two arguments.

    Raises:
        DataError: a grade has too few groups, or a group or the same pixels would be in two parts.
    """
    data, seed = config.data, config.split_seed
    if data.folds:
        assignment = folds(manifest, n=data.folds, fold=data.fold, seed=seed, blocks=blocks)
    else:
        assignment = split(manifest, fractions=data.fractions, seed=seed, blocks=blocks)
    refuse_leakage(manifest, assignment, pixel_hashes=pixel_hashes)
    return assignment
