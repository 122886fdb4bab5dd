"""Which of two images is the more severe, how sure the bank is of it, and which places of a ranking it leaves open.

Both images are measured from the same resamples of the bank. A bank that is a little off moves all severities together,
so the difference of two is far more certain than the overlap of their intervals would say.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semise_sdk.results import Severity
from semise_sdk.severity.reference_bank import SEVERITY_DECIMALS, ReferenceBank
from semise_sdk.severity.resamples import interval_ends


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityDifference:
    """By how much the severity of one image exceeds that of another.

    Args:
        value: The first image's severity less the second's, -2 to 2.
        low: Lower end of its 95 % interval over the bank's resamples; None where the bank is one image.
        high: Upper end.
        share: Share of the resamples by which the first is the more severe, 0 to 1, equal ones counting half.
    """

    value: float
    low: float | None = None
    high: float | None = None
    share: float | None = None

    @property
    def is_decided(self) -> bool | None:
        """Whether the interval leaves out zero, so that the bank decides the order; None where there is none."""
        return None if self.low is None or self.high is None else self.low > 0 or self.high < 0


def measured_severity(bank: ReferenceBank, vector: NDArray[np.floating], *, file: str) -> Severity:
    """Returns the severity of one image's vector ``[D]``, with its interval where the bank is several images.

    Half precision keeps three digits of what each resample adds, which itself is known to one or two.

    Args:
        bank: What it is measured from.
        vector: The image's severity vector.
        file: The image's name.

    Raises:
        SpecError: the vector has no direction.
    """
    severity = float(bank.severity(vector[None])[0])
    resampled = bank.resampled(vector)
    if resampled is None:
        return Severity(file=file, severity=severity)
    low, high = (round(end, SEVERITY_DECIMALS) for end in interval_ends(resampled, severity))
    return Severity(
        file=file,
        severity=severity,
        severity_low=low,
        severity_high=high,
        resampled=(resampled - severity).astype(np.float16),
    )


def difference(first: Severity, second: Severity) -> SeverityDifference:
    """Returns by how much ``first`` is the more severe, over the resamples that both were measured from.

    Raises:
        ValueError: one has no severity, or one was measured from a bank of one image and the other was not.
    """
    if first.severity is None or second.severity is None:
        raise ValueError("expected two images with a severity, found one without")
    resamples = [0 if one.resampled is None else len(one.resampled) for one in (first, second)]
    if resamples[0] != resamples[1]:
        raise ValueError(f"expected images measured from one bank, found {resamples[0]} and {resamples[1]} resamples")
    value = round(first.severity - second.severity, SEVERITY_DECIMALS)
    if first.resampled is None or second.resampled is None:
        return SeverityDifference(value=value)
    added = value + (first.resampled.astype(np.float64) - second.resampled.astype(np.float64))
    low, high = (round(end, SEVERITY_DECIMALS) for end in interval_ends(added, value))
    return SeverityDifference(value=value, low=low, high=high, share=float(((np.sign(added) + 1) / 2).mean()))
