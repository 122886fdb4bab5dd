"""The robustness suite: each test hands in its figures by name, and the run prints them all with their seconds.

``make test`` runs every suite at a small size, ``make robustness`` (``SEMISE_ROBUSTNESS=full``) at the full one.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

IS_FULL = os.environ.get("SEMISE_ROBUSTNESS") == "full"
# Where the figures go as JSON, besides the terminal.
REPORT = "SEMISE_ROBUSTNESS_REPORT"

_figures: list[dict[str, object]] = []


@pytest.fixture(scope="session")
def amount() -> Callable[[int, int], int]:
    """Returns how many of something a suite does: the first number in ``make test``, the second in full."""
    return lambda quick, full: full if IS_FULL else quick


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Iterator[Callable[[str, object], None]]:
    """Returns what records a figure of this suite, as ``figure("deaths of the main process", 0)``."""
    started = time.perf_counter()
    suite = request.node.path.stem.removeprefix("test_")
    mine: list[dict[str, object]] = []
    yield lambda name, value: mine.append({"suite": suite, "test": request.node.name, "figure": name, "value": value})
    seconds = round(time.perf_counter() - started, 2)
    _figures.extend(line | {"seconds": seconds} for line in mine)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures, and writes them where $SEMISE_ROBUSTNESS_REPORT says."""
    if not _figures:
        return
    terminalreporter.section("robustness, full" if IS_FULL else "robustness, small")
    for line in _figures:
        terminalreporter.line(f"{line['suite']}: {line['figure']}: {line['value']} ({line['seconds']} s)")
    if os.environ.get(REPORT):
        Path(os.environ[REPORT]).write_text(json.dumps(_figures, indent=2) + "\n", encoding="utf-8")
