"""``rank --run``, ``classify --run`` and ``semise verify-run``: runs that can be left alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from semise_sdk.bundle import Bundle
from semise_sdk.cli.batch import Batch, placed_images
from semise_sdk.cli.console import JsonOption, PublicKeyOption, print_json, say, stdout
from semise_sdk.cli.option_groups import refuse_given
from semise_sdk.cli.output import Output
from semise_sdk.cli.run_options import KeyOption, RunOptions, reference_name
from semise_sdk.cli.worklist import write_report
from semise_sdk.errors import EXIT_OK, EXIT_PARITY_FAILED, EXIT_SOME_ROWS_FAILED
from semise_sdk.images.readers import find_images, scan_images
from semise_sdk.ledger import Ledger, Part, RunReport, RunSettings, verify_run
from semise_sdk.ledger.answers import Answer
from semise_sdk.ledger.inputs import sha256_of_reference
from semise_sdk.ledger.merge import Images
from semise_sdk.ledger.run import Stream
from semise_sdk.ledger.settings import absolute
from semise_sdk.reports.worklist import Places
from semise_sdk.results import Classification, Severity
from semise_sdk.severity.ranks import numbered
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.tables.write import answer_row, write_ranked, write_rows
from semise_sdk.version import __version__


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("verify-run")(verify_run_command)


@contextmanager
def open_ledger(
    batch: Batch, kind: type[Answer], options: RunOptions, *, reference: Path | None, bank: ReferenceBank | None
) -> Iterator[Ledger[Answer]]:
    """Yields the run of a command that has ``--run``.

    Args:
        batch: The images and the predictor.
        kind: Severity for ``rank``, Classification for ``classify``.
        options: The options of the run.
        reference: What severity is measured from, as it was given.
        bank: The same, read; None for ``classify``.

    Raises:
        LedgerError, ConfigError, OutputError: see :meth:`Ledger.open`.
    """
    if options.run is None:
        raise ValueError("expected options with a run folder, found none")
    predictor, phi = batch.predictor, options.policy
    asked = RunSettings(
        command="classify" if bank is None else "rank",
        bundle=predictor.name,
        bundle_sha256=predictor.sha256,
        precision=predictor.precision,
        phi=phi,
        key="",
        part=str(Part.parse(options.part or "1/1")),
        reference=None if bank is None else reference_name(reference, phi),
        reference_sha256=None if bank is None else sha256_of_reference(bank, reference_images(reference)),
        labels=predictor.model.grade_labels,
        decoding=predictor.decoding,
        sdk_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        images=absolute(tuple(batch.images)) if phi == "keep" else (),
        grade_sets=batch.grade_sets,
    )
    with Ledger.open(
        options.run,
        kind,
        asked,
        placed_images(batch.images, scan_images),
        provider=predictor.backend,
        batch_size=predictor.batch_size,
        key=options.key,
    ) as ledger:
        yield ledger


def rank_run(
    batch: Batch,
    options: RunOptions,
    bank: ReferenceBank,
    *,
    reference: Path | None,
    output: Output,
    report: Path | None = None,
) -> int:
    """Does the work of ``rank --run``; returns the exit code."""
    predictor = batch.predictor
    header, labels = batch.header(options.described(reference)), predictor.model.grade_labels
    with open_ledger(batch, Severity, options, reference=reference, bank=bank) as ledger:
        _answer(batch, ledger, "ranking", lambda found: predictor.iter_severity(found, reference=bank))
        with output.stream() as stream:
            rows = numbered(ledger.ranked(is_named=options.names_results))
            write_ranked(rows, stream, layout=output.chosen_layout(), header=header, labels=labels)
        if report is not None:
            ranking = batch.ranking(numbered(ledger.ranked()), options.described(reference))
            write_report(batch, ranking, Places.of(ledger.placed()), bank=bank, reference=reference, path=report)
        return _finish(batch, ledger)


def classify_run(batch: Batch, options: RunOptions, *, columns: Sequence[str], output: Output) -> int:
    """Does the work of ``classify --run``; returns the exit code."""
    labels = batch.predictor.model.labels
    with open_ledger(batch, Classification, options, reference=None, bank=None) as ledger:
        _answer(batch, ledger, "classifying", batch.predictor.iter_classify)
        rows = (answer_row(answer, labels) for answer in ledger.by_name(is_named=options.names_results))
        with output.stream() as stream:
            write_rows(rows, stream, columns=columns, layout=output.chosen_layout(), header=batch.header())
        return _finish(batch, ledger)


def verify_run_command(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A folder of --run.")],
    *,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGES...]", help="The images as they were given, to be hashed again."),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="The bundle that the run should be of.")] = None,
    public_key: PublicKeyOption = None,
    head: Annotated[str | None, typer.Option(help="What the audit trail ended with when the run ended.")] = None,
    phi_key: KeyOption = None,
    as_json: JsonOption = False,
) -> int:
    """Checks that a run's audit trail is whole, and that its journal, counts, bundle and inputs agree with it.

    Exit code 0 when they do and the run is finished, 3 when it is unfinished, 5 when something disagrees.
    """
    if bundle is None:
        refuse_given(context, "without --bundle", "name the bundle that the run should be of", names=("--public-key",))
    named = images or _remembered(run)
    if not named:
        refuse_given(context, "without IMAGES", "name the images, which alone need it", names=("--phi-key",))
    report = verify_run(
        run,
        images=images_again(named),
        key=phi_key,
        bundle_sha256=_bundle_sha256(bundle, public_key),
        head=head,
    )
    if as_json:
        print_json(_report_json(report))
    else:
        _print_report(report)
    if not report.is_intact:
        return EXIT_PARITY_FAILED
    return EXIT_OK if report.is_finished else EXIT_SOME_ROWS_FAILED


def _answer(batch: Batch, ledger: Ledger[Answer], label: str, stream: Stream[Answer]) -> None:
    for _ in batch.followed(label, ledger.answers(stream), total=ledger.waiting):
        pass


def _finish(batch: Batch, ledger: Ledger[Answer]) -> int:
    code = batch.finish(ledger.counts())
    if ledger.changed:
        say(
            f"answered again, as they held something else than before: {ledger.changed} of the images",
            quiet=batch.is_quiet,
        )
    say(f"audit trail ends with {ledger.head}: keep it, for semise verify-run --head", quiet=batch.is_quiet)
    return code


def reference_images(reference: Path | None) -> list[Path] | None:
    """Returns the images that were given as the reference; None for the bundle's own bank."""
    return None if reference is None else [found.source for found in find_images(reference)]


def images_again(arguments: Sequence[Path] | None) -> Images | None:
    """Returns the images that a command names as those of a run that was made before; None where it names none."""
    return (lambda: placed_images(arguments, scan_images)) if arguments else None


def _remembered(run: Path) -> list[Path]:
    """Returns the image arguments that a run with ``--phi keep`` remembers, where they are all still there."""
    paths = [Path(text) for text in RunSettings.read(run).images]
    return paths if all(path.exists() for path in paths) else []


def _bundle_sha256(path: Path | None, public_key: Path | None) -> str | None:
    if path is None:
        return None
    with Bundle.open(path, public_key=public_key) as bundle:
        return bundle.sha256


def _report_json(report: RunReport) -> dict[str, object]:
    checks = [{"check": check.name, "ok": check.is_ok, "found": check.found} for check in report.checks]
    return {"intact": report.is_intact, "finished": report.is_finished, "head": report.head, "checks": checks}


def _print_report(report: RunReport) -> None:
    table = Table("check", "", Column("found", overflow="fold"))
    for check in report.checks:
        table.add_row(check.name, "ok" if check.is_ok else "FAILED", Text(check.found))
    if report.is_finished:
        table.add_row("finished", "ok", "every input has its row")
    else:
        table.add_row("finished", "no", "give the run's command again")
    stdout.print(table)
    stdout.print(f"audit trail ends with {report.head}")
