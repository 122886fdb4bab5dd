"""Requests and answers survive the journey, and an answer is believed only as far as it is checked."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.errors import ImageReadError
from semise_sdk.images.isolation.answers import (
    Request,
    canvas_header,
    canvas_of,
    checked,
    display_header,
    display_of,
    failed_header,
)
from semise_sdk.images.isolation.protocol import Message, ProtocolError
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.images.reading import FailedImage, ReadImage
from semise_sdk.images.record import Canvas
from semise_sdk.spec import DicomPolicy, InputSpec

SPEC = InputSpec(
    height=24, width=32, intensity="window(40,400)", dicom=DicomPolicy(sop_classes=("OP", "CR"), frames="middle")
)
PLAIN = InputSpec(height=24, width=32)


@pytest.mark.parametrize("source", [b"bytes \x00", Path("/a/b.png"), Path(os.fsdecode(b"/odd/\xff\n.png"))])
def test_a_request_survives(source):
    request = Request("display", source, SPEC)
    found = Request.of(request.message())
    assert (found.ask, found.source, found.spec) == ("display", source, SPEC)


def test_a_relative_path_stays_the_one_that_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = Request("canvas", Path("x/../y.png"), SPEC)
    assert os.fsdecode(request.message().payload) == f"{tmp_path}/x/../y.png"


def test_an_absolute_path_needs_no_folder(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Request("canvas", Path("/a/b.png"), SPEC).message().payload == b"/a/b.png"
    assert Request("canvas", Path("b.png"), SPEC).message().payload == b"b.png"


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(ImageReadError, match="found one with characters that none has") as found:
        Request("canvas", Path("a\ud800.png"), SPEC).message()
    assert found.value.code == "not_found"


def test_a_canvas_survives_with_its_geometry():
    canvas = to_canvas(read_image(np.arange(600, dtype=np.uint8).reshape(20, 30)), PLAIN)
    found = canvas_of(Message(canvas_header(canvas), canvas.pixels.tobytes()), PLAIN)
    assert found.geometry == canvas.geometry
    np.testing.assert_array_equal(found.pixels, canvas.pixels)


def test_nothing_of_a_read_image_stays_behind():
    """A field that is added to these is to travel too."""
    # verdict and status are given by the predictor, to the canvas that came back
    assert [field.name for field in dataclasses.fields(ReadImage)] == ["file", "canvas", "verdict"]
    assert [field.name for field in dataclasses.fields(Canvas)] == ["pixels", "geometry"]
    assert [field.name for field in dataclasses.fields(FailedImage)] == ["file", "reason", "status"]


def test_a_picture_survives():
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(display_of(Message(display_header(picture), picture.tobytes())), picture)


@pytest.mark.parametrize(
    "header",
    [
        {"height": 20, "width": 0},
        {"height": -3, "width": 5},
        {"height": 10**6, "width": 10**6},
        {"height": "20", "width": 30},
        {"height": 20.5, "width": 30},
        {"width": 30},
    ],
)
def test_an_impossible_size_is_no_answer(header):
    with pytest.raises(ProtocolError):
        canvas_of(Message(header, bytes(24 * 32 * 3)), PLAIN)
    with pytest.raises(ProtocolError):
        display_of(Message(header, bytes(12)))


def test_pixels_of_another_size_are_no_answer():
    with pytest.raises(ProtocolError, match="2,304 bytes of pixels, found 3"):
        canvas_of(Message({"height": 20, "width": 30}, b"abc"), PLAIN)


def test_a_failure_is_raised_with_its_code():
    with pytest.raises(ImageReadError) as found:
        checked(Message(failed_header("truncated: 'x': expected more")))
    assert found.value.reason == "truncated: 'x': expected more"


def test_a_long_reason_is_cut():
    assert len(str(failed_header("damaged: " + "x" * 100_000)["reason"])) == 2000


@pytest.mark.parametrize(
    "header", [{}, {"status": "ok"}, {"status": "failed"}, {"status": "failed", "reason": "Odd <b>: x"}, {"status": 1}]
)
def test_what_is_neither_pixels_nor_a_reason_is_no_answer(header):
    with pytest.raises(ProtocolError):
        checked(Message(header))
