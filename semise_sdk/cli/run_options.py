"""The options of a command that may be a run: ``--run``, ``--part``, ``--phi`` and ``--phi-key``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.cli.privacy import PHI_VARIABLE
from semise_sdk.errors import OptionError
from semise_sdk.ledger import RunSettings
from semise_sdk.ledger.settings import SETTINGS
from semise_sdk.phi import Phi, Privacy, parse_phi, read_key

KEY_VARIABLE = "SEMISE_PHI_KEY"

RunOption = Annotated[
    Path | None,
    typer.Option("--run", help="Folder of a run that goes on after a kill, with its journal and audit trail."),
]
PartOption = Annotated[
    str | None, typer.Option("--part", help="i/n: with --run, only this share of the images; see semise merge.")
]
PhiOption = Annotated[
    str | None,
    typer.Option(
        "--phi",
        envvar=PHI_VARIABLE,
        help="keep, hash or drop names in journal, audit and messages (hash by default with --run); when given, in the "
        "results too.",
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--phi-key", envvar=KEY_VARIABLE, help="File of the key for --phi hash; phi.key in the run folder by default."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a run, as they were given."""

    run: Path | None
    part: str | None
    phi: str | None
    key: Path | None

    def __post_init__(self) -> None:
        if self.run is None and self.part is not None:
            raise OptionError("--run with --part", "none", "give each part a folder of its own")
        if self.run is None and self.phi == "hash" and self.key is None:
            raise OptionError("--phi-key with --phi hash", "none", "name the file of one, or give --run")

    @property
    def policy(self) -> Phi:
        """How the run speaks of its inputs: as asked, else as it was started, else by pseudonyms."""
        if self.phi is not None:
            return parse_phi(self.phi)
        is_started = self.run is not None and (self.run / SETTINGS).exists()
        return parse_phi(RunSettings.read(self.run).phi) if is_started and self.run else "hash"

    @property
    def names_results(self) -> bool:
        """Whether the results name the files: they do, unless ``--phi`` was given and is not keep."""
        return self.phi is None or parse_phi(self.phi) == "keep"

    def refuse_drawings(self, *drawings: Path | None) -> None:
        """Raises OptionError for drawings where they cannot be: they name the images, and a journal holds none."""
        if any(path is not None for path in drawings) and (self.run is not None or not self.names_results):
            given = "--run" if self.run is not None else f"--phi {parse_phi(self.phi or '')}"
            raise OptionError(f"no {given} with --maps or --report", "both", "draw them by a second command")

    @property
    def results(self) -> Privacy:
        """How the results of a command without a run name their images: as they are, unless asked otherwise."""
        phi = "keep" if self.phi is None else parse_phi(self.phi)
        return Privacy(phi, read_key(self.key) if phi == "hash" and self.key else b"")
