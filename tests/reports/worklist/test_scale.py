import pytest

from semise_sdk.reports.worklist.scale import Bar, SeverityScale


@pytest.mark.parametrize(
    ("largest", "top"),
    [(0.0, 0.1), (0.1, 0.1), (0.11, 0.2), (0.6, 1.0), (1.0, 1.0), (1.2, 1.5), (2.0, 2.0), (3.0, 2.0)],
)
def test_the_scale_ends_at_the_first_end_that_holds_every_severity(ranked_row, largest, top):
    assert SeverityScale.over([ranked_row(severity=largest), ranked_row(severity=None)]).top == top


def test_a_scale_of_nothing_has_an_end():
    assert SeverityScale.over([]).top == 0.1


@pytest.mark.parametrize(("top", "ticks"), [(1.0, (0, 0.25, 0.5, 0.75, 1)), (1.5, (0, 0.5, 1, 1.5))])
def test_ticks_are_round_numbers(top, ticks):
    assert SeverityScale(top).ticks == ticks


def test_a_bar_is_a_share_of_the_scale_and_its_interval_stays_inside(ranked_row):
    row = ranked_row(severity=0.25, severity_low=-0.1, severity_high=3.0)
    assert SeverityScale(0.5).bar(row) == Bar(0.5, 0.0, 1.0)
    assert SeverityScale(0.5).bar(ranked_row(severity=0.25)) == Bar(0.5, None, None)
    assert SeverityScale(0.5).bar(ranked_row(severity=None)) is None


def test_the_histogram_counts_every_severity_once_its_end_included(ranked_row):
    rows = [ranked_row(severity=severity) for severity in (0.0, 0.24, 0.25, 1.0, 1.0, 1.0)] + [
        ranked_row(severity=None)
    ]
    bins = SeverityScale(1.0).histogram(rows, bins=4)
    assert [(b.low, b.high, b.count) for b in bins] == [(0, 0.25, 2), (0.25, 0.5, 1), (0.5, 0.75, 0), (0.75, 1.0, 3)]
    assert [b.height for b in bins] == pytest.approx([2 / 3, 1 / 3, 0, 1])


def test_a_histogram_of_nothing_is_flat():
    assert {(b.count, b.height) for b in SeverityScale(1.0).histogram([])} == {(0, 0.0)}
