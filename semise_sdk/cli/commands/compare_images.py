"""``semise compare-images``: which of two images is the more severe, by how much, how sure."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from semise_sdk.cli.batch import found_images, open_predictor
from semise_sdk.cli.console import JsonOption, QuietOption, print_json, printable, stdout
from semise_sdk.cli.option_groups import Without, with_groups
from semise_sdk.cli.options import Engine, Reference
from semise_sdk.cli.run_options import NamingOptions
from semise_sdk.errors import EXIT_OK, EXIT_SOME_ROWS_FAILED
from semise_sdk.images.record import FoundImage
from semise_sdk.reports.comparison import comparison_document, comparison_sentence
from semise_sdk.results import Severity
from semise_sdk.severity.comparison import ImageComparison
from semise_sdk.system.atomic import write_text


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare-images")(with_groups(compare_images))


def compare_images(
    first: Annotated[Path, typer.Argument(help="One image.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="The other.", show_default=False)],
    *,
    reference: Reference = None,
    engine: Annotated[Engine, Without("batch_size", "isolate", "decode")],
    out: Annotated[Path | None, typer.Option(help="File for the comparison, as JSON.")] = None,
    naming: NamingOptions,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Says which of two images is the more severe, by how much, and whether the healthy references decide it.

    Both are measured from the same resamples of the references: the interval of their difference shows whether other
    healthy images would have given another order.
    """
    images = tuple(found_images((first, second)))  # both are there before a model is loaded
    with open_predictor(engine, quiet=quiet) as predictor:
        compared = predictor.compare_images(first, second, reference=reference)
        comparison = _named(replace(compared, reference=naming.described(reference)), images, naming)
        document = comparison_document(comparison, bundle=predictor.name)
    if out is not None:
        write_text(out, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    if as_json:
        print_json(document)
    elif out is None:
        _print(comparison)
    return EXIT_SOME_ROWS_FAILED if comparison.difference is None else EXIT_OK


def number(value: float | None) -> str:
    """Returns a severity as a table shows it; nothing where there is none."""
    return "" if value is None else f"{value:.4f}"


def _named(comparison: ImageComparison, images: tuple[FoundImage, ...], naming: NamingOptions) -> ImageComparison:
    """Returns the comparison with its images called as the results may call them: by a pseudonym, that of ``rank``."""
    if naming.names_results:
        return comparison
    first, second = (
        naming.results.veiled(replace(answer, file=found.file), number=number, path=found.source)
        for number, (found, answer) in enumerate(zip(images, (comparison.first, comparison.second), strict=True), 1)
    )
    return replace(comparison, first=first, second=second)


def _print(comparison: ImageComparison) -> None:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", "file", "severity", "95 % interval", "grade", "status"):
        table.add_column(name, no_wrap=name in ("", "severity", "status"), overflow="fold")
    answers = (("first", comparison.first), ("second", comparison.second))
    for place, answer in answers:
        severity, grade = number(answer.severity), printable(answer.grade or "")
        table.add_row(place, printable(answer.file), severity, _interval(answer), grade, answer.status)
    stdout.print(table)
    for place, answer in answers:
        if answer.reason:
            stdout.print(printable(f"{place}: {answer.reason}"))
    stdout.print(comparison_sentence(comparison), markup=False)


def _interval(answer: Severity) -> str:
    low, high = answer.severity_low, answer.severity_high
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
