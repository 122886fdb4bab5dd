"""Importers: each turns the official download of one public data set into a manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.system.progress import Reporter
from semise_training.data.importers.imported import MANIFEST_NAME, Failure, Imported
from semise_training.data.importers.isic import import_isic
from semise_training.data.importers.papilledema import import_papilledema
from semise_training.data.importers.vindr_mammo import import_vindr_mammo

__all__ = ["IMPORTERS", "Failure", "Imported", "Importer", "import_dataset"]


class Importer(Protocol):
    """Reads a download and writes its manifest."""

    def __call__(self, source: Path, out: Path, *, reporter: Reporter) -> Imported:
        """Returns what was imported from the folder ``source`` into the folder ``out``."""


IMPORTERS: Mapping[str, Importer] = {
    "vindr-mammo": import_vindr_mammo,
    "papilledema": import_papilledema,
    "isic": import_isic,
}


def import_dataset(name: str, source: Path, out: Path, *, reporter: Reporter, force: bool = False) -> Imported:
    """Returns what was imported of a download; ``out/data.csv`` is its manifest.

    Args:
        name: A key of ``IMPORTERS``.
        source: The folder of the download.
        out: Folder that the manifest is written to, and the images that had to be converted.
        reporter: Hears of the progress.
        force: Overwrite a manifest; images that were converted before are kept all the same.

    Raises:
        ConfigError: an unknown name, a manifest that is already there, or a package that is not installed.
        DataError: the download is not laid out as published; ``problems`` lists every deviation.
        OutputError: a file cannot be written.
    """
    importer = IMPORTERS.get(name)
    if importer is None:
        raise ConfigError(f"expected a data set of {', '.join(IMPORTERS)}, found {name!r}")
    if not source.is_dir():
        raise DataError(f"expected the folder of the {name} download, found no folder at {source}: check the path")
    if (out / MANIFEST_NAME).exists() and not force:
        raise ConfigError(f"expected no {out / MANIFEST_NAME} yet, found one: keep it, or overwrite it with --force")
    return importer(source, out, reporter=reporter)
