"""An answer comes back from the journal as it went in, and nothing else comes back as an answer."""

import base64
import dataclasses
import json

import numpy as np
import pytest

from semise_sdk.errors import LedgerError
from semise_sdk.ledger.answers import answer_of, fields_of
from semise_sdk.results import Classification, Severity
from semise_sdk.severity.resamples import RESAMPLES

GRADES = {"a": 3, "b": 2, "c": 1, "d": 3}
RESAMPLED = np.linspace(-0.1, 0.1, RESAMPLES).astype(np.float16)
ANSWERS = (
    Severity(file="a"),
    Severity(
        file="b",
        severity=0.5,
        grade="mild",
        status="review",
        reason="wide_set: expected",
        probabilities=(0.25, 0.75),
        grade_set=("none", "mild"),
        percentile=97.5,
        severity_low=0.25,
        severity_high=1,
        resampled=RESAMPLED,
    ),
    Classification(file="c", label="mild", probabilities=(1.0,), grade_set=("mild",)),
    Classification(file="d", status="error", reason="empty_file: expected"),
)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.file)
def test_an_answer_comes_back(answer):
    text = json.dumps(fields_of(answer))
    read = answer_of(
        type(answer), text, grades=GRADES[answer.file], file=answer.file, status=answer.status, reason=answer.reason
    )
    assert read == answer
    if isinstance(answer, Severity) and answer.resampled is not None:
        assert (read.resampled.dtype, read.resampled.tobytes()) == (np.float16, answer.resampled.tobytes())


def test_what_is_stored_of_resamples_is_what_version_0_1_stored():
    stored = fields_of(ANSWERS[1])["resampled"]
    assert stored == base64.b64encode(RESAMPLED.astype("<f2").tobytes()).decode()
    assert fields_of(ANSWERS[0])["resampled"] == ""


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "[]",
        "{",
        '{"severity": "0.5"}',
        '{"severity": NaN}',
        '{"severity": 1e999}',
        f'{{"severity": {10**400}}}',
        '{"severity": [0.5]}',
        '{"unknown": 1}',
        '{"grade": 1}',
        '{"probabilities": 0.5}',
        '{"probabilities": ["a"]}',
        '{"probabilities": [0.5, 0.5]}',
        '{"probabilities": [0.1, 0.2, 0.3, 0.4]}',
        '{"grade_set": [1]}',
        '{"resampled": "AAAA"}',
        '{"resampled": "!"}',
        '{"resampled": null}',
        '{"percentile": {}}',
    ],
)
def test_a_row_that_holds_no_answer_is_a_damaged_journal(fields):
    with pytest.raises(LedgerError, match="a row of the journal to "):
        answer_of(Severity, fields, grades=3, file="a", status="ok", reason="")


def test_a_status_that_there_is_not_is_a_damaged_journal():
    with pytest.raises(LedgerError, match="a row of the journal to be "):
        answer_of(Classification, "{}", grades=3, file="a", status="fine", reason="")


@pytest.mark.parametrize("probabilities", [[], [0.5, 0.5], [7, -3, -3], [0.2, 0.3, 1e300]])
def test_a_grade_has_a_share_for_each_grade(probabilities):
    fields = json.dumps({"label": "mild", "probabilities": probabilities})
    with pytest.raises(LedgerError, match="a row of the journal to be "):
        answer_of(Classification, fields, grades=3, file="a", status="ok", reason="")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, each.name) for kind in (Severity, Classification) for each in dataclasses.fields(kind)]
)
def test_every_field_of_every_answer_is_checked(kind, name):
    wrong = {name: {"no": "answer holds this"}}
    given = {"file": "a", "status": "ok", "reason": ""}
    text = "{}" if name in given else json.dumps(wrong)
    with pytest.raises(LedgerError, match=f"expected {name} in a row of the journal to be "):
        answer_of(kind, text, grades=3, **{own: wrong.get(own, value) for own, value in given.items()})
