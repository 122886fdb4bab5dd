"""``semise calibrate``: a bundle's answers held against a site's own images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from semise_sdk.bundle import Bundle
from semise_sdk.calibration import DEFAULT_ALPHA, Calibration, check_alpha, natural_limits
from semise_sdk.cli.console import JsonOption, PublicKeyOption, QuietOption, print_json, say, stdout, tracked
from semise_sdk.cli.options import Columns
from semise_sdk.errors import DataError
from semise_sdk.predictor import Predictor
from semise_sdk.workflows.calibrate import (
    HeldOutImage,
    calibrate,
    check_new,
    default_place,
    observe,
    training_hashes,
    write_recalibrated,
)

if TYPE_CHECKING:
    from semise_training.data.manifest import Manifest

PART = "calibration"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("calibrate")(calibrate_bundle)


def calibrate_bundle(
    bundle: Annotated[Path, typer.Argument(help="The bundle; it is left as it is.", show_default=False)],
    data: Annotated[
        Path, typer.Argument(help="Manifest of the site's images, as for training; severity may be empty.")
    ],
    *,
    columns: Columns = "",
    alpha: Annotated[float, typer.Option(help="Share of images whose grade set may miss the true grade.")] = (
        DEFAULT_ALPHA
    ),
    out: Annotated[
        Path | None, typer.Option(help="The new bundle; BUNDLE-calibrated by default.", show_default=False)
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or pytorch; see semise doctor.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of the backend.")] = "auto",
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Writes a copy of a bundle whose gates, grade sets and percentiles are those of a site's own images.

    Take images as they come in, of patients that the model was not trained on, at least 100 of 10 patients. Of a
    manifest with splits, those of split calibration are taken. The new bundle holds vectors of the images, no pixels,
    and no signature: sign it where a key is required.
    """
    place = out or default_place(bundle)
    check_new(place)
    check_alpha(alpha)
    with Bundle.open(bundle, public_key=public_key) as opened:
        images = held_out_images(data, columns=columns, labels=opened.model.labels)
        known = training_hashes(opened)
        with Predictor.open(
            opened.folder, backend=backend, device=device, calibrated=False, public_key=public_key
        ) as predictor:
            rows = predictor.iter_observed([image.image for image in images])
            shown = tracked(rows, total=len(images), label="calibrating", quiet=quiet)
            observed = observe(predictor, images, rows=shown, known=known)
            found = calibrate(predictor, observed, source=f"images of {data.name}", alpha=alpha)
        write_recalibrated(opened, found, place)
        is_signed = opened.is_signed
    for caution in cautions(found, is_known=bool(known)):
        say(caution, quiet=quiet)
    if as_json:
        print_json({"bundle": str(place), **calibration_json(found)})
    else:
        stdout.print(calibration_table(found))
        say(f"wrote {place}", quiet=quiet)
    if is_signed:
        say(f"the old bundle's signature is not the new one's: semise sign {place} --key KEY", quiet=quiet)


def held_out_images(data: Path, *, columns: str, labels: tuple[str, ...]) -> list[HeldOutImage]:
    """Returns the images of a manifest to calibrate on: of its split ``calibration``, else all of them.

    Raises:
        DataError: there are none, a group lies in two splits, or the grades are called otherwise than ``labels``.
    """
    from semise_sdk.cli.commands.evaluate import refuse_other_grades
    from semise_training.data.manifest import load_manifest, parse_columns

    manifest = load_manifest(data, columns=parse_columns(columns))
    refuse_other_grades(manifest, labels)
    _refuse_cut_groups(manifest)
    images = [
        HeldOutImage(image=sample.image, level=sample.severity, group=sample.group)
        for sample in manifest.samples
        if not manifest.names_splits or sample.split == PART
    ]
    if not images:
        raise DataError(f"expected images of split {PART} in {data}, found none: name them so, or name no splits")
    return images


def cautions(found: Calibration, *, is_known: bool) -> list[str]:
    """Returns what the user of a new calibration should be told."""
    said = []
    if not found.is_calibrated:
        said.append(found.facts()["gates"])
    if not is_known:
        said.append("the bundle does not know its training images: make sure that none of these is among them")
    if found.groups == found.images:
        said.append(
            "each image counts as a patient of its own: where that is not so, name patients in a column group, or the "
            "figures look surer than they are"
        )
    return said


def calibration_table(found: Calibration) -> Table:
    """Returns the facts of a calibration, and the coverage of each grade, as a table."""
    table = Table(show_header=False, box=None)
    for name, fact in found.facts().items():
        table.add_row(Text(name), Text(fact))
    for label, estimate in (found.sets.of_grade if found.sets else {}).items():
        interval = (
            "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
        )
        held = "-" if estimate.value is None else f"{estimate.value:.3f}{interval} of {estimate.n}"
        table.add_row(Text(f"sets hold {label}"), Text(held))
    if found.distance is not None:
        table.add_row("distance gate", f"review from {found.distance.review:.4f}, abstain {found.distance.abstain:.4f}")
    for name, limits in _quality_json(found).items():
        if text := _limits_text(limits):
            table.add_row(Text(f"quality gate: {name}"), Text(text))
    return table


def calibration_json(found: Calibration) -> dict[str, object]:
    """Returns the figures of a calibration."""
    sets, distance = found.sets, found.distance
    return {
        "calibrated": found.is_calibrated,
        "images": found.images,
        "groups": found.groups,
        "healthy": len(found.healthy.severities),
        "temperature": None if sets is None else sets.temperature,
        "alpha": None if sets is None else sets.alpha,
        "threshold": None if sets is None else sets.threshold,
        "coverage": None if sets is None else sets.coverage.to_json(),
        "coverage_of_grade": {} if sets is None else {label: one.to_json() for label, one in sets.of_grade.items()},
        "distance": None if distance is None else {"review": distance.review, "abstain": distance.abstain},
        "quality": _quality_json(found),
    }


def _quality_json(found: Calibration) -> dict[str, dict[str, float | None]]:
    limits = {} if found.quality is None else found.quality.limits
    return {name: natural_limits(name, one) for name, one in limits.items()}


def _limits_text(limits: dict[str, float | None]) -> str:
    """Returns from where images are to be reviewed and not scored; empty where no image can be."""

    def span(verdict: str) -> str:
        low, high = limits[f"{verdict}_low"], limits[f"{verdict}_high"]
        ends = [*([] if low is None else [f"below {low:.3g}"]), *([] if high is None else [f"above {high:.3g}"])]
        return f"{verdict} {' or '.join(ends)}" if ends else ""

    return "; ".join(said for said in (span("review"), span("abstain")) if said)


def _refuse_cut_groups(manifest: "Manifest") -> None:
    parts: dict[str, set[str | None]] = {}
    for sample in manifest.samples:
        parts.setdefault(sample.group, set()).add(sample.split)
    cut = sorted(group for group, found in parts.items() if PART in found and len(found) > 1)
    if cut:
        raise DataError(
            f"expected every group of {manifest.path} in one split, found {len(cut)} partly in {PART} (first: "
            f"{cut[0]}): images of one patient are not independent, move them together",
            problems=[f"group {group} is in more splits than {PART}" for group in cut],
        )
