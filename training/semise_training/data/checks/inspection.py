"""Looks at every image and mask of a manifest once, in threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers import read_image
from semise_sdk.spec import DicomPolicy
from semise_sdk.system.machine import usable_cores
from semise_sdk.system.progress import Reporter, SilentReporter
from semise_training.data.checks.fingerprints import Fingerprint, fingerprint, near_duplicate_sets
from semise_training.data.manifest import Manifest, Sample
from semise_training.data.masks import is_binary, lesion

# A manifest names no model: what a model refuses, its training says.
_ANY_DICOM = DicomPolicy(sop_classes=("any",), for_processing="accept")

Fact = TypeVar("Fact")


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What is kept of a mask: its upright size in pixels, whether it is binary, and whether it marks a lesion."""

    height: int
    width: int
    is_binary: bool
    has_lesion: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """What looking at one sample found; an error stands where a file could not be read.

    ``mask`` and ``mask_error`` are both None for a sample without a mask.
    """

    fingerprint: Fingerprint | None
    image_error: ImageReadError | None
    mask: MaskFacts | None
    mask_error: ImageReadError | None


def inspect_manifest(manifest: Manifest, *, reporter: Reporter | None = None) -> tuple[Inspection, ...]:
    """Returns the inspection of each sample, in order; a file that cannot be read never stops it."""
    return tuple(_each(inspect_sample, manifest, label="checking images", reporter=reporter))


def alike_sets(inspections: Sequence[Inspection]) -> list[tuple[int, ...]]:
    """Returns the sets of near-duplicates as indices of samples."""
    readable = [index for index, seen in enumerate(inspections) if seen.fingerprint is not None]
    prints = [seen.fingerprint for seen in inspections if seen.fingerprint is not None]
    return [tuple(readable[member] for member in members) for members in near_duplicate_sets(prints)]


def inspect_sample(sample: Sample) -> Inspection:
    """Returns what the files of one sample show."""
    image, image_error = _tried(_fingerprint, sample.image)
    mask, mask_error = (None, None) if sample.mask is None else _tried(_mask_facts, sample.mask)
    return Inspection(image, image_error, mask, mask_error)


def _each(
    look: Callable[[Sample], Fact], manifest: Manifest, *, label: str, reporter: Reporter | None
) -> Iterator[Fact]:
    heard = SilentReporter() if reporter is None else reporter
    heard.start(label, len(manifest.samples))
    executor = ThreadPoolExecutor(max_workers=min(8, usable_cores()))
    try:
        for fact in executor.map(look, manifest.samples):
            heard.step("")
            yield fact
    finally:
        executor.shutdown(cancel_futures=True)


def _tried(look: Callable[[Path], Fact], path: Path) -> tuple[Fact | None, ImageReadError | None]:
    try:
        return look(path), None
    except ImageReadError as error:
        return None, error


def _fingerprint(path: Path) -> Fingerprint:
    return fingerprint(read_image(path, dicom=_ANY_DICOM))


def _mask_facts(path: Path) -> MaskFacts:
    record = read_image(path)
    return MaskFacts(record.height, record.width, is_binary(record), bool(lesion(record).any()))
