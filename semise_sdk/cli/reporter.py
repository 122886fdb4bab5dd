"""Draws the progress of long work with ETA on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress, TaskID

from semise_sdk.cli.console import progress, say


class ConsoleReporter:
    """A reporter that draws one progress bar per part of the work."""

    def __init__(self, display: Progress, *, quiet: bool) -> None:
        self._display = display
        self._quiet = quiet
        self._task: TaskID | None = None

    def start(self, label: str, total: int) -> None:
        """A part of ``total`` steps begins; the bar before it is done."""
        if self._task is not None:
            self._display.update(self._task, note="")
        self._task = self._display.add_task(label, total=total, note="")
        if not self._display.live.is_started:
            say(f"{label}: {total} steps", quiet=self._quiet)

    def step(self, note: str) -> None:
        """One step is done."""
        if self._task is not None:
            self._display.update(self._task, advance=1, note=note)

    def say(self, message: str) -> None:
        """Prints a line above the bars."""
        say(message, quiet=self._quiet)


class OneBarReporter(ConsoleReporter):
    """A reporter whose next part takes the bar of the one before: for the parts within each of many pieces of work."""

    def start(self, label: str, total: int) -> None:
        """A part of ``total`` steps begins, the one before goes; silent where no bar can be drawn."""
        if self._task is not None:
            self._display.remove_task(self._task)
        self._task = self._display.add_task(label, total=total, note="")


@contextmanager
def reporting(*, quiet: bool) -> Iterator[ConsoleReporter]:
    """Yields a reporter that draws until the work ends."""
    with progress(quiet=quiet) as display:
        yield ConsoleReporter(display, quiet=quiet)
