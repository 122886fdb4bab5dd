"""The rows of a worklist: who comes first, what a page holds of each, and how a name is shown."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from semise_sdk.results import RankedImage
from semise_sdk.tables.write import utf8_text

JOINERS = "\u200c\u200d"
"""Invisible, but part of how words of Persian, Hindi and others are written."""

_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many images a worklist holds of each kind; ``ranked`` includes those to review."""

    total: int
    ranked: int
    review: int
    abstained: int
    unreadable: int

    @classmethod
    def of(cls, rows: Sequence[RankedImage]) -> "Counts":
        """Returns the counts of some rows."""
        waiting = [row for row in rows if needs_human(row)]
        return cls(
            total=len(rows),
            ranked=len(rows) - len(waiting),
            review=sum(row.status == "review" for row in rows),
            abstained=sum(row.status != "error" for row in waiting),
            unreadable=sum(row.status == "error" for row in waiting),
        )


def needs_human(row: RankedImage) -> bool:
    """Returns whether the model gave no severity, so that only a person can tell how urgent the image is."""
    return row.severity is None or row.status in ("abstain", "error")


def page_order(rows: Sequence[RankedImage]) -> list[RankedImage]:
    """Returns the rows as a worklist shows them: not scored, unreadable, then ranked; each kind in its given order.

    What the model could not judge is never at the bottom: it may be the most urgent image of all.

    Example:
        >>> blank = {"severity": None, "grade": None, "reason": "", "rank": None}
        >>> ranked = RankedImage(rank=1, file="a", severity=0.4, grade=None, status="ok", reason="")
        >>> lost = RankedImage(file="b", status="error", **blank)
        >>> dark = RankedImage(file="c", status="abstain", **blank)
        >>> [row.file for row in page_order([ranked, lost, dark])]
        ['c', 'b', 'a']
    """
    return sorted(rows, key=lambda row: (not needs_human(row), row.status == "error"))


def split(rows: Sequence[RankedImage], size: int) -> list[Sequence[RankedImage]]:
    """Returns the rows in pages of at most ``size``; one empty page where there are none."""
    return [rows[start : start + size] for start in range(0, max(1, len(rows)), size)]


def facts(row: RankedImage, labels: Sequence[str]) -> dict[str, object]:
    """Returns what a page exports of a row: plain JSON data, text that any encoding takes, numbers of 6 decimals.

    Raises:
        ValueError: ``labels`` are not those of the row's probabilities.
    """
    if row.probabilities and len(row.probabilities) != len(labels):
        raise ValueError(f"expected a label for each of {len(row.probabilities)} probabilities, found {len(labels)}")
    return {
        "rank": row.rank,
        "tie": row.tie,
        "file": utf8_text(row.file),
        "status": row.status,
        "reason": utf8_text(row.reason),
        "severity": _rounded(row.severity),
        "severity_low": _rounded(row.severity_low),
        "severity_high": _rounded(row.severity_high),
        "percentile": _rounded(row.percentile),
        "grade": row.grade,
        "grade_set": list(row.grade_set),
        "probabilities": {label: _rounded(p) for label, p in zip(labels, row.probabilities, strict=False)},
        "needs_human": needs_human(row),
    }


def visible(text: str) -> str:
    r"""Returns text with what cannot be seen, or turns the reading direction, written as an escape.

    Example:
        >>> visible("scan\u202egnp.exe")
        'scan\\u202egnp.exe'
    """
    return "".join(_seen(letter) for letter in utf8_text(text))


def parted(reason: str) -> tuple[str, str]:
    """Returns the code of a reason and its sentence; no code where it has none.

    Example:
        >>> parted("truncated: 'a.png': expected more data")
        ('truncated', "'a.png': expected more data")
    """
    code, colon, sentence = reason.partition(": ")
    return (code, sentence) if colon and code.isidentifier() else ("", reason)


def _seen(letter: str) -> str:
    if letter in JOINERS or unicodedata.category(letter) not in _UNSEEN:
        return letter
    return _SHORT.get(letter, f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}")


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)
