"""The progress bars: one that stays for the whole, one that the parts take in turn."""

from semise_sdk.cli.console import progress
from semise_sdk.cli.reporter import ConsoleReporter, OneBarReporter


def test_each_part_has_a_bar_of_its_own_or_takes_the_one_before():
    with progress(quiet=True) as display:
        whole, parts = ConsoleReporter(display, quiet=True), OneBarReporter(display, quiet=True)
        whole.start("cells", 2)
        for label in ("phase1", "phase2", "classifiers"):
            parts.start(label, 3)
            parts.step("loss 1.0")
        whole.step("first")
        assert [(task.description, task.completed, task.total) for task in display.tasks] == [
            ("cells", 1, 2), ("classifiers", 1, 3)
        ]  # fmt: skip
