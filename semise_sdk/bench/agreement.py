"""How far one engine's answers agree with the bundle's own fp32 run, in the units that users read."""

from collections.abc import Iterable

import numpy as np

from semise_sdk.metrics import c_index, kendall_tau, mask_counts, pooled_dice
from semise_sdk.results import Analysis

Figures = dict[str, float | int | str | None]


def agreement(reference: Iterable[Analysis], candidate: Iterable[Analysis]) -> Figures:
    """Returns the figures of two runs over the same images; None where the model, or the ranking, gives none.

    ``kendall_tau`` and ``c_index`` are of the ranking, ``class_flips`` the images whose grade differs, ``pooled_dice``
    that of all pixels, ``severity_error`` the largest difference of one severity. An image that either could not
    read counts in ``failed`` only.
    """
    truth, found, counts, failed = [], [], [], 0
    flips: int | None = None
    for one, other in zip(reference, candidate, strict=True):
        if one.severity is None or other.severity is None:
            failed += 1
            continue
        truth.append(one.severity)
        found.append(other.severity)
        if one.grade is not None:
            flips = (flips or 0) + (one.grade != other.grade)
        if one.mask is not None and other.mask is not None:
            counts.append(mask_counts(other.mask, one.mask))
    severities, others = np.array(truth, np.float64), np.array(found, np.float64)
    levels = np.unique(severities, return_inverse=True)[1]
    return {
        "images": len(truth),
        "failed": failed,
        "kendall_tau": kendall_tau(levels, others),
        "c_index": c_index(levels, others),
        "class_flips": flips,
        "pooled_dice": pooled_dice(np.array(counts, np.int64).reshape(-1, 3)),
        "severity_error": float(np.abs(severities - others).max(initial=0.0)),
    }
