"""What every command prints with: results on standard output, progress and messages on standard error."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from semise_sdk.errors import OutputError

Item = TypeVar("Item")


class PipedConsole(Console):
    """A console that lets a reader's leaving be seen: rich's own ends the program with a code of its own."""

    def on_broken_pipe(self) -> None:
        """Raises BrokenPipeError."""
        raise BrokenPipeError


stderr = Console(stderr=True, highlight=False, soft_wrap=True)
stdout = PipedConsole(highlight=False, soft_wrap=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of a table.")]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option(help="Key that must have signed the bundle; $SEMISE_PUBLIC_KEY by default.", show_default=False),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")]


def print_json(data: object) -> None:
    """Prints ``data`` as JSON on standard output; NaN is refused, use None."""
    with writing("standard output"):
        sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")
        sys.stdout.flush()


def say(message: str, *, quiet: bool = False) -> None:
    """Prints one message on standard error unless ``quiet``."""
    if not quiet:
        stderr.print(message, markup=False)


def printable(text: str) -> Text:
    """Returns text as it may go to a terminal: no markup, no control characters."""
    return Text("".join(letter if letter.isprintable() else "?" for letter in text))


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """Yields a progress display with ETA on standard error; silent when ``quiet`` or not on a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=stderr, disable=quiet or not stderr.is_terminal) as display:
        yield display


def tracked(items: Iterable[Item], *, total: int | None, label: str, quiet: bool = False) -> Iterator[Item]:
    """Yields ``items`` while a progress bar counts them."""
    with progress(quiet=quiet) as display:
        task = display.add_task(label, total=total, note="")
        for item in items:
            yield item
            display.advance(task)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turns an operating-system error while writing ``what`` into one OutputError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"could not write {what}: {reason}; free space or choose another place") from error
