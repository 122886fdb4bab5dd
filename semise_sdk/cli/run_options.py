"""How a command speaks of its inputs, ``--phi`` and ``--phi-key``, and that it is a run: ``--run`` and ``--part``."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer

from semise_sdk.cli.messages import PHI_VARIABLE
from semise_sdk.errors import OptionError
from semise_sdk.images.record import FoundImage, NamedImage
from semise_sdk.ledger import RunSettings
from semise_sdk.ledger.settings import SETTINGS
from semise_sdk.predictor import describe_reference
from semise_sdk.privacy import Phi, Privacy, parse_phi, read_key

KEY_VARIABLE = "SEMISE_PHI_KEY"

PhiOption = Annotated[
    str | None,
    typer.Option(
        "--phi", envvar=PHI_VARIABLE, help="keep, hash or drop names in results and messages.", show_default="keep"
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--phi-key", envvar=KEY_VARIABLE, help="File of the key for --phi hash; phi.key in the run folder by default."
    ),
]


class _Named(Protocol):
    @property
    def file(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a command that may be a run."""

    run: Annotated[
        Path | None, typer.Option(help="Folder of a run that goes on after a kill, with its journal and audit trail.")
    ] = None
    part: Annotated[
        str | None, typer.Option(help="i/n: with --run, only this share of the images; see semise merge.")
    ] = None
    phi: Annotated[
        str | None,
        typer.Option(
            envvar=PHI_VARIABLE,
            help="keep, hash or drop names in journal, audit and messages (hash by default with --run); when given, in "
            "the results too.",
        ),
    ] = None
    key: KeyOption = None

    def __post_init__(self) -> None:
        if self.run is not None:
            return
        if self.part is not None:
            raise OptionError("--run with --part", "none", "give each part a folder of its own")
        if self.phi == "hash" and self.key is None:
            raise OptionError(
                "--phi-key with --phi hash (or SEMISE_PHI)", "none", "name the file of one, or --phi keep"
            )
        _ = self.results  # a policy or key that cannot be used is said before hours of work
        # A key of the environment is a site's default; one that is typed asks for pseudonyms.
        is_typed = self.key is not None and self.key != Path(os.environ.get(KEY_VARIABLE, ""))
        if is_typed and self.phi != "hash":
            raise OptionError("--phi hash with --phi-key", f"--phi {self.phi or 'keep'}", "leave the key out, or hash")

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

    def refuse_drawings(self, *, maps: Path | None = None, report: Path | None = None) -> None:
        """Raises OptionError for what cannot be drawn: a run draws no maps, and a page names what it shows."""
        if self.run is not None and maps is not None:
            raise OptionError("no --run with --maps", "both", "draw them by a second command")
        if self.part is not None and report is not None:
            raise OptionError("no --part with --report", "both", "semise merge --report draws all parts")
        if report is not None and not self.names_results:
            raise OptionError(
                f"no --phi {parse_phi(self.phi or '')} with --report", "both", "give --phi keep, or leave the page out"
            )

    @property
    def results(self) -> Privacy:
        """How the results of a command without a run name their images: as they are, unless asked otherwise."""
        phi = "keep" if self.phi is None else parse_phi(self.phi)
        return Privacy(phi, read_key(self.key) if phi == "hash" and self.key else b"")

    def described(self, reference: Path | None) -> str:
        """Returns what severity is measured from, as the results may tell it."""
        return reference_name(reference, "keep" if self.names_results else "drop")

    def named(self, answers: Iterable[tuple[FoundImage, Named]]) -> Iterator[tuple[FoundImage, Named]]:
        """Yields each image with its answer, both called as the results may call them; drawings take that name too."""
        privacy = self.results
        for number, (found, answer) in enumerate(answers, start=1):
            shown = privacy.veiled(answer, number=number, path=found.source)
            yield NamedImage(shown.file, found.source), shown


@dataclass(frozen=True, slots=True, kw_only=True)
class NamingOptions(RunOptions):
    """The options of a command that is never a run: how its results name the images."""

    run: None = None
    part: None = None
    phi: PhiOption = None
    key: Annotated[
        Path | None, typer.Option("--phi-key", envvar=KEY_VARIABLE, help="File of the key for --phi hash.")
    ] = None


def reference_name(reference: Path | None, phi: Phi) -> str:
    """Returns what severity is measured from, without its path unless names are kept."""
    return describe_reference(reference) if reference is None or phi == "keep" else "given"
