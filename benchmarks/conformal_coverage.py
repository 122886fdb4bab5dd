"""How often grade sets hold the true grade on groups that were held out, and what the gates do to spoiled images.

    python benchmarks/conformal_coverage.py RUN [--bundle RUN/bundle] [--alpha 0.1] [--repeats 200] [--json FILE]

The bundle is calibrated as ``semise export`` does, on the run's calibration part, else on its validation part, and
measured on its test part, which nothing was trained, chosen or calibrated on. One split is one draw: so the groups of
both parts are also dealt anew many times, one half to calibrate on and one to measure. Last, the test images are
spoiled in several ways and answered for: turned, inverted, blurred, of one colour.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from semise_export.run import CALIBRATION_PARTS, TrainedRun
from semise_sdk.calibration import Calibration, Observed, coverage_of, fit_calibration, grade_sets
from semise_sdk.images.readers import read_image
from semise_sdk.metrics import Estimate
from semise_sdk.predictor import Predictor
from semise_sdk.results import Classification
from semise_sdk.system.machine import describe_machine
from semise_sdk.workflows.calibrate import HeldOutImage, calibrate, observe

Spoil = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def _blurred(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(max(pixels.shape[:2]) / 40)))


SPOILED: dict[str, Spoil] = {
    "as they are": lambda pixels: pixels,
    "upside down": lambda pixels: np.ascontiguousarray(pixels[::-1]),
    "a quarter turned": lambda pixels: np.ascontiguousarray(np.rot90(pixels)),
    "inverted": lambda pixels: 255 - pixels,
    "blurred": _blurred,
    "8 times darker": lambda pixels: pixels // 8,
    "noise": lambda pixels: np.random.default_rng(pixels.size).integers(0, 256, pixels.shape, dtype=np.uint8),
    "black": np.zeros_like,
    "white": lambda pixels: np.full_like(pixels, 255),
    "one grey": lambda pixels: np.full_like(pixels, int(pixels.mean())),
}


def main() -> None:
    """Measures, prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run whose images are where its manifest says")
    parser.add_argument("--bundle", type=Path, help="its bundle; RUN/bundle by default")
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    run = TrainedRun.open(options.run)
    with Predictor.open(options.bundle or options.run / "bundle", calibrated=False) as predictor:
        figures = measure(run, predictor, alpha=options.alpha, repeats=options.repeats)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps({"machine": describe_machine(), **figures}, indent=2) + "\n")


def measure(run: TrainedRun, predictor: Predictor, *, alpha: float, repeats: int) -> dict[str, object]:
    """Returns every figure as plain data."""
    part, images = run.calibration_images()
    tested = test_images(run)
    known, unseen = (observed_of(predictor, some) for some in (images, tested))
    calibration = calibrate(predictor, known, source=f"part {part}, {CALIBRATION_PARTS[part]}", alpha=alpha)
    predictor.calibration = calibration
    answers = predictor.classify([image.image for image in tested])
    return {
        "calibrated_on": calibration.facts(),
        "test_groups": len(set(unseen.groups)),
        "coverage": coverage_of_answers(answers, tested, predictor.model.labels),
        "ungated": _row(set_coverage(calibration, unseen), set_sizes(calibration, unseen)),
        "redrawn": redrawn(predictor, known, unseen, alpha=alpha, repeats=repeats),
        "spoiled": {name: statuses(predictor, tested, spoil) for name, spoil in SPOILED.items()},
    }


def test_images(run: TrainedRun) -> list[HeldOutImage]:
    """Returns the images of the run's test part."""
    levels = {label: level for level, label in enumerate(run.model.labels)}
    return [
        HeldOutImage(image=row.image, level=levels[row.label], group=row.group)
        for row in run.rows
        if row.part == "test"
    ]


def observed_of(predictor: Predictor, images: list[HeldOutImage]) -> Observed:
    """Returns what the bare model says of images."""
    return observe(predictor, images, rows=predictor.iter_observed([image.image for image in images]))


def coverage_of_answers(
    answers: Iterable[Classification], images: list[HeldOutImage], labels: tuple[str, ...]
) -> dict[str, object]:
    """Returns coverage and set size of what the runtime answers, over all grades and of each."""
    pairs = [(answer, image) for answer, image in zip(answers, images, strict=True) if answer.grade_set]

    def row(level: int | None) -> dict[str, object]:
        some = [pair for pair in pairs if level in (None, pair[1].level)]
        covered = np.array([labels[image.level or 0] in answer.grade_set for answer, image in some], np.bool_)
        sizes = np.array([len(answer.grade_set) for answer, _ in some])
        return _row(coverage_of(covered, [image.group for _, image in some]), sizes)

    return {"all": row(None), **{label: row(level) for level, label in enumerate(labels)}}


def set_coverage(calibration: Calibration, observed: Observed) -> Estimate:
    """Returns the coverage of sets on observed images, no gate applied."""
    covered = _sets(calibration, observed)[np.arange(len(observed)), observed.levels]
    return coverage_of(covered, observed.groups)


def set_sizes(calibration: Calibration, observed: Observed) -> NDArray[np.intp]:
    """Returns the number of grades in each set."""
    return np.asarray(_sets(calibration, observed).sum(axis=1))


def redrawn(
    predictor: Predictor, known: Observed, unseen: Observed, *, alpha: float, repeats: int
) -> dict[str, float | int]:
    """Returns the coverage over new deals of all held-out groups into a half to calibrate on and one to measure."""
    bank, labels = predictor.reference_bank(), predictor.model.labels
    both = joined(known, unseen)
    codes = np.unique(np.asarray(both.groups), return_inverse=True)[1]
    found, sizes = [], []
    for repeat in range(repeats):
        order = np.random.default_rng(repeat).permutation(codes.max() + 1)
        is_measured = np.isin(codes, order[: len(order) // 2])
        fitted = fit_calibration(
            both.only(np.flatnonzero(~is_measured)), bank=bank, labels=labels, source="", alpha=alpha
        )
        if fitted.sets is not None:  # a half of under 100 images claims nothing
            measured = both.only(np.flatnonzero(is_measured))
            found.append(_sets(fitted, measured)[np.arange(len(measured)), measured.levels].mean())
            sizes.append(set_sizes(fitted, measured).mean())
    low, high = np.quantile(found, [0.025, 0.975])
    return {
        "repeats": len(found),
        "mean": float(np.mean(found)),
        "low": float(low),
        "high": float(high),
        "mean_size": float(np.mean(sizes)),
    }


def joined(one: Observed, other: Observed) -> Observed:
    """Returns the images of both."""
    return Observed(
        levels=np.concatenate([one.levels, other.levels]),
        groups=[*one.groups, *other.groups],
        probabilities=np.concatenate([_graded(one), _graded(other)]),
        embeddings=np.concatenate([one.embeddings, other.embeddings]),
        severity_vectors=np.concatenate([one.severity_vectors, other.severity_vectors]),
        pictures=[*one.pictures, *other.pictures],
    )


def statuses(predictor: Predictor, images: list[HeldOutImage], spoil: Spoil) -> dict[str, int]:
    """Returns how many spoiled images got each status."""
    pixels = (spoil(np.asarray(read_image(image.image).pixels, np.uint8)) for image in images)
    answers = list(predictor.iter_severity(pixels))
    counts = Counter(answer.status for answer in answers)
    return {status: counts[status] for status in ("ok", "review", "abstain", "error")}


def show(figures: dict[str, object]) -> None:
    """Prints the figures as tables."""
    console = Console()
    console.print(figures["calibrated_on"])
    sets = Table("images", "n", "coverage", "95 % interval", "grades in a set", title="grade sets on the test part")
    rows = {**_mapping(figures["coverage"]), "all, no gate": figures["ungated"]}
    for name, row in rows.items():
        cells = _mapping(row)
        sets.add_row(name, *(_text(cells[key]) for key in ("n", "coverage", "interval", "mean_size")))
    console.print(sets)
    console.print({"groups dealt anew": figures["redrawn"]})
    spoiled = Table("test images", "ok", "review", "abstain", "error", title="what is answered")
    for name, row in _mapping(figures["spoiled"]).items():
        spoiled.add_row(name, *map(str, _mapping(row).values()))
    console.print(spoiled)


def _sets(calibration: Calibration, observed: Observed) -> NDArray[np.bool_]:
    if calibration.sets is None:
        raise SystemExit(f"no grade sets: {calibration.facts()['grade sets']}")
    return grade_sets(calibration.sets.probabilities(_graded(observed)), calibration.sets.threshold)


def _graded(observed: Observed) -> NDArray[np.float64]:
    if observed.probabilities is None:
        raise SystemExit("no grade sets: the model has no classifier")
    return observed.probabilities


def _row(estimate: Estimate, sizes: NDArray[np.integer]) -> dict[str, object]:
    size = float(sizes.mean()) if len(sizes) else None
    return {"n": estimate.n, "coverage": estimate.value, "interval": [estimate.low, estimate.high], "mean_size": size}


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"{_text(value[0])} to {_text(value[1])}"
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)


if __name__ == "__main__":
    main()
