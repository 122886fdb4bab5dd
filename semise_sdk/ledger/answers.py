"""An answer as the journal keeps it, and back: whatever plain fields it has."""

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import LedgerError
from semise_sdk.results import Classification, Severity, Status
from semise_sdk.severity.resamples import RESAMPLES

Answered = Severity | Classification
Answer = TypeVar("Answer", bound=Answered)

_OWN_COLUMNS = ("file", "status", "reason")
_HALVES = np.dtype("<f2")


def fields_of(answer: Answered) -> dict[str, object]:
    """Returns every field of an answer that has no column of its own, as plain JSON data.

    What each resample adds is kept as base64 of little-endian half-precision numbers; empty for none.

    Raises:
        TypeError: a field is no text, number, sequence of these, or None.
    """
    values = {each.name: getattr(answer, each.name) for each in dataclasses.fields(answer)}
    if isinstance(answer, Severity):
        added = b"" if answer.resampled is None else answer.resampled.astype(_HALVES).tobytes()
        values["resampled"] = base64.b64encode(added).decode()
    return {name: _plain(value) for name, value in values.items() if name not in _OWN_COLUMNS}


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
        if "resampled" in values:
            values["resampled"] = _resampled(values["resampled"])
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


def _resampled(text: object) -> NDArray[np.float16] | None:
    if not isinstance(text, str):
        raise TypeError("resampled")
    if not text:
        return None
    content = base64.b64decode(text, validate=True)
    if len(content) != RESAMPLES * _HALVES.itemsize:
        raise ValueError("resampled")
    return np.frombuffer(content, _HALVES).astype(np.float16)


def _check(answer: Answered, grades: int) -> None:
    """Raises TypeError or ValueError where a field holds what no answer does: its readers count on every type."""
    for name, kind in get_type_hints(type(answer)).items():
        if not _HOLDS[kind](getattr(answer, name)):
            raise TypeError(name)
    is_graded = isinstance(answer, Classification) and answer.label is not None
    if len(answer.probabilities) not in ((grades,) if is_graded else (0, grades)):
        raise ValueError("probabilities")
    if not all(0 <= share <= 1 for share in answer.probabilities):
        raise ValueError("probabilities")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _all(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and all(map(check, value))


# By the type of a field, so that a new field of an answer is checked without being named here.
_HOLDS: Mapping[object, Callable[[object], bool]] = {
    Status: lambda value: value in get_args(Status),
    str: _is_text,
    str | None: lambda value: value is None or _is_text(value),
    float | None: lambda value: value is None or _is_number(value),
    tuple[float, ...]: _all(_is_number),
    tuple[str, ...]: _all(_is_text),
    NDArray[np.float16] | None: lambda value: value is None or isinstance(value, np.ndarray),
}
