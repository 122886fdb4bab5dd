"""Messages over a pipe: what is sent arrives, and nothing else is taken for a message."""

import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semise_sdk.images.isolation.protocol import Message, ProtocolError, receive, send


def stream_of(*messages: tuple[dict[str, object], bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    for header, payload in messages:
        send(stream, header, payload)
    return io.BytesIO(stream.getvalue())


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.binary())
def test_what_is_sent_arrives_and_the_stream_ends_after_it(header, payload):
    stream = stream_of((header, payload), ({}, b"x"))
    assert receive(stream, max_payload=1 << 20) == Message(header, payload)
    assert receive(stream, max_payload=1) == Message({}, b"x")
    assert receive(stream, max_payload=1) is None


def test_the_bytes_on_the_pipe_are_lengths_json_and_payload():
    assert stream_of(({"a": 1}, b"xy")).read() == struct.pack(">IQ", 8, 2) + b'{"a": 1}xy'


@pytest.mark.parametrize("kept", [1, 11, 12, 19, 20, 21])
def test_a_message_cut_short_is_refused(kept):
    whole = stream_of(({"a": 1}, b"xy")).read()
    with pytest.raises(ProtocolError, match="cut short"):
        receive(io.BytesIO(whole[:kept]), max_payload=10)


def test_lengths_are_checked_before_anything_is_read():
    for lengths, most in (((1 << 31, 0), "65,536"), ((2, 1 << 60), "10")):
        with pytest.raises(ProtocolError, match=f"at most {most} bytes"):
            receive(io.BytesIO(struct.pack(">IQ", *lengths)), max_payload=10)


@pytest.mark.parametrize("header", [b"[1, 2]", b"nonsense", b"\xff\xfe", b"[" * 5000, b'"text"'])
def test_a_header_that_is_no_object_is_refused(header):
    with pytest.raises(ProtocolError):
        receive(io.BytesIO(struct.pack(">IQ", len(header), 0) + header), max_payload=10)


def test_a_pickle_is_no_header():
    import pickle

    data = pickle.dumps({"status": "canvas"})
    with pytest.raises(ProtocolError):
        receive(io.BytesIO(struct.pack(">IQ", len(data), 0) + data), max_payload=10)


def test_fields_have_their_types():
    message = Message(json.loads('{"a": "x", "n": 2}'))
    assert (message.text("a"), message.number("n")) == ("x", 2)
    for key in ("n", "missing"):
        with pytest.raises(ProtocolError, match=f"expected {key} in the header to be a text, found (a number|null)"):
            message.text(key)
    with pytest.raises(ProtocolError, match="expected a in the header to be a whole number, found a text"):
        message.number("a")
