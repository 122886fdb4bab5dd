"""Holds a bundle's answers against held-out images: at its export, and again on the images of a site."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.bundle import MANIFEST, MODEL_CARD, SUFFIX, Bundle, pack, write_manifest
from semise_sdk.calibration import (
    CALIBRATION,
    CALIBRATION_TENSORS,
    DEFAULT_ALPHA,
    TRAINING_IMAGES,
    UNLABELED,
    Calibration,
    Observed,
    Picture,
    canvas_hash,
    fit_calibration,
    load_training_hashes,
    look,
    write_calibration,
)
from semise_sdk.errors import ConfigError, DataError
from semise_sdk.inference.measure import NO_ANSWER, Measurement
from semise_sdk.predictor import Predictor
from semise_sdk.severity.reference_bank import has_direction
from semise_sdk.system.atomic import atomic_folder, write_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutImage:
    """An image to calibrate on: its level where that is known, and the group that is never cut, such as the patient."""

    image: Path
    level: int | None
    group: str


@dataclass(slots=True, eq=False)
class _Kept:
    """What is kept of each image: never its canvas, of which thousands would fill the memory."""

    images: list[HeldOutImage] = field(default_factory=list)
    probabilities: list[tuple[float, ...]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    severity_vectors: list[NDArray[np.float32]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def observe(
    predictor: Predictor,
    images: Sequence[HeldOutImage],
    *,
    rows: Iterable[Measurement],
    known: frozenset[int] = frozenset(),
) -> Observed:
    """Returns what a bare model says of held-out images.

    Args:
        predictor: The model.
        images: The images.
        rows: What ``predictor.iter_observed`` says of them, in order.
        known: Hashes of the model's training images.

    Raises:
        DataError: an image cannot be read or answered, a level is outside of the model's, or the model was trained on
            an image, with every such image listed.
    """
    kept = _Kept()
    problems, trained = [], []
    for image, row in zip(images, rows, strict=True):
        if row.canvas is None or row.embedding is None or row.severity_vector is None:
            problems.append(f"{image.image}: {row.answer.reason}")
        elif not has_direction(row.embedding):
            problems.append(f"{image.image}: {NO_ANSWER}")
        elif known and canvas_hash(row.canvas.pixels) in known:
            trained.append(f"{image.image} (group {image.group})")
        else:
            kept.images.append(image)
            kept.probabilities.append(row.answer.probabilities)
            kept.embeddings.append(row.embedding)
            kept.severity_vectors.append(row.severity_vector)
            kept.pictures.append(look(row.canvas))
    _refuse(problems, trained)
    _refuse_levels(kept.images, len(predictor.model.labels))
    return Observed(
        levels=np.array([UNLABELED if one.level is None else one.level for one in kept.images], np.int64),
        groups=[image.group for image in kept.images],
        probabilities=np.array(kept.probabilities) if predictor.model.has_classifier else None,
        embeddings=np.stack(kept.embeddings),
        severity_vectors=np.stack(kept.severity_vectors),
        pictures=kept.pictures,
    )


def training_hashes(bundle: Bundle) -> frozenset[int]:
    """Returns the hashes of a bundle's training images, none where it does not know them; BundleError: damaged."""
    is_known = TRAINING_IMAGES in bundle.manifest.files
    return load_training_hashes(bundle.read(TRAINING_IMAGES)) if is_known else frozenset()


def calibrate(predictor: Predictor, observed: Observed, *, source: str, alpha: float = DEFAULT_ALPHA) -> Calibration:
    """Returns the calibration of an open model on held-out images (see :func:`fit_calibration`)."""
    return fit_calibration(
        observed, bank=predictor.reference_bank(), labels=predictor.model.labels, source=source, alpha=alpha
    )


def default_place(bundle: Path) -> Path:
    """Returns where a recalibrated bundle goes unless told otherwise: beside the old one, ``-calibrated`` added."""
    suffix = SUFFIX if bundle.suffix == SUFFIX else ""
    return bundle.with_name(f"{bundle.name.removesuffix(suffix)}-calibrated{suffix}")


def check_new(place: Path) -> None:
    """Raises ConfigError where something stands at ``place``: the old bundle is kept, and so is any other."""
    if place.is_symlink() or place.exists():
        raise ConfigError(f"expected a new place for the calibrated bundle, found {place} there: choose another --out")


def write_recalibrated(bundle: Bundle, calibration: Calibration, place: Path) -> None:
    """Writes a copy of a bundle with another calibration, whole or not at all; ``*.semise`` is packed.

    A signature does not go with it: it is another bundle.

    Raises:
        ConfigError: something stands at ``place``.
        BundleError: the bundle was altered since it was opened.
        OutputError: it cannot be written.
    """
    check_new(place)
    target = place.resolve()
    if place.suffix != SUFFIX:
        with atomic_folder(target) as folder:
            _fill(bundle, calibration, folder)
        return
    with tempfile.TemporaryDirectory(prefix="semise-") as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        _fill(bundle, calibration, folder)
        pack(folder, target)


def _fill(bundle: Bundle, calibration: Calibration, folder: Path) -> None:
    manifest = bundle.manifest
    for name in manifest.files:
        if name not in (CALIBRATION, CALIBRATION_TENSORS, MANIFEST):
            write_bytes(folder / name, bundle.read(name))
    write_calibration(folder, calibration)
    if MODEL_CARD in manifest.files:
        write_bytes(folder / MODEL_CARD, bundle.read(MODEL_CARD) + _card_section(calibration).encode())
    write_manifest(
        folder,
        model=manifest.model,
        graphs=manifest.graphs,
        parity=manifest.parity,
        provenance={**manifest.provenance, "calibration": calibration.facts()},
    )


def _card_section(calibration: Calibration) -> str:
    """Returns what the model card of a recalibrated bundle says at its end: the card itself is of the export."""
    facts = "\n".join(f"- {name}: {fact}" for name, fact in calibration.facts().items())
    return f"\n## Recalibrated\n\nIn place of what is said of its calibration above:\n\n{facts}\n"


def _refuse(problems: list[str], trained: list[str]) -> None:
    if trained:
        raise DataError(
            f"expected images that the model was not trained on, found {len(trained)} of its training images (first: "
            f"{trained[0]}): leave out their whole groups",
            problems=trained,
        )
    if problems:
        raise DataError(
            f"expected images that the model can answer, found {len(problems)} that it cannot (first: {problems[0]}): "
            "correct the files or leave them out",
            problems=problems,
        )


def _refuse_levels(images: Sequence[HeldOutImage], classes: int) -> None:
    if not images:
        raise DataError("expected held-out images to calibrate on, found none: name images in the manifest")
    highest = max((image.level for image in images if image.level is not None), default=0)
    if highest >= classes:
        raise DataError(f"expected severity levels 0 to {classes - 1}, found {highest}: grade on the model's own scale")
