"""How long work tells its caller what it does, without printing."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Reporter(Protocol):
    """Receives progress; the command line draws it, a program may ignore it."""

    def start(self, label: str, total: int) -> None:
        """A part of ``total`` steps begins."""

    def step(self, note: str) -> None:
        """One step is done; ``note`` holds the live figures."""

    def say(self, message: str) -> None:
        """Something worth a line happened."""


class SilentReporter:
    """A reporter that drops everything."""

    def start(self, label: str, total: int) -> None:
        """Drops it."""

    def step(self, note: str) -> None:
        """Drops it."""

    def say(self, message: str) -> None:
        """Drops it."""


def reported(items: Iterable[Item], reporter: Reporter, *, label: str, total: int) -> Iterator[Item]:
    """Yields ``items`` while ``reporter`` is told of each."""
    reporter.start(label, total)
    for item in items:
        reporter.step("")
        yield item
