"""``semise data import``: from the official download of a public data set to a manifest."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semise_sdk.cli.console import JsonOption, QuietOption, print_json, printable, say, stdout
from semise_sdk.cli.reporter import reporting
from semise_sdk.cli.requirements import training_installed
from semise_sdk.errors import EXIT_OK, EXIT_SOME_ROWS_FAILED

if TYPE_CHECKING:
    from semise_training.data.importers import Imported


def import_data(
    dataset: Annotated[str, typer.Argument(help="vindr-mammo, papilledema or isic.")],
    source: Annotated[Path, typer.Argument(help="Folder of the official download, unpacked.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder to write data.csv in, and images converted from DICOM.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a data.csv; images converted before are kept.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Write the manifest of a public data set; exit code 3 when images had to be left out."""
    with training_installed("semise data import"):
        from semise_training.data.importers import import_dataset
    with reporting(quiet=quiet) as reporter:
        imported = import_dataset(dataset, source, out, reporter=reporter, force=force)
    if as_json:
        print_json({"dataset": dataset, **imported.to_json()})
    else:
        for line in _summary(imported):
            stdout.print(printable(line))
    path = imported.manifest.path
    say(f"wrote {path}; next: semise data check {path}, then semise train {path}", quiet=quiet)
    return EXIT_SOME_ROWS_FAILED if imported.failed else EXIT_OK


def _summary(imported: "Imported") -> Iterator[str]:
    from semise_training.data.checks.check import images_per_grade, images_per_split

    manifest = imported.manifest
    yield f"{len(manifest.samples)} images: {_counts(images_per_grade(manifest, manifest.samples))}"
    for part, counts in images_per_split(manifest).items():
        yield f"{part}: {_counts(counts)}"
    yield from imported.notes
    for failure in imported.failed:
        yield f"left out: {failure.file}: {failure.reason}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {count}" for label, count in counts.items())
