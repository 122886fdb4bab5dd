"""An answer as the journal keeps it, and back: whatever plain fields it has."""

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import TypeVar, get_args

from semise_sdk.errors import LedgerError
from semise_sdk.results import Classification, Severity, Status
from semise_sdk.severity.difference import STORED
from semise_sdk.severity.resamples import RESAMPLES

Answered = Severity | Classification
Answer = TypeVar("Answer", bound=Answered)

_OWN_COLUMNS = ("file", "status", "reason")


def fields_of(answer: Answered) -> dict[str, object]:
    """Returns every field of an answer that has no column of its own, as plain JSON data.

    Raises:
        TypeError: a field is no text, number, sequence of these, or None.
    """
    return {
        field.name: _plain(getattr(answer, field.name))
        for field in dataclasses.fields(answer)
        if field.name not in _OWN_COLUMNS
    }


def answer_of(kind: type[Answer], text: str, *, grades: int, file: str, status: str, reason: str) -> Answer:
    """Returns the answer of a journal's row; one that has probabilities has one for each of ``grades``.

    Raises:
        LedgerError: the row holds no such answer, which a journal from elsewhere may do.
    """
    try:
        fields: object = json.loads(text)
        if not isinstance(fields, Mapping):
            raise TypeError(type(fields).__name__)
        values = {str(name): tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        answer = kind(**values, file=file, status=status, reason=reason)  # type: ignore[arg-type]  # checked below
        _check(answer, grades)
        return answer
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LedgerError(
            f"expected a row of the journal to hold a {kind.__name__} of this SDK, found otherwise: update semise-sdk, "
            "or name another --run"
        ) from error


def failed(kind: type[Answer], file: str, reason: str) -> Answer:
    """Returns the answer for an image without one."""
    return kind(file=file, status="error", reason=reason)


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    raise TypeError(f"expected texts, numbers and sequences of them in an answer, found {type(value).__name__}")


def _check(answer: Answered, grades: int) -> None:
    """Raises TypeError where a field holds what no answer does: its readers count on every type."""
    for field in dataclasses.fields(answer):
        if not _HOLDS[field.name](getattr(answer, field.name)):
            raise TypeError(field.name)
    is_graded = isinstance(answer, Classification) and answer.label is not None
    if len(answer.probabilities) not in ((grades,) if is_graded else (0, grades)):
        raise ValueError("probabilities")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_share(value: object) -> bool:
    return _is_number(value) and isinstance(value, int | float) and 0 <= value <= 1


def _is_resampled(value: object) -> bool:
    return isinstance(value, str) and (
        not value or len(base64.b64decode(value, validate=True)) == RESAMPLES * STORED.itemsize
    )


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


def _all(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and all(map(check, value))


_HOLDS: Mapping[str, Callable[[object], bool]] = {
    "file": _is_text,
    "status": lambda value: value in get_args(Status),
    "reason": _is_text,
    "severity": _or_none(_is_number),
    "severity_low": _or_none(_is_number),
    "severity_high": _or_none(_is_number),
    "percentile": _or_none(_is_number),
    "grade": _or_none(_is_text),
    "label": _or_none(_is_text),
    "probabilities": _all(_is_share),
    "grade_set": _all(_is_text),
    "resampled": _is_resampled,
}
