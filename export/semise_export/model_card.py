"""The model card: what a bundle is, what it was trained on, how well it does and what it must not be used for."""

from collections.abc import Iterable, Mapping, Sequence

from semise_export.gate.parity import ParityRow
from semise_export.run import TrainedRun
from semise_sdk.calibration import Calibration
from semise_sdk.results import INTENDED_USE
from semise_sdk.spec import ModelInfo

SETTINGS = (
    "method",
    "seed",
    "encoder.name",
    "encoder.init",
    "input.size",
    "phase1.epochs",
    "phase1.pairs",
    "phase2.epochs",
    "phase2.alpha",
    "phase2.class_pair_weight",
    "phase2.ntxent.scope",
    "phase2.preference.beta",
    "optimizer.name",
    "optimizer.lr",
    "classifier.epochs",
    "unet.epochs",
)

LIMITATIONS = (
    "The severity is a distance from the healthy references in this model's own space: compare it only between images "
    "measured by this bundle from the same reference.",
    "It orders images as the training data's grades did. It is no probability, no measurement of a lesion and no "
    "diagnosis.",
    "Images of another device, protocol, population or disease are outside of what was measured. The gates refuse what "
    "lies far from the calibration images and nothing nearer; calibrate on the site's own images before use.",
    "Grade sets hold the true grade as often as stated over all images like the calibration's, not for each grade, "
    "patient or site.",
    "The severity map shows where an image lies far from the reference: an aid to explanation, not a localisation.",
    "The held-out figures are of one data set and one split; their intervals say nothing of other sites.",
)

NO_PICTURES = "Patient pixels are not part of this bundle."
PICTURES = (
    "This bundle carries patient pixels: thumbnails of the healthy training images that it measures from, in "
    "`references/`. Hand it on as you may hand on those images."
)

_TEMPLATE = """# {name}

{intended_use}

## What it is

{what}

## Intended use

{intended_use} Ordering images of the kind it was trained on by severity, for study and for comparison of methods.
Anyone who acts on its output for a patient does so outside of this intended use.

## Training data

{counts}

{pictures} The split keeps groups (patients, lesions) whole.

## Training

{training}

## Held-out performance

{performance}

## Calibration

{calibration}

## Agreement of the exported graphs with torch

{parity}

## Limitations

{limitations}
"""


def model_card(
    run: TrainedRun,
    rows: Sequence[ParityRow],
    calibration: Calibration | None = None,
    *,
    has_pictures: bool = False,
) -> str:
    """Returns the card of a run as Markdown: facts of its files, its calibration and the export's parity figures.

    Args:
        run: The run.
        rows: The figures.
        calibration: What the bundle's answers are judged by.
        has_pictures: Whether the bundle carries thumbnails of its healthy references.
    """
    return _TEMPLATE.format(
        name=run.model.name,
        intended_use=INTENDED_USE,
        what=_bullets(_facts(run.model)),
        counts=_counts(run),
        pictures=PICTURES if has_pictures else NO_PICTURES,
        training=_table(("setting", "value"), _settings(run.config)),
        performance=_performance(run.evaluation()),
        calibration=_calibration(calibration),
        parity=_parity(rows),
        limitations=_bullets(LIMITATIONS),
    )


def _facts(model: ModelInfo) -> list[str]:
    spec, network = model.spec, model.network
    return [
        f"Encoder: {network.encoder}, {network.feature_dim} pooled features, {network.vector_dim}-d severity vector",
        f"Input: {spec.height} x {spec.width} pixels, {spec.colour}, {spec.fit}, {spec.interpolation}, intensity "
        f"policy {spec.intensity}",
        f"DICOM: {', '.join(spec.dicom.sop_classes)}; of several frames: {spec.dicom.frames}; text burned in: "
        f"{spec.dicom.burned_in}; for processing: {spec.dicom.for_processing}; side: {spec.dicom.laterality}",
        f"Grades, from healthy to most severe: {', '.join(model.labels)}",
        "Answers: severity (cosine distance to the reference, 0 to 2)"
        + (", grade" if model.has_classifier else "")
        + (f", lesion mask (from probability {model.mask_threshold:g})" if model.has_segmenter else ""),
        f"Reference: {model.reference_mode} of healthy training images",
    ]


def _counts(run: TrainedRun) -> str:
    counts = run.counts()
    labels = [*run.model.labels, *sorted({label for part in counts.values() for label in part} - {*run.model.labels})]
    cells = [(label or "unlabeled", *(str(part[label]) for part in counts.values())) for label in labels]
    total = ("all", *(str(part.total()) for part in counts.values()))
    return _table(("grade", *counts), [*cells, total])


def _settings(config: Mapping[str, object]) -> list[tuple[str, str]]:
    found = ((name, _setting(config, name)) for name in SETTINGS)
    return [(name, str(value)) for name, value in found if value is not None]


def _setting(config: Mapping[str, object], name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _performance(report: Mapping[str, object] | None) -> str:
    if report is None:
        return "Not measured: no evaluation.json in the run folder. `semise evaluate` measures it."
    rows = [
        (name, _figure(figures.get("value")), _interval(figures), str(figures.get("n", "")))
        for name, figures in report.items()
        if isinstance(figures, Mapping) and figures.get("value") is not None
    ]
    return "On the run's test part, with 95 % bootstrap intervals by group.\n\n" + _table(
        ("metric", "value", "95 % interval", "images"), rows
    )


def _calibration(calibration: Calibration | None) -> str:
    if calibration is None:
        return "None: no grade sets, percentiles or gates."
    facts = _bullets(f"{name}: {fact}" for name, fact in calibration.facts().items())
    if calibration.sets is None:
        return facts
    cells = [
        (label, _figure(one.value), _interval(one.to_json()), str(one.n))
        for label, one in calibration.sets.of_grade.items()
    ]
    return f"{facts}\n\n" + _table(("grade", "sets that hold it", "95 % interval", "images"), cells)


def _interval(figures: Mapping[str, object]) -> str:
    low, high = figures.get("low"), figures.get("high")
    return "-" if low is None or high is None else f"{_figure(low)} to {_figure(high)}"


def _parity(rows: Sequence[ParityRow]) -> str:
    if not rows:
        return "No backend to compare was installed."
    first = rows[0].agreement
    cells = [
        (
            row.backend,
            row.precision,
            _figure(row.agreement.kendall_tau, digits=6),
            str(row.agreement.rank_displacement),
            _figure(row.agreement.class_flips),
            _figure(row.agreement.dice, digits=6),
            f"{row.agreement.severity_error:.1e}",
            f"{row.stability.severity_error:.1e}",
        )
        for row in rows
    ]
    head = (
        "backend",
        "precision",
        "Kendall tau",
        "worst displacement",
        "flips",
        "Dice",
        "severity error",
        "batch error",
    )
    return f"On {first.images} validation and test images, file to score.\n\n" + _table(head, cells)


def _figure(value: object, *, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else "-" if value is None else str(value)


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
