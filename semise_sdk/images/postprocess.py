"""Turns raw network outputs into results: probabilities, masks, maps and ranks."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from semise_sdk.images.preprocess import mask_to_source
from semise_sdk.images.record import Geometry
from semise_sdk.results import RankedImage, Severity
from semise_sdk.severity.difference import shared_places

_NEEDS_A_HUMAN, _SCORED, _UNREADABLE = range(3)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the probabilities ``[N, K]`` of logits ``[N, K]``; each row sums to 1.

    Example:
        >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
        array([[0.5, 0.5],
               [1. , 0. ]])
    """
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns ``1 / (1 + exp(-logits))`` for logits of any size without overflow.

    Example:
        >>> sigmoid(np.array([-1000.0, 0.0, 1000.0], dtype=np.float32))
        array([0. , 0.5, 1. ], dtype=float32)
    """
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)


def mask_of(logits: NDArray[np.float32], geometry: Geometry, *, threshold: float) -> tuple[NDArray[np.uint8], float]:
    """Returns the mask ``[H, W]`` of 0 and 255 at the source's upright size, and its share of the image's area.

    Args:
        logits: Mask logits ``[h, w]`` on the canvas.
        geometry: Where the image lies on the canvas.
        threshold: Probability from which a pixel belongs to the mask.
    """
    inside = mask_to_source(sigmoid(logits), geometry) >= threshold
    return np.where(inside, np.uint8(255), np.uint8(0)), float(inside.mean())


def severity_map_of(places: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Returns the severity map ``[H, W]`` at the source's upright size from one of the network's places ``[h, w]``."""
    return mask_to_source(places, geometry)


def ranked(severities: Iterable[Severity]) -> tuple[RankedImage, ...]:
    """Returns the images from most to least severe, numbered from 1.

    Those that a gate refused to score come first, without a rank: they need a human, and none of them is to be found
    below a healthy image. Files that cannot be read come last, without a rank. Both go by name.

    Equal severities keep ranks of their own, in the order of their file names: the same images give the same ranking
    whatever order they came in. Which of them the bank does not tell apart, ``tie`` says.

    Example:
        >>> [row.file for row in ranked([Severity(file="a", severity=0.1), Severity(file="b", severity=0.2)])]
        ['b', 'a']
    """
    return tuple(numbered(sorted(severities, key=severity_order)))


def numbered(rows: Iterable[Severity]) -> Iterator[RankedImage]:
    """Yields rows that come in the order of :func:`severity_order`; those with a severity are numbered from 1."""
    given, placed = itertools.tee(rows)
    rank = 0
    for row, tie in zip(given, shared_places(placed), strict=True):
        rank += row.severity is not None
        yield RankedImage(
            rank=None if row.severity is None else rank,
            file=row.file,
            severity=row.severity,
            grade=row.grade,
            status=row.status,
            reason=row.reason,
            probabilities=row.probabilities,
            grade_set=row.grade_set,
            percentile=row.percentile,
            severity_low=row.severity_low,
            severity_high=row.severity_high,
            tie=tie,
        )


def severity_order(row: Severity) -> tuple[int, float, str]:
    """Returns what a ranking is sorted by: what needs a human, then what has a severity, then what is unreadable.

    ``ledger.journal.BY_SEVERITY`` says the same to a database.
    """
    return _band(row), -(row.severity or 0.0), row.file


def _band(row: Severity) -> int:
    if row.severity is not None:
        return _SCORED
    return _NEEDS_A_HUMAN if row.status == "abstain" else _UNREADABLE
