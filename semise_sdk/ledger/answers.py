"""An answer as the journal keeps it, and back: whatever plain fields it has."""

import base64
import dataclasses
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import LedgerError
from semise_sdk.results import Classification, Severity
from semise_sdk.severity.resamples import RESAMPLES
from semise_sdk.system.json_fields import JsonField, JsonSource

Answered = Severity | Classification
Answer = TypeVar("Answer", bound=Answered)

_OWN_COLUMNS = ("file", "status", "reason")
_HALVES = np.dtype("<f2")
_ROW = JsonSource("a row of the journal", LedgerError, "update semise-sdk, or name another --run", shows_values=False)


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
    fields = _ROW.parse(text).data()
    added = _resampled(JsonField(fields.pop("resampled", ""), _ROW, ("resampled",)))
    answer = JsonField({**fields, "file": file, "status": status, "reason": reason}, _ROW).of(kind)
    shares = JsonField(list(answer.probabilities), _ROW, ("probabilities",))
    is_graded = isinstance(answer, Classification) and answer.label is not None
    if len(answer.probabilities) not in ((grades,) if is_graded else (0, grades)):
        raise shares.refused(f"to be {grades} shares, one for each grade", f"{len(answer.probabilities)}")
    for share in shares.entries():
        share.number(0, 1)
    if isinstance(answer, Classification):
        return answer
    return dataclasses.replace(answer, resampled=added)


def failed(kind: type[Answer], file: str, reason: str) -> Answer:
    """Returns the answer for an image without one."""
    return kind(file=file, status="error", reason=reason)


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    raise TypeError(f"expected texts, numbers and sequences of them in an answer, found {type(value).__name__}")


def _resampled(field: JsonField) -> NDArray[np.float16] | None:
    text = field.text()
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise field.refused("to be base64") from error
    if text and len(content) != RESAMPLES * _HALVES.itemsize:
        raise field.refused(f"to be {RESAMPLES} numbers of two bytes", f"{len(content)} bytes")
    return np.frombuffer(content, _HALVES).astype(np.float16) if text else None
