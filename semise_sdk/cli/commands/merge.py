"""``semise merge``: the parts of a run as one ranking, and as one worklist."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.cli.batch import Batch, in_words, open_batch
from semise_sdk.cli.commands.ledger import images_again, reference_images
from semise_sdk.cli.console import say
from semise_sdk.cli.option_groups import Without, refuse_given, with_groups
from semise_sdk.cli.options import Engine, Reference
from semise_sdk.cli.output import Output
from semise_sdk.cli.run_options import KeyOption, PhiOption, reference_name
from semise_sdk.cli.worklist import check_report, write_report
from semise_sdk.errors import EXIT_OK, EXIT_SOME_ROWS_FAILED, LedgerError, OptionError
from semise_sdk.ledger import MergedRuns, merge_runs
from semise_sdk.ledger.inputs import sha256_of_reference
from semise_sdk.privacy import PHI, Phi, parse_phi
from semise_sdk.reports.worklist import Places
from semise_sdk.results import Ranking, Severity
from semise_sdk.severity.ranks import numbered
from semise_sdk.tables.write import Header, write_ranked

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of --run.", show_default=False)]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        help="FILE.html: the ranking as a page to work through; draws the images anew, with the run's own bundle."
    ),
]

# The options that only --report uses.
OF_THE_PAGE = ("--reference", "--bundle", "--backend", "--device", "--threads", "--isolate", "--public-key")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOutput(Output):
    """The output of ``merge``: the ranking."""

    out: Annotated[Path | None, typer.Option(help="File for the ranking; standard output by default.")] = None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("merge")(with_groups(merge))


def merge(
    context: typer.Context,
    runs: Runs,
    *,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="The images that were ranked, repeatable: gives the rows their names back."),
    ] = None,
    phi_key: KeyOption = None,
    phi: PhiOption = None,
    report: ReportOption = None,
    reference: Reference = None,
    engine: Annotated[Engine, Without("precision", "batch_size", "decode")],
    output: MergeOutput,
) -> int:
    """Joins the parts of a run, made with rank --run FOLDER --part i/n, to the ranking that one run would give.

    Names are as the journals hold them, pseudonyms by default; with --images they are the files' own. --reference,
    --bundle and how it computes are for --report alone.
    """
    _ = output.chosen_layout()  # a format that there is not is said before the runs are read
    if report is not None and not images:
        raise OptionError("--images with --report", "none", "a page shows the images that were ranked")
    if report is None:
        refuse_given(context, "without --report", "it is for the page alone, leave it out", names=OF_THE_PAGE)
    if not images:
        refuse_given(context, "without --images", "name the images, which alone need it", names=("--phi-key",))
    check_report(report, output.out)
    policy = "keep" if phi is None else parse_phi(phi)
    if images and policy != "keep":
        raise OptionError(f"no --phi {policy} with --images", "both", "give --phi keep, or leave the names out")
    with merge_runs(runs, images=images_again(images), key=phi_key) as merged:
        _refuse_names(merged, policy)
        if report is None:
            return _write(merged, output, is_named=bool(images))
        engine = replace(engine, precision=merged.settings.precision)
        with open_batch(images or (), engine, quiet=output.quiet) as batch:
            return _write_with_page(merged, batch, output, report, reference=reference)


def _write_with_page(merged: MergedRuns, batch: Batch, output: Output, report: Path, *, reference: Path | None) -> int:
    """Writes the ranking and its page, unless the run was answered from another bundle or reference."""
    predictor = batch.predictor
    _refuse_other("bundle", merged.settings.bundle_sha256, predictor.sha256)
    bank = predictor.reference_bank(reference)
    measured = sha256_of_reference(bank, reference_images(reference))
    _refuse_other("reference", merged.settings.reference_sha256, measured)
    code = _write(merged, output, is_named=True)
    ranking = Ranking(
        rows=tuple(numbered(merged.ranked())),
        reference=reference_name(reference, "keep"),
        backend=merged.provider,
        precision=predictor.precision,
    )
    places = _places(merged, quiet=batch.is_quiet)
    write_report(batch, ranking, places, bank=bank, reference=reference, path=report)
    return code


def _places(merged: MergedRuns, *, quiet: bool) -> Places:
    """Returns where the images of the rows lie, and says how many are not what was ranked any more."""
    places, changed = Places(), 0
    for found, answer in merged.placed():
        places.note(found, answer)
        changed += found is None
    if changed:
        say(f"rows without a picture, as their files hold something else than was ranked: {changed}", quiet=quiet)
    return places


def _refuse_other(what: str, answered: str | None, given: str) -> None:
    if answered != given:
        raise LedgerError(f"expected the {what} that the run was answered with, found another: give --{what}")


def _refuse_names(merged: MergedRuns, phi: Phi) -> None:
    """Refuses runs whose journals name more than the policy lets the results say."""
    found = parse_phi(merged.settings.phi)
    if PHI.index(found) < PHI.index(phi):
        raise LedgerError(
            f"expected runs that were started with --phi {phi}, found {found}, which names more: give --phi {found}"
        )


def _write(merged: MergedRuns, output: Output, *, is_named: bool) -> int:
    """Writes the ranking, says how it went, and returns the exit code."""
    settings, counts = merged.settings, Counter[str]()
    header = Header(
        bundle=settings.bundle,
        backend=merged.provider,
        precision=settings.precision,
        reference=settings.reference,
        grade_sets=settings.grade_sets,
    )
    with output.stream() as stream:
        rows = numbered(_counted(merged.ranked(), counts))
        write_ranked(rows, stream, layout=output.chosen_layout(), header=header, labels=settings.labels)
    if is_named and merged.nameless:
        say(f"{merged.nameless} rows keep their pseudonym: their files are not among --images", quiet=output.quiet)
    parts = f"{len(merged.runs)} part{'s' if len(merged.runs) > 1 else ''}"
    say(f"{in_words(counts)}, of {parts}", quiet=output.quiet)
    return EXIT_SOME_ROWS_FAILED if counts["error"] else EXIT_OK


def _counted(answers: Iterator[Severity], counts: Counter[str]) -> Iterator[Severity]:
    for answer in answers:
        counts[answer.status] += 1
        yield answer
