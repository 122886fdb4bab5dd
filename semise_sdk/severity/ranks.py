"""The order of a ranking: who stands where, and which places the reference bank leaves open."""

import itertools
from collections.abc import Iterable, Iterator

from semise_sdk.results import RankedImage, Severity, severity_fields
from semise_sdk.severity.difference import difference

_NEEDS_A_HUMAN, _SCORED, _UNREADABLE = range(3)


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
        kept = severity_fields(row) | {"resampled": None}  # what it was for, the tie, is known
        yield RankedImage(rank=None if row.severity is None else rank, tie=tie, **kept)


def severity_order(row: Severity) -> tuple[int, float, str]:
    """Returns what a ranking is sorted by: what needs a human, then what has a severity, then what is unreadable.

    ``ledger.journal.BY_SEVERITY`` says the same to a database.
    """
    return _band(row), -(row.severity or 0.0), row.file


def _band(row: Severity) -> int:
    if row.severity is not None:
        return _SCORED
    return _NEEDS_A_HUMAN if row.status == "abstain" else _UNREADABLE


def shared_places(rows: Iterable[Severity]) -> Iterator[int | None]:
    """Yields the place, from 1, that each image of a ranking shares with those that the bank does not tell from it.

    A group begins with its most severe image. The images below belong to it for as long as the 95 % interval of their
    difference to that first image holds zero, and all take its place, as in a competition: 1, 2, 2, 2, 5. Of any two
    groups the first images are told apart. Neighbours across a border need not be, and being told from the first image
    is what counts: a chain of undecided neighbours would run on, over severities that are far apart (on BUSI, 64 of 195
    images became one chain, whose ends differ clearly; the largest group here is 9).

    Args:
        rows: In descending severity; rows without severity may come first or last.

    Yields:
        The place; None for a row without severity, and for all where the bank is one image.
    """
    head: Severity | None = None
    place = scored = 0
    for row in rows:
        scored += row.severity is not None
        if row.severity is None or row.resampled is None:
            yield None
            continue
        if head is None or difference(head, row).is_decided:
            head, place = row, scored
        yield place
