"""What is said of two images: every case of the sentence, and the JSON document."""

import doctest
import json
import os
from dataclasses import replace

import pytest

from semise_sdk.reports import comparison as module
from semise_sdk.reports.comparison import comparison_document, comparison_sentence
from semise_sdk.results import INTENDED_USE, Severity
from semise_sdk.severity.comparison import ImageComparison, difference_of
from semise_sdk.severity.difference import SeverityDifference

FAILED = Severity(file="b.png", status="error", reason="damaged: it is")


def comparison(change, second=None):
    first = Severity(file="a.png", severity=0.75, severity_low=0.7, severity_high=0.8, grade="severe")
    second = second or Severity(file="b.png", severity=0.5)
    return ImageComparison(first=first, second=second, difference=change, reference="healthy", backend="x:CPU")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            SeverityDifference(value=0.25, low=0.2, high=0.3, share=1.0),
            "The first is the more severe by 0.2500, 95 % interval 0.2000 to 0.3000: the references decide it (so in "
            "100 % of their resamples).",
        ),
        (
            SeverityDifference(value=-0.25, low=-0.3, high=-0.2, share=0.0),
            "The second is the more severe by 0.2500, 95 % interval 0.2000 to 0.3000: the references decide it (so in "
            "100 % of their resamples).",
        ),
        (
            SeverityDifference(value=0.01, low=-0.1, high=0.1, share=0.6),
            "The first is the more severe by 0.0100, 95 % interval -0.1000 to 0.1000: the references leave it open (so "
            "in 60 % of their resamples).",
        ),
        (
            SeverityDifference(value=0.25),
            "The first is the more severe by 0.2500; one healthy reference cannot say how sure that is: name several "
            "with --reference, or leave it out for the bundle's own.",
        ),
        (SeverityDifference(value=0.0, low=-0.1, high=0.1, share=0.5), "The two are equally severe."),
        (None, "They cannot be compared: one of them has no severity."),
    ],
)
def test_the_sentence_of_every_case(change, sentence):
    assert comparison_sentence(comparison(change)) == sentence


def test_of_two_that_were_refused_neither_is_said_to_have_a_severity():
    refused = Severity(file="a.png", status="abstain", reason="quality_blur: expected, found")
    both = replace(comparison(None), first=refused, second=refused)
    assert comparison_sentence(both) == "They cannot be compared: neither of them has a severity."
    one = replace(both, second=Severity(file="b.png", severity=0.5))
    assert comparison_sentence(one) == "They cannot be compared: one of them has no severity."


def test_the_document_holds_both_images_and_their_difference():
    found = comparison_document(comparison(SeverityDifference(value=0.25, low=0.2, high=0.3, share=1.0)), bundle="toy")
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "intended_use": INTENDED_USE,
        "bundle": "toy",
        "backend": "x:CPU",
        "precision": "fp32",
        "reference": "healthy",
        "first": {
            "file": "a.png", "severity": 0.75, "severity_low": 0.7, "severity_high": 0.8, "grade": "severe",
            "status": "ok", "reason": "",
        },
        "second": {
            "file": "b.png", "severity": 0.5, "severity_low": None, "severity_high": None, "grade": None,
            "status": "ok", "reason": "",
        },
        "difference": {"value": 0.25, "low": 0.2, "high": 0.3, "share": 1.0, "is_decided": True},
        "more_severe": "first",
    }  # fmt: skip


def test_a_pair_that_cannot_be_compared_keeps_both_answers():
    assert difference_of(Severity(file="a", severity=0.5), FAILED) is None
    found = comparison(None, FAILED)
    assert found.more_severe is None
    document = comparison_document(found, bundle="toy")
    assert (document["difference"], document["more_severe"]) == (None, None)
    assert document["second"]["reason"] == "damaged: it is"


def test_names_that_are_no_text_are_escaped():
    odd = Severity(file=os.fsdecode(b"\xff.png"), severity=0.5)
    assert comparison_document(comparison(None, odd), bundle="")["second"]["file"] == "\\udcff.png"


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(module).failed == 0
