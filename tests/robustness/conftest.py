"""The robustness suite: each test hands in its figures by name, and the run prints them all with their seconds.

``make test`` runs every suite at a small size, ``make robustness`` (``SEMISE_ROBUSTNESS=full``) at the full one.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path

import pytest

IS_FULL = os.environ.get("SEMISE_ROBUSTNESS") == "full"
# Where the figures go as JSON, besides the terminal.
REPORT = "SEMISE_ROBUSTNESS_REPORT"

PROPERTY = "robustness figure"


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
    # With its report, which reaches the process that prints the figures from any other that ran the test.
    request.node.user_properties.extend((PROPERTY, line | {"seconds": seconds}) for line in mine)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures, and writes them where $SEMISE_ROBUSTNESS_REPORT says."""
    figures = sorted(_figures(terminalreporter), key=itemgetter("suite"))
    if not figures:
        return
    terminalreporter.section("robustness, full" if IS_FULL else "robustness, small")
    for line in figures:
        terminalreporter.line(f"{line['suite']}: {line['figure']}: {line['value']} ({line['seconds']} s)")
    if os.environ.get(REPORT):
        Path(os.environ[REPORT]).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _figures(reporter: pytest.TerminalReporter) -> list[dict[str, object]]:
    reports = [report for kind in reporter.stats.values() for report in kind if isinstance(report, pytest.TestReport)]
    return [
        value
        for report in reports
        if report.when == "teardown"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
