"""An answer as the journal keeps it, and back: whatever plain fields it has."""

import dataclasses
import json
from collections.abc import Mapping
from typing import TypeVar

from semise_sdk.errors import LedgerError
from semise_sdk.results import Classification, Severity

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


def answer_of(kind: type[Answer], text: str, *, file: str, status: str, reason: str) -> Answer:
    """Returns the answer of a journal's row.

    Raises:
        LedgerError: the row holds no such answer.
    """
    try:
        fields: object = json.loads(text)
        if not isinstance(fields, Mapping):
            raise TypeError(type(fields).__name__)
        values = {str(name): tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return kind(**values, file=file, status=status, reason=reason)  # type: ignore[arg-type]  # of our own journal
    except (ValueError, TypeError, RecursionError) as error:
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
