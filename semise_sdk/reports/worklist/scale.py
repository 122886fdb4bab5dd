"""Where severities lie on the page: one scale for every bar, and the histogram."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from semise_sdk.results import RankedImage

TOPS = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0)
"""Where a scale may end: few ends, so that two worklists of one bundle mostly have the same."""

BINS = 40


@dataclass(frozen=True, slots=True)
class Bar:
    """One severity on the scale, each a share of its length; the interval's ends are None where there is none."""

    length: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of the histogram: severities from ``low`` to below ``high``, the last bar's end included."""

    low: float
    high: float
    count: int
    height: float


@dataclass(frozen=True, slots=True)
class SeverityScale:
    """The scale that all bars of a worklist share: from 0 to the end of ``TOPS`` that holds every severity."""

    top: float

    @classmethod
    def over(cls, rows: Sequence[RankedImage]) -> "SeverityScale":
        """Returns the scale for some rows."""
        largest = max((row.severity for row in rows if row.severity is not None), default=0.0)
        return cls(next((top for top in TOPS if largest <= top), TOPS[-1]))

    @property
    def ticks(self) -> tuple[float, ...]:
        """The severities that the scale marks, its ends included."""
        steps = 3 if self.top == 1.5 else 4
        return tuple(self.top * step / steps for step in range(steps + 1))

    def share(self, severity: float) -> float:
        """Returns where a severity lies between the ends of the scale, 0 to 1."""
        return min(1.0, max(0.0, severity / self.top))

    def bar(self, row: RankedImage) -> Bar | None:
        """Returns a row's bar; None where it has no severity."""
        if row.severity is None:
            return None
        low, high = (None if end is None else self.share(end) for end in (row.severity_low, row.severity_high))
        return Bar(self.share(row.severity), low, high)

    def histogram(self, rows: Sequence[RankedImage], bins: int = BINS) -> tuple[Bin, ...]:
        """Returns how many severities lie in each of ``bins`` equal steps; the fullest has height 1."""
        counts = [0] * bins
        for row in rows:
            if row.severity is not None:
                counts[min(bins - 1, math.floor(self.share(row.severity) * bins))] += 1
        step, fullest = self.top / bins, max(1, *counts)
        return tuple(Bin(step * i, step * (i + 1), count, count / fullest) for i, count in enumerate(counts))
