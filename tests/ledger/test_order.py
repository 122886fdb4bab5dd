"""The database sorts as ``ranked`` does, and gives back every field that an answer has."""

import dataclasses
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semise_sdk.errors import LedgerError
from semise_sdk.ledger.answers import answer_of, fields_of
from semise_sdk.ledger.inputs import as_blob, from_blob
from semise_sdk.ledger.journal import BY_SEVERITY
from semise_sdk.postprocess import ranked
from semise_sdk.results import Classification, Embedding, Severity

names = st.text(st.characters(codec=None, exclude_characters="\0/"), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.sampled_from([None, "abstain", 0.0, 0.5, 1.999999, 2.0]), max_size=12))
def test_a_journal_sorts_as_a_ranking_does(severities):
    rows = [
        Severity(file=file, severity=value)
        if isinstance(value, float)
        else Severity(file=file, status=value or "error", reason="a: b")
        for file, value in severities.items()
    ]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE answer (name BLOB, status TEXT, severity REAL)")
    connection.executemany(
        "INSERT INTO answer VALUES (?, ?, ?)", [(as_blob(row.file), row.status, row.severity) for row in rows]
    )
    query = f"SELECT name FROM answer ORDER BY {BY_SEVERITY}, name"  # noqa: S608  # of our own
    found = [from_blob(name) for (name,) in connection.execute(query)]
    connection.close()
    assert found == [row.file for row in ranked(rows)]


@pytest.mark.parametrize(
    "answer",
    [
        Severity(file="a", severity=0.123456, grade="mild"),
        Severity(file="a", severity=0.5, status="review", grade_set=("mild", "severe"), percentile=12.5, reason="w: x"),
        Severity(file="a", status="error", reason="truncated: cut short"),
        Classification(file="a", label="mild", probabilities=(0.1, 0.9)),
    ],
)
def test_an_answer_comes_back_whole(answer):
    import json

    text = json.dumps(fields_of(answer))
    assert answer_of(type(answer), text, file="a", status=answer.status, reason=answer.reason) == answer
    assert set(json.loads(text)) == {field.name for field in dataclasses.fields(answer)} - {"file", "status", "reason"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"of another sdk": 1}'])
def test_a_row_of_something_else_is_one_sentence(text):
    with pytest.raises(LedgerError, match="expected a row of the journal to hold a Severity of this SDK"):
        answer_of(Severity, text, file="a", status="ok", reason="")


def test_an_array_is_no_field_of_a_journal():
    import numpy as np

    with pytest.raises(TypeError, match="found ndarray"):
        fields_of(Embedding(file="a", embedding=np.zeros(3, np.float32)))
