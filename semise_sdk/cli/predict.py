"""``semise rank|classify|segment|analyze|embed``: a bundle's answers for images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from semise_sdk.atomic import atomic_file
from semise_sdk.cli.batch import Batch, Engine, chosen_layout, open_batch, result_stream
from semise_sdk.cli.console import JsonOption, PublicKeyOption, QuietOption
from semise_sdk.cli.ledger import classify_run, rank_run, veiled
from semise_sdk.cli.run_options import KeyOption, PartOption, PhiOption, RunOption, RunOptions
from semise_sdk.cli.worklist import check_report, write_report
from semise_sdk.drawings import DrawingFolder
from semise_sdk.errors import ImageReadError
from semise_sdk.overlay import MAP_TOP, mask_overlay, severity_overlay
from semise_sdk.postprocess import ranked
from semise_sdk.predictor import describe_reference
from semise_sdk.readers import FoundImage
from semise_sdk.references import ReferenceBank
from semise_sdk.results import Ranking, Severity
from semise_sdk.worklist import Places
from semise_sdk.writers import (
    CERTAINTY,
    INTERVAL,
    Row,
    analysis_row,
    classification_row,
    embedding_columns,
    embedding_row,
    probability_columns,
    segmentation_row,
    write_embeddings,
    write_ranking,
    write_rows,
)

MAP_DESCRIPTION = f"Severity map, 0 to {MAP_TOP:g}: an aid to explanation, not a localisation."

Images = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files and folders.", show_default=False)]
Reference = Annotated[
    Path | None, typer.Option(help="Healthy image, or a folder of them; the bundle's own references by default.")
]
BundleOption = Annotated[
    Path | None, typer.Option(help="Bundle; $SEMISE_BUNDLE, else the project's newest by default.", show_default=False)
]
Backend = Annotated[str, typer.Option(help="auto, onnxruntime, openvino or pytorch; see semise doctor.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; tensorrt, tensorrt_rtx with onnxruntime.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="One that the bundle carries; see semise info.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images per engine run; what serves the backend by default.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Cores for the engine; all by default.")]
IsolateOption = Annotated[
    bool, typer.Option("--isolate/--no-isolate", help="Decode files in processes of their own, as untrusted ones.")
]
Out = Annotated[Path | None, typer.Option(help="File for the results; standard output by default.")]
LayoutOption = Annotated[
    str | None, typer.Option("--format", help="csv, json or jsonl; by the suffix of --out by default.")
]
Decode = Annotated[
    str, typer.Option(help="argmax: the most probable grade; expected-maee: that of least expected exp(|error|).")
]
Maps = Annotated[Path | None, typer.Option(help="Folder for a severity map of each image, as PNG.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (rank, classify, segment, analyze, embed):
        app.command(command.__name__)(command)


def rank(
    images: Images,
    reference: Reference = None,
    bundle: BundleOption = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    batch_size: BatchSize = None,
    threads: Threads = None,
    isolate: IsolateOption = True,
    public_key: PublicKeyOption = None,
    out: Out = None,
    layout: LayoutOption = None,
    maps: Maps = None,
    report: Annotated[Path | None, typer.Option(help="FILE.html: the ranking as a page to work through.")] = None,
    run: RunOption = None,
    part: PartOption = None,
    phi: PhiOption = None,
    phi_key: KeyOption = None,
    decode: Decode = "argmax",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Ranks images from most to least severe.

    Severity is the cosine distance to healthy references, 0 to 2. Equal severities rank by file name. Images that the
    bundle's gates refuse to score come first: they need a human. Files that cannot be read come last. Both have the
    reason. With --run, the same command goes on after a kill.
    """
    options = RunOptions(run=run, part=part, phi=phi, key=phi_key)
    options.refuse_drawings(maps, report)
    engine = Engine(
        bundle=bundle,
        backend=backend,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        isolate=isolate,
        public_key=public_key,
        decode=decode,
    )
    check_report(report, out)
    with open_batch(images, engine, quiet=quiet) as batch:
        places = None if report is None else Places()
        bank = batch.predictor.reference_bank(reference)
        chosen = chosen_layout(layout, out, as_json=as_json)
        if run is not None:
            return rank_run(batch, options, bank, reference=reference, out=out, layout=chosen)
        rows = ranked(
            _severities(batch, bank, options, places) if maps is None else _mapped_severities(batch, bank, maps, places)
        )
        predictor = batch.predictor
        ranking = Ranking(
            rows=rows,
            reference=describe_reference(reference),
            backend=predictor.backend,
            precision=predictor.precision,
        )
        with result_stream(out) as stream:
            write_ranking(
                ranking,
                stream,
                layout=chosen,
                bundle=predictor.name,
                labels=predictor.model.grade_labels,
                grade_sets=batch.grade_sets,
            )
        if report is not None and places is not None:
            write_report(batch, ranking, places, bank=bank, reference=reference, path=report)
        return batch.finish()


def classify(
    images: Images,
    bundle: BundleOption = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    batch_size: BatchSize = None,
    threads: Threads = None,
    isolate: IsolateOption = True,
    public_key: PublicKeyOption = None,
    out: Out = None,
    layout: LayoutOption = None,
    run: RunOption = None,
    part: PartOption = None,
    phi: PhiOption = None,
    phi_key: KeyOption = None,
    decode: Decode = "argmax",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Grades each image, with the probability of every grade; with --run, sorted by file name."""
    options = RunOptions(run=run, part=part, phi=phi, key=phi_key)
    engine = Engine(
        bundle=bundle,
        backend=backend,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        isolate=isolate,
        public_key=public_key,
        decode=decode,
    )
    with open_batch(images, engine, quiet=quiet) as batch:
        labels = batch.predictor.model.labels
        chosen = chosen_layout(layout, out, as_json=as_json)
        columns = ("file", "label", *probability_columns(labels), "status", "reason", "grade_set")
        if run is not None:
            return classify_run(batch, options, columns=columns, out=out, layout=chosen)
        answers = veiled(batch.answers("classifying", batch.predictor.iter_classify), options)
        rows = (classification_row(answer, labels) for answer in answers)
        with result_stream(out) as stream:
            write_rows(rows, stream, columns=columns, layout=chosen, header=batch.header())
        return batch.finish()


def segment(
    images: Images,
    masks: Annotated[Path, typer.Option(help="Folder for the masks, PNG of 0 and 255 at the image's size.")] = Path(
        "masks"
    ),
    overlays: Annotated[Path | None, typer.Option(help="Folder for each mask drawn over its image, as PNG.")] = None,
    bundle: BundleOption = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    batch_size: BatchSize = None,
    threads: Threads = None,
    isolate: IsolateOption = True,
    public_key: PublicKeyOption = None,
    out: Out = None,
    layout: LayoutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Draws the lesion mask of each image."""
    engine = Engine(
        bundle=bundle,
        backend=backend,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        isolate=isolate,
        public_key=public_key,
    )
    with open_batch(images, engine, quiet=quiet) as batch, result_stream(out) as stream:
        columns = ("file", "mask", "area_fraction", "status", "reason")
        chosen = chosen_layout(layout, out, as_json=as_json)
        rows = _segmentation_rows(batch, masks, overlays)
        write_rows(rows, stream, columns=columns, layout=chosen, header=batch.header())
        return batch.finish()


def analyze(
    images: Images,
    reference: Reference = None,
    maps: Maps = None,
    masks: Annotated[Path | None, typer.Option(help="Folder for the masks, as PNG.")] = None,
    bundle: BundleOption = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    batch_size: BatchSize = None,
    threads: Threads = None,
    isolate: IsolateOption = True,
    public_key: PublicKeyOption = None,
    out: Out = None,
    layout: LayoutOption = None,
    decode: Decode = "argmax",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Gives severity, grade, mask and severity map of each image from one pass, as JSON lines by default."""
    engine = Engine(
        bundle=bundle,
        backend=backend,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        isolate=isolate,
        public_key=public_key,
        decode=decode,
    )
    with open_batch(images, engine, quiet=quiet) as batch:
        bank = batch.predictor.reference_bank(reference)
        labels = probability_columns(batch.predictor.model.labels)
        columns = ("file", "severity", "grade", *labels, "mask", "area_fraction", "map", "status", "reason")
        columns += (*INTERVAL, *CERTAINTY)
        header = batch.header(describe_reference(reference))
        chosen = chosen_layout(layout, out, as_json=as_json, default="jsonl")
        with result_stream(out) as stream:
            write_rows(_analysis_rows(batch, bank, masks, maps), stream, columns=columns, layout=chosen, header=header)
        return batch.finish()


def embed(
    images: Images,
    bundle: BundleOption = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    batch_size: BatchSize = None,
    threads: Threads = None,
    isolate: IsolateOption = True,
    public_key: PublicKeyOption = None,
    out: Annotated[
        Path | None, typer.Option(help="FILE.npz, .csv, .json or .jsonl; standard output by default.")
    ] = None,
    layout: LayoutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Gives the encoder's feature vector of each image."""
    engine = Engine(
        bundle=bundle,
        backend=backend,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        isolate=isolate,
        public_key=public_key,
    )
    with open_batch(images, engine, quiet=quiet) as batch:
        answers = (answer for _, answer in batch.answers("embedding", batch.predictor.iter_embed))
        width = batch.predictor.model.network.feature_dim
        if out is not None and out.suffix == ".npz":
            with atomic_file(out) as file:
                write_embeddings(answers, file, width=width)
            return batch.finish()
        chosen = chosen_layout(layout, out, as_json=as_json)
        columns = embedding_columns(width, chosen)
        with result_stream(out) as stream:
            rows = (embedding_row(answer, columns) for answer in answers)
            write_rows(rows, stream, columns=columns, layout=chosen, header=batch.header())
        return batch.finish()


def _severities(batch: Batch, bank: ReferenceBank, options: RunOptions, places: Places | None) -> Iterator[Severity]:
    predictor = batch.predictor
    answers = batch.answers("ranking", lambda found: predictor.iter_severity(found, reference=bank))
    return veiled(answers if places is None else places.noted(answers), options)


def _mapped_severities(batch: Batch, bank: ReferenceBank, maps: Path, places: Places | None) -> Iterator[Severity]:
    folder, predictor = DrawingFolder(maps), batch.predictor
    answers = batch.answers("ranking", lambda found: predictor.iter_analyze(found, reference=bank, masks=False))
    for found, answer in answers:
        _draw_map(folder, batch, found, answer.severity_map)
        severity = answer.to_severity()
        if places is not None:
            places.note(found, severity)
        yield severity


def _segmentation_rows(batch: Batch, masks: Path, overlays: Path | None) -> Iterator[Row]:
    mask_folder = DrawingFolder(masks)
    overlay_folder = DrawingFolder(overlays) if overlays is not None else None
    for found, answer in batch.answers("segmenting", batch.predictor.iter_segment):
        path = None if answer.mask is None else mask_folder.write(found, answer.mask)
        if answer.mask is not None and overlay_folder is not None:
            _draw_mask(overlay_folder, batch, found, answer.mask)
        yield segmentation_row(answer, path)


def _analysis_rows(batch: Batch, bank: ReferenceBank, masks: Path | None, maps: Path | None) -> Iterator[Row]:
    predictor = batch.predictor
    mask_folder = DrawingFolder(masks) if masks is not None else None
    map_folder = DrawingFolder(maps) if maps is not None else None
    answers = batch.answers(
        "analyzing", lambda found: predictor.iter_analyze(found, reference=bank, maps=maps is not None)
    )
    for found, answer in answers:
        mask = mask_folder.write(found, answer.mask) if mask_folder and answer.mask is not None else None
        severity_map = _draw_map(map_folder, batch, found, answer.severity_map) if map_folder else None
        yield analysis_row(answer, predictor.model.labels, mask=mask, severity_map=severity_map)


def _draw_map(
    folder: DrawingFolder, batch: Batch, found: FoundImage, severity_map: NDArray[np.float32] | None
) -> Path | None:
    pixels = None if severity_map is None else _display(batch, found)
    if pixels is None or severity_map is None:
        return None
    return folder.write(found, severity_overlay(pixels, severity_map), description=MAP_DESCRIPTION)


def _draw_mask(folder: DrawingFolder, batch: Batch, found: FoundImage, mask: NDArray[np.uint8]) -> None:
    pixels = _display(batch, found)
    if pixels is not None:
        folder.write(found, mask_overlay(pixels, mask), description="Lesion mask.")


def _display(batch: Batch, found: FoundImage) -> NDArray[np.uint8] | None:
    try:
        return batch.predictor.display(found)
    except ImageReadError:  # it was there a moment ago; its row stands
        return None
