"""``semise rank|classify|segment|analyze|embed``: a bundle's answers for images."""

from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.cli.answer_rows import analysis_rows, segmentation_rows, severities
from semise_sdk.cli.batch import Engine, chosen_layout, open_batch, result_stream
from semise_sdk.cli.commands.ledger import classify_run, rank_run
from semise_sdk.cli.console import JsonOption, PublicKeyOption, QuietOption
from semise_sdk.cli.options import (
    Backend,
    BatchSize,
    BundleOption,
    Decode,
    Device,
    Images,
    IsolateOption,
    LayoutOption,
    Maps,
    Out,
    PrecisionOption,
    Reference,
    Threads,
)
from semise_sdk.cli.run_options import (
    KeyOption,
    PartOption,
    PhiOption,
    ResultKeyOption,
    ResultPhiOption,
    RunOption,
    RunOptions,
)
from semise_sdk.cli.worklist import check_report, write_report
from semise_sdk.reports.worklist import Places
from semise_sdk.severity.ranks import ranked
from semise_sdk.system.atomic import atomic_file
from semise_sdk.tables.write import (
    SEGMENTATION_COLUMNS,
    analysis_columns,
    answer_row,
    classification_columns,
    embedding_columns,
    embedding_row,
    write_embeddings,
    write_ranking,
    write_rows,
)


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
    options.refuse_drawings(maps=maps, report=report)
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
            return rank_run(batch, options, bank, reference=reference, out=out, layout=chosen, report=report)
        answers = severities(batch, bank, options, maps=maps, places=places)
        ranking = batch.ranking(ranked(answers), options.described(reference))
        with result_stream(out) as stream:
            write_ranking(
                ranking,
                stream,
                layout=chosen,
                bundle=batch.predictor.name,
                labels=batch.predictor.model.grade_labels,
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
        columns = classification_columns(labels)
        if run is not None:
            return classify_run(batch, options, columns=columns, out=out, layout=chosen)
        answers = options.named(batch.answers("classifying", batch.predictor.iter_classify))
        rows = (answer_row(answer, labels) for _, answer in answers)
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
    phi: ResultPhiOption = None,
    phi_key: ResultKeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Draws the lesion mask of each image."""
    options = RunOptions(phi=phi, key=phi_key)
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
        chosen = chosen_layout(layout, out, as_json=as_json)
        rows = segmentation_rows(batch, options, masks, overlays)
        write_rows(rows, stream, columns=SEGMENTATION_COLUMNS, layout=chosen, header=batch.header())
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
    phi: ResultPhiOption = None,
    phi_key: ResultKeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Gives severity, grade, mask and severity map of each image from one pass, as JSON lines by default."""
    options = RunOptions(phi=phi, key=phi_key)
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
        columns = analysis_columns(batch.predictor.model.labels)
        header = batch.header(options.described(reference))
        chosen = chosen_layout(layout, out, as_json=as_json, default="jsonl")
        with result_stream(out) as stream:
            rows = analysis_rows(batch, bank, options, masks=masks, maps=maps)
            write_rows(rows, stream, columns=columns, layout=chosen, header=header)
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
    phi: ResultPhiOption = None,
    phi_key: ResultKeyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Gives the encoder's feature vector of each image."""
    options = RunOptions(phi=phi, key=phi_key)
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
        answers = (answer for _, answer in options.named(batch.answers("embedding", batch.predictor.iter_embed)))
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
