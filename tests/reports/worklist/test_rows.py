import json

import pytest

from semise_sdk.reports.worklist.rows import Counts, facts, needs_human, page_order, parted, split, visible


def test_what_needs_a_human_comes_first_and_the_ranking_keeps_its_order(small_ranking):
    files = [row.file for row in page_order(small_ranking.rows)]
    assert files == ["blurred.png", "torn.png", "no_reason", *(f"case_{place}.png" for place in range(1, 13))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"status": "review"}, False),
        ({"status": "abstain", "severity": None}, True),
        ({"status": "error", "severity": None}, True),
        ({"status": "ok", "severity": None}, True),
        ({"status": "abstain", "severity": 0.3}, True),
    ],
)
def test_only_a_row_with_a_severity_that_stands_is_ranked(ranked_row, changes, expected):
    assert needs_human(ranked_row(**changes)) is expected


def test_counts(small_ranking):
    assert Counts.of(small_ranking.rows) == Counts(total=15, ranked=12, review=1, abstained=1, unreadable=2)
    assert Counts.of(()) == Counts(total=0, ranked=0, review=0, abstained=0, unreadable=0)


def test_pages_hold_every_row_once_and_no_rows_are_one_page():
    rows = list(range(7))
    assert split(rows, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert split(rows[:6], 3) == [[0, 1, 2], [3, 4, 5]]
    assert split([], 3) == [[]]


def test_facts_are_plain_json_even_of_a_name_that_is_no_text(ranked_row):
    row = ranked_row(file="bytes\udcff", severity=1 / 3, probabilities=(0.25, 0.75), grade_set=("a",), percentile=99.5)
    found = facts(row, ("a", "b"))
    assert json.loads(json.dumps(found).encode("utf-8")) == found
    assert found["file"] == "bytes\\udcff"
    assert found["severity"] == 0.333333
    assert found["probabilities"] == {"a": 0.25, "b": 0.75}
    assert found["grade_set"] == ["a"]


def test_facts_refuse_probabilities_of_other_labels(ranked_row):
    with pytest.raises(ValueError, match="expected a label for each of 2 probabilities, found 1"):
        facts(ranked_row(probabilities=(0.5, 0.5)), ("a",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("straße 日本 שלום.png", "straße 日本 שלום.png"),
        ("a\u202eb\u2066c\u200b", "a\\u202eb\\u2066c\\u200b"),
        ("a\nb\rc\td\0", "a\\nb\\rc\\td\\u0000"),
        ("\udcff", "\\udcff"),
        ("क\u200dष", "क\u200dष"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text, expected):
    assert visible(text) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("truncated: 'a.png': expected more", ("truncated", "'a.png': expected more")),
        ("no code here: at all", ("", "no code here: at all")),
        ("", ("", "")),
    ],
)
def test_a_reason_is_a_code_and_a_sentence(reason, expected):
    assert parted(reason) == expected
