"""The database sorts as ``ranked`` does, and gives back every field that an answer has."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semise_sdk.ledger.answers import fields_of
from semise_sdk.ledger.inputs import as_blob, from_blob
from semise_sdk.ledger.journal import BY_SEVERITY
from semise_sdk.results import Embedding, Severity
from semise_sdk.severity.ranks import ranked

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


def test_an_array_is_no_field_of_a_journal():
    import numpy as np

    with pytest.raises(TypeError, match="found ndarray"):
        fields_of(Embedding(file="a", embedding=np.zeros(3, np.float32)))
