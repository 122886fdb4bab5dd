import pytest

from semise_sdk.bundle.graph_lint.protobuf import MAX_TEXT, Field, WireError, read

INNER = {1: Field(name="name", kind="text")}
TABLE = {
    1: Field(name="number", kind="int"),
    2: Field(name="text", kind="text"),
    3: Field(name="data", kind="bytes"),
    4: Field(name="parts", kind="message", many=True, table=INNER, most=2),
    5: Field(name="sides", kind="ints", most=3),
    6: Field(name="scales", kind="floats", most=4),
    7: Field(name="code", kind="refused"),
}


def parsed(data: bytes):
    return read(memoryview(data), TABLE, "the file")


def test_every_kind_is_read():
    data = b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1a\x03abc" + b"\x22\x03\x0a\x01x" + b"\x22\x00"
    message = parsed(data)
    assert message["number"] == [150]
    assert message["text"] == ["hi"]
    assert bytes(message["data"][0]) == b"abc"
    assert message["parts"] == [{"name": ["x"]}, {}]


def test_numbers_are_signed_and_lists_stand_packed_or_one_by_one():
    assert parsed(b"\x08" + b"\xff" * 9 + b"\x01")["number"] == [-1]
    assert parsed(b"\x2a\x02\x01\x02" + b"\x28\x03")["sides"] == [1, 2, 3]
    assert list(map(bytes, parsed(b"\x32\x08" + b"a" * 8 + b"\x35bbbb")["scales"])) == [b"a" * 8, b"bbbb"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x08", "a number that is cut off"),
        (b"\x08" + b"\xff" * 10, "cut off or too long"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "cut off or too long"),
        (b"\x12\x05hi", "the file is cut off"),
        (b"\x0d\x00\x00", "the file is cut off"),
        (b"\x0b", "wire type 3"),
        (b"\x40\x01", "an unknown field 8"),
        (b"\x00\x01", "an unknown field 0"),
        (b"\x38\x01", "the file has code"),
        (b"\x08\x01\x08\x02", "has number twice"),
        (b"\x12\x01a\x12\x01b", "has text twice"),
        (b"\x22\x00" * 3, "more than 2 of parts"),
        (b"\x2a\x04\x01\x02\x03\x04", "more than 3 of sides"),
        (b"\x2a\x20" + b"\x01" * 32, "more than 3 of sides"),
        (b"\x0a\x01a", "has number of wire type 2"),
        (b"\x10\x01", "has text of wire type 0"),
        (b"\x1d\x00\x00\x00\x00", "has data of wire type 5"),
        (b"\x25\x00\x00\x00\x00", "has parts of wire type 5"),
        (b"\x32\x03abc", "has scales of wire type 2"),
        (b"\x31" + b"a" * 8, "has scales of wire type 1"),
        (b"\x12\x01\xff", "no UTF-8"),
        (b"\x12\x81\x04" + b"a" * (MAX_TEXT + 1), "a text of 513 bytes"),
        (b"\x22\x02\x10\x01", "parts has an unknown field 2"),
    ],
)
def test_what_the_table_does_not_know_is_refused(data, said):
    with pytest.raises(WireError, match=said):
        parsed(data)


def test_bytes_are_views_and_no_copies():
    data = bytearray(b"\x1a\x03abc")
    (view,) = parsed(data)["data"]
    data[2:5] = b"xyz"
    assert bytes(view) == b"xyz"
