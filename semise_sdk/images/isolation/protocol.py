"""Messages over a pipe: the lengths of a JSON header and of raw bytes, then both. Nothing is ever unpickled."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from semise_sdk.system.json_fields import JsonField, JsonSource

_PREFIX = struct.Struct(">IQ")
_MAX_HEADER_BYTES = 1 << 16


class ProtocolError(Exception):
    """The other side sent what is no message, or stopped within one."""


# A reason in it quotes an image's name.
_HEADER = JsonSource("the header", ProtocolError, shows_values=False)


@dataclass(frozen=True, slots=True)
class Message:
    """A JSON object and the bytes that go with it."""

    header: Mapping[str, object]
    payload: bytes = b""

    def text(self, key: str) -> str:
        """Returns a text of the header; raises ProtocolError where there is none."""
        return JsonField(self.header, _HEADER).get(key).text()

    def number(self, key: str) -> int:
        """Returns a whole number of the header; raises ProtocolError where there is none."""
        return JsonField(self.header, _HEADER).get(key).whole()


def send(stream: IO[bytes], header: Mapping[str, object], payload: bytes | memoryview = b"") -> None:
    """Writes one message; raises OSError where the other side is gone."""
    text = json.dumps(header).encode()
    stream.write(_PREFIX.pack(len(text), len(payload)) + text)
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes], *, max_payload: int | None = None) -> Message | None:
    """Returns the next message, None where the other side ended.

    Args:
        stream: The pipe.
        max_payload: The most bytes of a payload that are accepted; None for any number, of a sender that is trusted.

    Raises:
        ProtocolError: what came is no message, or its payload is larger than ``max_payload``.
        MemoryError: the payload does not fit into memory.
    """
    prefix = stream.read(_PREFIX.size)
    if not prefix:
        return None
    if len(prefix) < _PREFIX.size:
        raise ProtocolError("expected a whole message, found it cut short")
    header_bytes, payload_bytes = _PREFIX.unpack(prefix)
    if header_bytes > _MAX_HEADER_BYTES:
        raise ProtocolError(f"expected a header of at most {_MAX_HEADER_BYTES:,} bytes, found {header_bytes:,}")
    if max_payload is not None and payload_bytes > max_payload:
        raise ProtocolError(f"expected a payload of at most {max_payload:,} bytes, found {payload_bytes:,}")
    header = _HEADER.parse(_exactly(stream, header_bytes)).data()
    return Message(header, _exactly(stream, payload_bytes))


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise ProtocolError("expected a whole message, found it cut short")
    return data
