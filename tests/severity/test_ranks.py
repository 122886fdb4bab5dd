"""The order of a ranking, and what stands at its ends."""

import json

import numpy as np

from semise_sdk.ledger.answers import answer_of, fields_of
from semise_sdk.results import Severity
from semise_sdk.severity.difference import measured_severity
from semise_sdk.severity.ranks import numbered, ranked
from semise_sdk.severity.reference_bank import ReferenceBank


def rows(*pairs):
    return [
        Severity(file=file, severity=severity)
        if severity is not None
        else Severity(file=file, status="error", reason="damaged")
        for file, severity in pairs
    ]


def test_the_most_severe_comes_first_and_failed_ones_last_without_rank():
    ranking = ranked(rows(("z", None), ("a", 0.1), ("b", 1.2), ("c", None), ("d", 0.0)))
    assert [(row.rank, row.file) for row in ranking] == [(1, "b"), (2, "a"), (3, "d"), (None, "c"), (None, "z")]
    assert ranking[-1].severity is None
    assert (ranking[-1].status, ranking[-1].reason) == ("error", "damaged")


def test_equal_severities_rank_by_file_name_whatever_order_they_came_in():
    pairs = [("b", 0.5), ("a", 0.5), ("c", 0.5), ("d", 0.7)]
    expected = [(1, "d"), (2, "a"), (3, "b"), (4, "c")]
    for order in (pairs, pairs[::-1]):
        assert [(row.rank, row.file) for row in ranked(rows(*order))] == expected


def test_rows_are_numbered_as_they_come():
    ranking = numbered(Severity(file="a", severity=0.5) for _ in iter(int, 1))
    assert [next(ranking).rank for _ in range(3)] == [1, 2, 3]


def test_answers_that_a_journal_kept_as_json_share_their_places_as_before():
    generator = np.random.default_rng(0)
    bank = ReferenceBank((generator.normal(size=(20, 8)) + 1).astype(np.float32))
    answers = []
    for index, vector in enumerate(generator.normal(size=(30, 8))):
        answers.append(measured_severity(bank, vector, file=str(index)))
    kept = [(json.dumps(fields_of(answer)), answer) for answer in answers]
    again = [answer_of(Severity, text, grades=0, file=answer.file, status="ok", reason="") for text, answer in kept]
    assert again == answers
    assert ranked(again) == ranked(answers)
    places = [row.tie for row in ranked(answers)]
    assert 1 < len(set(places)) < len(places)


def test_what_a_gate_refused_stands_on_top_without_rank_and_what_is_to_be_looked_at_keeps_its_place():
    refused = [Severity(file=file, status="abstain", reason="quality_blur: it is") for file in ("y", "b")]
    looked_at = Severity(file="m", severity=0.5, status="review", reason="wide_set: it is", percentile=80.0)
    ranking = ranked([*rows(("a", 0.1), ("z", None), ("c", 1.2)), *refused, looked_at])
    assert [(row.rank, row.file, row.status) for row in ranking] == [
        (None, "b", "abstain"),
        (None, "y", "abstain"),
        (1, "c", "ok"),
        (2, "m", "review"),
        (3, "a", "ok"),
        (None, "z", "error"),
    ]
    assert (ranking[3].percentile, ranking[3].reason) == (80.0, "wide_set: it is")


def test_nothing_ranks_to_nothing():
    assert ranked([]) == ()
