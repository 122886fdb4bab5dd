"""Reads the wire format of protocol buffers by a table of fields, and refuses whatever the table does not name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["int", "float", "bytes", "text", "ints", "floats", "message", "refused"]
Value = int | str | memoryview | dict[str, "list[Value]"]
Message = dict[str, list[Value]]

MAX_TEXT = 512

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_VARINT_BYTES = 10
_SIGN = 1 << 63


class WireError(ValueError):
    """Bytes that are no such message, or that hold a field which the table leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field that a message may have.

    Args:
        name: Its name in the result.
        kind: What it holds. ``ints`` and ``floats`` may stand packed or one by one, as every parser takes them;
            ``refused`` is a field that is known and may not stand.
        many: Whether it may stand more than once. Parsers merge or overwrite a single field that stands twice, and not
            all in the same way: it is refused.
        table: The fields of its message, by number; of ``message`` only.
        most: How often it may stand at most.
    """

    name: str
    kind: Kind
    many: bool = False
    table: "Mapping[int, Field]" = field(default_factory=dict)
    most: int = 1 << 20


def read(content: memoryview, table: Mapping[int, Field], where: str) -> Message:
    """Returns a message's fields by name, each as the list of its values in order; bytes stay views, uncopied.

    Args:
        content: The bytes of the message.
        table: Its fields by number.
        where: What it is called in an error.

    Raises:
        WireError: the bytes are damaged, or hold a field that ``table`` does not have, or too many of one.
    """
    message: Message = {}
    for number, wire, value in _fields(content, where):
        known = table.get(number)
        if known is None:
            raise WireError(f"{where} has an unknown field {number}")
        if known.kind == "refused":
            raise WireError(f"{where} has {known.name}")
        values = message.setdefault(known.name, [])
        if values and not known.many and known.kind not in ("ints", "floats"):
            raise WireError(f"{where} has {known.name} twice")
        values.extend(_values(known, wire, value, where))
        if len(values) > known.most:
            raise WireError(f"{where} has more than {known.most:,} of {known.name}")
    return message


def _fields(content: memoryview, where: str) -> Iterator[tuple[int, int, int | memoryview]]:
    position, end = 0, len(content)
    while position < end:
        key, position = _varint(content, position, where)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(content, position, where)
            yield number, wire, value
            continue
        if wire == _LENGTH:
            length, position = _varint(content, position, where)
        elif wire in (_FIXED_32, _FIXED_64):
            length = 4 if wire == _FIXED_32 else 8
        else:
            raise WireError(f"{where} has a field of wire type {wire}")
        if length > end - position:
            raise WireError(f"{where} is cut off")
        yield number, wire, content[position : position + length]
        position += length


def _varint(content: memoryview, position: int, where: str) -> tuple[int, int]:
    if position < len(content) and content[position] < 0x80:  # nearly all of them
        return content[position], position + 1
    value = 0
    for index, byte in enumerate(content[position : position + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, position + index + 1
    raise WireError(f"{where} has a number that is cut off or too long")


def _values(known: Field, wire: int, value: int | memoryview, where: str) -> list[Value]:
    if isinstance(value, int):
        if known.kind in ("int", "ints"):
            return [_signed(value)]
    elif known.kind == "message" and wire == _LENGTH:
        return [read(value, known.table, known.name)]
    elif known.kind == "text" and wire == _LENGTH:
        return [_text(known.name, value, where)]
    elif known.kind == "ints" and wire == _LENGTH:
        if len(value) > _VARINT_BYTES * known.most:
            raise WireError(f"{where} has more than {known.most:,} of {known.name}")
        return list(_varints(value, where))
    elif _fits(known.kind, wire, len(value)):
        return [value]
    raise WireError(f"{where} has {known.name} of wire type {wire}")


def _varints(content: memoryview, where: str) -> Iterator[int]:
    position = 0
    while position < len(content):
        value, position = _varint(content, position, where)
        yield _signed(value)


def _fits(kind: Kind, wire: int, length: int) -> bool:
    if kind == "bytes":
        return wire == _LENGTH
    if kind == "floats" and wire == _LENGTH:
        return length % 4 == 0
    return kind in ("float", "floats") and wire == _FIXED_32


def _text(name: str, value: memoryview, where: str) -> str:
    if len(value) > MAX_TEXT:
        raise WireError(f"{where} has a {name} of {len(value):,} bytes")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise WireError(f"{where} has a {name} that is no UTF-8") from error


def _signed(value: int) -> int:
    return value - (1 << 64) if value & _SIGN else value
