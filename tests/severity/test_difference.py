"""Differences over one bank's resamples, and the places that images share: by hand."""

import itertools

import numpy as np
import pytest

from semise_sdk.results import Severity
from semise_sdk.severity.difference import SeverityDifference, difference, measured_severity
from semise_sdk.severity.ranks import shared_places
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.severity.resamples import RESAMPLES

STEPS = np.linspace(-1, 1, RESAMPLES)


def image(severity, added=STEPS * 0.01):
    return Severity(file="a", severity=severity, resampled=np.asarray(added, np.float16))


@pytest.fixture(scope="module")
def bank():
    generator = np.random.default_rng(0)
    return ReferenceBank((generator.normal(size=(40, 16)) + 1).astype(np.float32))


@pytest.fixture(scope="module")
def measured(bank):
    generator = np.random.default_rng(1)
    vectors = (generator.normal(size=(60, 16)) + np.linspace(-1, 1, 60)[:, None]).astype(np.float32)
    return sorted((measured_severity(bank, vector, file="a") for vector in vectors), key=lambda found: -found.severity)


def test_a_measured_severity_is_the_banks_with_an_interval_around_it(bank):
    vector = np.random.default_rng(3).normal(size=16).astype(np.float32)
    found = measured_severity(bank, vector, file="a")
    assert found.severity == bank.severity(vector[None])[0]
    assert found.severity_low < found.severity < found.severity_high
    assert (found.severity_low, found.severity_high) == (round(found.severity_low, 6), round(found.severity_high, 6))
    assert found.resampled.dtype == np.float16
    np.testing.assert_allclose(found.severity + found.resampled.astype(np.float64), bank.resampled(vector), atol=1e-4)


def test_a_bank_of_one_has_a_severity_and_no_interval():
    bank = ReferenceBank(np.array([[1, 0]], np.float32))
    assert measured_severity(bank, np.array([0, 1]), file="a") == Severity(file="a", severity=1.0)
    first, second = (measured_severity(bank, np.array(vector), file="a") for vector in ([0, 1], [1, 0]))
    found = difference(first, second)
    assert found == SeverityDifference(value=1.0)
    assert found.is_decided is None
    assert list(shared_places([first, second])) == [None, None]


def test_a_shift_that_both_share_leaves_no_doubt_about_their_order():
    # each alone is uncertain by +-0.5, and they differ by 0.01 in every resample
    found = difference(image(0.71, STEPS * 0.5), image(0.70, STEPS * 0.5))
    assert (found.value, found.low, found.high, found.share) == (0.01, 0.01, 0.01, 1.0)
    assert found.is_decided is True


def test_opposite_shifts_leave_it_open():
    found = difference(image(0.71, STEPS * 0.5), image(0.70, -STEPS * 0.5))
    assert (found.low, found.high) == pytest.approx((0.01 - 0.95, 0.01 + 0.95), abs=1e-3)
    assert found.share == pytest.approx(0.505, abs=0.01)
    assert found.is_decided is False


def test_an_image_does_not_differ_from_itself():
    found = difference(image(0.5), image(0.5))
    assert found == SeverityDifference(value=0.0, low=0.0, high=0.0, share=0.5)
    assert found.is_decided is False


def test_the_order_of_the_two_turns_the_sign(measured):
    one, other = difference(measured[3], measured[9]), difference(measured[9], measured[3])
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)
    assert one.share + other.share == pytest.approx(1)
    assert one.is_decided == other.is_decided


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="found one without"):
        difference(image(0.5), Severity(file="a"))
    with pytest.raises(ValueError, match="from one bank"):
        difference(image(0.5), image(0.4, np.zeros(7)))
    with pytest.raises(ValueError, match="from one bank"):
        difference(image(0.5), Severity(file="a", severity=0.4))


def test_places_are_shared_as_in_a_competition():
    wide, still = STEPS * 0.1, np.zeros(RESAMPLES)
    rows = [image(1.9, still), image(1.0, still), image(0.98, wide), image(0.95, wide), image(0.5, still)]
    assert list(shared_places(rows)) == [1, 2, 2, 2, 5]


def test_a_chain_of_open_neighbours_does_not_run_on():
    # each is open against its neighbour by 0.05, and the ends of the row differ by 0.9
    rows = [image(1 - 0.05 * step, STEPS * 0.1 * (-1) ** step) for step in range(19)]
    for one, other in itertools.pairwise(rows):
        assert difference(one, other).is_decided is False
    places = list(shared_places(rows))
    assert len(set(places)) > 4
    assert places == sorted(places)


def test_groups_are_a_partition_whose_first_images_are_told_apart(measured):
    places = list(shared_places(measured))
    heads = [position for position, place in enumerate(places, start=1) if place == position]
    assert 1 < len(heads) < len(measured)
    for position, place in enumerate(places, start=1):
        assert place in heads
        if place != position:
            assert difference(measured[place - 1], measured[position - 1]).is_decided is False
    for head, following in itertools.pairwise(heads):
        assert difference(measured[head - 1], measured[following - 1]).is_decided is True


def test_rows_without_a_severity_take_no_place():
    failed = Severity(file="x", status="error", reason="damaged: it is")
    rows = [failed, image(1.0), image(0.5), failed]
    assert list(shared_places(rows)) == [None, 1, 2, None]


def test_a_row_whose_resamples_were_not_kept_has_no_place_and_keeps_the_others_at_their_rank():
    rows = [image(1.0), Severity(file="a", severity=0.7), image(0.5)]
    assert list(shared_places(rows)) == [1, None, 3]


def test_places_are_given_as_rows_come():
    places = shared_places(image(1.0) for _ in iter(int, 1))
    assert [next(places) for _ in range(5)] == [1] * 5
