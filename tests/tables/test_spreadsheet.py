import doctest
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semise_sdk.tables import spreadsheet
from semise_sdk.tables.spreadsheet import neutralised, restored

HOSTILE = st.text(alphabet=st.sampled_from("=+-@'\t\r\n;, \uff1d\uff20aZ.\""), max_size=12) | st.text(max_size=12)


@given(HOSTILE)
@example("\t=1")
@example("'\t'=1")
@example(";\n=1")
@example("\n\n'=")
def test_every_text_comes_back(text):
    assert restored(neutralised(text)) == text


@given(HOSTILE)
@example("\r\n=1")
def test_no_beginning_is_left_that_a_spreadsheet_would_run(text):
    cell = neutralised(text)
    assert not re.search("(^|[;\t\r\n])[=+@\uff1d\uff0b\uff0d\uff20-]", cell)
    assert not cell.startswith(("\t", "\r", "\n"))


@given(HOSTILE, HOSTILE)
def test_no_two_texts_share_a_cell(one, other):
    assert (one == other) == (neutralised(one) == neutralised(other))


@pytest.mark.parametrize("text", ["", "a.png", "'a.png", "a=b-c+d@e.png", "a; =b", "it's.png", "x'=y", "ünï.png"])
def test_ordinary_names_stay_as_they_are(text):
    assert neutralised(text) == restored(text) == text


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(spreadsheet).failed == 0
