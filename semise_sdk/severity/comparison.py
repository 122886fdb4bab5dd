"""Two images side by side: which is the more severe, by how much, and how sure the reference bank is of it."""

from dataclasses import dataclass
from typing import Literal

from semise_sdk.results import Severity
from semise_sdk.severity.difference import SeverityDifference, difference
from semise_sdk.spec import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageComparison:
    """Two images measured from the same references, and from the same resamples of them.

    Args:
        first: The first image's severity, with its own interval and grade.
        second: The second's.
        difference: By how much the first is the more severe; None where one of them could not be scored.
        reference: What the severity was measured from: a file, a folder or ``bundle``.
        backend: Backend and device that ran, such as ``onnxruntime:CPUExecutionProvider``.
        precision: What the graphs computed in.
    """

    first: Severity
    second: Severity
    difference: SeverityDifference | None
    reference: str
    backend: str
    precision: Precision = "fp32"

    @property
    def more_severe(self) -> Literal["first", "second"] | None:
        """The more severe of the two; None for equal severities, and where one could not be scored.

        Whether the bank decides it, ``difference.is_decided`` says.
        """
        if self.difference is None or self.difference.value == 0:
            return None
        return "first" if self.difference.value > 0 else "second"


def difference_of(first: Severity, second: Severity) -> SeverityDifference | None:
    """Returns by how much ``first`` is the more severe; None where one of them has no severity."""
    return None if first.severity is None or second.severity is None else difference(first, second)
