"""From a manifest to the arrays of a run: check, split and write the split down, decode once."""

from semise_sdk.errors import DataError
from semise_sdk.reporting import Reporter
from semise_training.config import DataConfig, TrainConfig
from semise_training.data.cache import build_cache
from semise_training.data.check import check, refuse_leakage
from semise_training.data.dataset import Dataset, build_dataset
from semise_training.data.manifest import Manifest, load_manifest
from semise_training.data.split import Assignment, folds, read_split, split, write_split
from semise_training.run_folder import RunFolder


def prepare(config: TrainConfig, run: RunFolder, *, reporter: Reporter) -> Dataset:
    """Returns the data of a run; the split is made once and read back afterwards.

    Raises:
        DataError: anything that ``semise data check`` calls an error, all of it at once.
    """
    manifest = load_manifest(config.data.manifest, columns=config.data.columns)
    if not run.split.exists():
        hashes = _checked_hashes(manifest, reporter)
        write_split(run.split, manifest, _assign(manifest, config.data, hashes, seed=config.seed))
    assignment = read_split(run.split, manifest)
    cache = build_cache(run.cache, manifest.samples, config.input.spec(), reporter=reporter)
    return build_dataset(manifest, assignment, cache)


def _checked_hashes(manifest: Manifest, reporter: Reporter) -> tuple[str | None, ...]:
    """Returns the pixel hash of each image of a manifest without errors."""
    report = check(manifest, reporter=reporter)
    if not report.ok:
        problems = [finding.message for finding in report.errors]
        raise DataError(f"{manifest.path} has {len(problems)} errors: see `semise data check`", problems)
    if report.warnings:
        reporter.say(f"{len(report.warnings)} warnings about the data: see `semise data check {manifest.path}`")
    return report.pixel_hashes


def _assign(manifest: Manifest, data: DataConfig, hashes: tuple[str | None, ...], *, seed: int) -> Assignment:
    if data.folds:
        assignment = folds(manifest, n=data.folds, fold=data.fold, seed=seed, pixel_hashes=hashes)
    else:
        assignment = split(manifest, fractions=data.fractions, seed=seed, pixel_hashes=hashes)
    refuse_leakage(manifest, assignment, pixel_hashes=hashes)
    return assignment
