"""Where a command's results go, and how they are written: ``--out``, ``--format``, ``--json`` and ``--quiet``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TextIO

import typer

from semise_sdk.cli.console import JsonOption, QuietOption
from semise_sdk.errors import EXIT_OK, OptionError, OutputError
from semise_sdk.tables.write import LAYOUTS, Layout, layout_of, text_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The options of a command that writes a row for each image."""

    out: Annotated[Path | None, typer.Option(help="File for the results; standard output by default.")] = None
    layout: Annotated[
        str | None, typer.Option("--format", help="csv, json or jsonl; by the suffix of --out by default.")
    ] = None
    as_json: JsonOption = False
    quiet: QuietOption = False

    def chosen_layout(self, default: Layout = "csv") -> Layout:
        """Returns how results are written: as asked, else as the suffix of ``out`` says; raises OptionError."""
        if self.as_json and self.layout not in (None, "json"):
            raise OptionError("--json or another --format", f"--json and --format {self.layout}", "keep one")
        for known in LAYOUTS:
            if known == ("json" if self.as_json else self.layout):
                return known
        if self.layout is not None:
            raise OptionError(f"--format {', '.join(LAYOUTS)}", repr(self.layout))
        return layout_of(self.out, default)

    @contextmanager
    def stream(self) -> Iterator[TextIO]:
        """Yields where results are written: standard output, or a file that appears when it is complete.

        Raises:
            OutputError: it cannot be written.
        """
        if self.out is not None:
            with text_file(self.out) as stream:
                yield stream
            return
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError as error:
            # The reader left, as `| head` does: nothing more to do, and nothing that a late flush could complain about.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_OK) from error
        except OSError as error:
            raise OutputError(f"could not write to standard output: {error.strerror}; free space") from error
