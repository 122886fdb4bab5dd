"""``semise rank|classify|segment|analyze|embed``: a bundle's answers for images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.cli.answer_rows import analysis_rows, segmentation_rows, severities
from semise_sdk.cli.batch import open_batch
from semise_sdk.cli.commands.ledger import classify_run, rank_run
from semise_sdk.cli.option_groups import Without, with_groups
from semise_sdk.cli.options import Engine, Images, Maps, Reference
from semise_sdk.cli.output import Output
from semise_sdk.cli.run_options import NamingOptions, RunOptions
from semise_sdk.cli.worklist import check_report, write_report
from semise_sdk.errors import OptionError
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

UngradedEngine = Annotated[Engine, Without("decode")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (rank, classify, segment, analyze, embed):
        app.command(command.__name__)(with_groups(command))


def rank(
    images: Images,
    *,
    reference: Reference = None,
    engine: Engine,
    maps: Maps = None,
    report: Annotated[Path | None, typer.Option(help="FILE.html: the ranking as a page to work through.")] = None,
    options: RunOptions,
    output: Output,
) -> int:
    """Ranks images from most to least severe.

    Severity is the cosine distance to healthy references, 0 to 2. Equal severities rank by file name. Images that the
    bundle's gates refuse to score come first: they need a human. Files that cannot be read come last. Both have the
    reason. With --run, the same command goes on after a kill.
    """
    options.refuse_drawings(maps=maps, report=report)
    check_report(report, output.out)
    with open_batch(images, engine, quiet=output.quiet) as batch:
        places = None if report is None else Places()
        bank = batch.predictor.reference_bank(reference)
        layout = output.chosen_layout()
        if options.run is not None:
            return rank_run(batch, options, bank, reference=reference, output=output, report=report)
        answers = severities(batch, bank, options, maps=maps, places=places)
        ranking = batch.ranking(ranked(answers), options.described(reference))
        with output.stream() as stream:
            write_ranking(
                ranking,
                stream,
                layout=layout,
                bundle=batch.predictor.name,
                labels=batch.predictor.model.grade_labels,
                grade_sets=batch.grade_sets,
            )
        if report is not None and places is not None:
            write_report(batch, ranking, places, bank=bank, reference=reference, path=report)
        return batch.finish()


def classify(images: Images, *, engine: Engine, options: RunOptions, output: Output) -> int:
    """Grades each image, with the probability of every grade; with --run, sorted by file name."""
    with open_batch(images, engine, quiet=output.quiet) as batch:
        labels = batch.predictor.model.labels
        layout = output.chosen_layout()
        columns = classification_columns(labels)
        if options.run is not None:
            return classify_run(batch, options, columns=columns, output=output)
        answers = options.named(batch.answers("classifying", batch.predictor.iter_classify))
        rows = (answer_row(answer, labels) for _, answer in answers)
        with output.stream() as stream:
            write_rows(rows, stream, columns=columns, layout=layout, header=batch.header())
        return batch.finish()


def segment(
    images: Images,
    *,
    masks: Annotated[Path, typer.Option(help="Folder for the masks, PNG of 0 and 255 at the image's size.")] = Path(
        "masks"
    ),
    overlays: Annotated[Path | None, typer.Option(help="Folder for each mask drawn over its image, as PNG.")] = None,
    engine: UngradedEngine,
    naming: NamingOptions,
    output: Output,
) -> int:
    """Draws the lesion mask of each image."""
    with open_batch(images, engine, quiet=output.quiet) as batch, output.stream() as stream:
        layout = output.chosen_layout()
        rows = segmentation_rows(batch, naming, masks, overlays)
        write_rows(rows, stream, columns=SEGMENTATION_COLUMNS, layout=layout, header=batch.header())
        return batch.finish()


def analyze(
    images: Images,
    *,
    reference: Reference = None,
    maps: Maps = None,
    masks: Annotated[Path | None, typer.Option(help="Folder for the masks, as PNG.")] = None,
    engine: Engine,
    naming: NamingOptions,
    output: Output,
) -> int:
    """Gives severity, grade, mask and severity map of each image from one pass, as JSON lines by default."""
    with open_batch(images, engine, quiet=output.quiet) as batch:
        bank = batch.predictor.reference_bank(reference)
        columns = analysis_columns(batch.predictor.model.labels)
        header = batch.header(naming.described(reference))
        layout = output.chosen_layout("jsonl")
        with output.stream() as stream:
            rows = analysis_rows(batch, bank, naming, masks=masks, maps=maps)
            write_rows(rows, stream, columns=columns, layout=layout, header=header)
        return batch.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOutput(Output):
    """The output of ``embed``: rows, or a file of arrays."""

    out: Annotated[Path | None, typer.Option(help="FILE.npz, .csv, .json or .jsonl; standard output by default.")] = (
        None
    )

    @property
    def arrays(self) -> Path | None:
        """The file of arrays, None where rows are written; raises OptionError for a format that it cannot have."""
        if self.out is None or self.out.suffix != ".npz":
            return None
        if self.as_json or self.layout is not None:
            asked = "--json" if self.as_json else f"--format {self.layout}"
            raise OptionError("no --format and no --json with --out FILE.npz", asked, "keep one, or name another file")
        return self.out


def embed(images: Images, *, engine: UngradedEngine, naming: NamingOptions, output: EmbedOutput) -> int:
    """Gives the encoder's feature vector of each image."""
    arrays = output.arrays
    with open_batch(images, engine, quiet=output.quiet) as batch:
        answers = (answer for _, answer in naming.named(batch.answers("embedding", batch.predictor.iter_embed)))
        width = batch.predictor.model.network.feature_dim
        if arrays is not None:
            with atomic_file(arrays) as file:
                write_embeddings(answers, file, width=width)
            return batch.finish()
        layout = output.chosen_layout()
        columns = embedding_columns(width, layout)
        with output.stream() as stream:
            rows = (embedding_row(answer, columns) for answer in answers)
            write_rows(rows, stream, columns=columns, layout=layout, header=batch.header())
        return batch.finish()
