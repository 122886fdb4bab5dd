"""A comparison of two images as a JSON document and as a sentence."""

import dataclasses

from semise_sdk.results import Severity
from semise_sdk.severity.comparison import ImageComparison
from semise_sdk.severity.difference import SeverityDifference
from semise_sdk.tables.write import Header, utf8_text

ONE_REFERENCE = (
    "one healthy reference cannot say how sure that is: name several with --reference, or leave it out for the "
    "bundle's own"
)


def comparison_document(comparison: ImageComparison, *, bundle: str) -> dict[str, object]:
    """Returns plain JSON data: where the answer comes from, both images, their difference, and the more severe."""
    header = Header(
        bundle=bundle,
        backend=comparison.backend,
        precision=comparison.precision,
        reference=comparison.reference,
    )
    return {
        **header.to_json(),
        "first": _image(comparison.first),
        "second": _image(comparison.second),
        "difference": None if comparison.difference is None else _difference(comparison.difference),
        "more_severe": comparison.more_severe,
    }


def comparison_sentence(comparison: ImageComparison) -> str:
    """Returns what the comparison says, for a person.

    Example:
        >>> image = Severity(file="a.png", severity=0.5)
        >>> comparison_sentence(
        ...     ImageComparison(
        ...         first=image,
        ...         second=image,
        ...         difference=SeverityDifference(value=0.0, low=0.0, high=0.0, share=0.5),
        ...         reference="bundle",
        ...         backend="",
        ...     )
        ... )
        'The two are equally severe.'
    """
    change, more_severe = comparison.difference, comparison.more_severe
    if change is None:
        is_either = comparison.first.severity is not None or comparison.second.severity is not None
        found = "one of them has no severity" if is_either else "neither of them has a severity"
        return f"They cannot be compared: {found}."
    if more_severe is None:
        return "The two are equally severe."
    lead = f"The {more_severe} is the more severe by {abs(change.value):.4f}"
    if change.low is None or change.high is None or change.share is None:
        return f"{lead}; {ONE_REFERENCE}."
    ends = sorted((change.low, change.high)) if change.value > 0 else sorted((-change.low, -change.high))
    share = change.share if change.value > 0 else 1 - change.share
    decision = "the references decide it" if change.is_decided else "the references leave it open"
    return (
        f"{lead}, 95 % interval {ends[0]:.4f} to {ends[1]:.4f}: {decision} (so in {100 * share:.0f} % of their "
        "resamples)."
    )


def _image(answer: Severity) -> dict[str, object]:
    columns = ("file", "severity", "severity_low", "severity_high", "grade", "status", "reason")
    return {name: utf8_text(value) if isinstance(value := getattr(answer, name), str) else value for name in columns}


def _difference(change: SeverityDifference) -> dict[str, object]:
    return {**dataclasses.asdict(change), "is_decided": change.is_decided}
