"""The audit trail: JSON lines that only grow, each holding the sha256 of the one before it."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import LedgerError, OutputError
from semise_sdk.system.json_fields import JsonField, JsonSource

AUDIT = "audit.jsonl"
LONGEST_LINE = 1 << 20

_SHA256 = re.compile("[0-9a-f]{64}")
_ALTERED = "the trail was altered from there on"

Event = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Head:
    """Where a trail ends.

    Args:
        lines: How many lines it has.
        size: How many bytes.
        sha256: Of its last line without the line's end; of run.json while there is none.
    """

    lines: int
    size: int
    sha256: str


class AuditTrail:
    """A trail that is appended to.

    What lies beyond ``head`` was written by a process that ended before its journal knew of it; nobody was told of it,
    and it is cut off.

    Args:
        path: The file.
        head: Where the journal says that it ends.

    Raises:
        LedgerError: the file is shorter than that, or does not end there as the journal says.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, head: Head) -> None:
        self.head = head
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise _unwritable(error) from error
        try:
            self.cut = self._cut_tail()
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, events: Iterable[Event]) -> None:
        """Adds one line per event, and returns when they are on the disk.

        Raises:
            OutputError: they could not be written; the trail then still ends at ``head``.
        """
        head, lines = self.head, list[bytes]()
        for event in events:
            line = _line(event, head)
            lines.append(line + b"\n")
            head = Head(head.lines + 1, head.size + len(line) + 1, hashlib.sha256(line).hexdigest())
        try:
            self._cut(self.head.size)
            _write_all(self._descriptor, b"".join(lines))
            os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._cut(self.head.size)
            raise _unwritable(error) from error
        self.head = head

    def rewind(self, head: Head) -> None:
        """Forgets what was added after ``head``, until the next line or the next start takes it away.

        The bytes stay where they are: a commit that was interrupted may have come through, and then they belong.
        """
        self.head = head

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def _cut_tail(self) -> int:
        size = os.fstat(self._descriptor).st_size
        if size < self.head.size:
            raise LedgerError(
                f"expected {self.head.size:,} bytes in the run folder's {AUDIT}, found {size:,}: it was cut; keep the "
                "folder as it is, and name another --run"
            )
        if not self._ends_as_known():
            raise LedgerError(
                f"expected the run folder's {AUDIT} to end as the journal says, found it altered; keep the folder as "
                "it is, and name another --run"
            )
        self._cut(self.head.size)
        return size - self.head.size

    def _cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)

    def _ends_as_known(self) -> bool:
        if not self.head.lines:
            return self.head.size == 0
        start = max(0, self.head.size - LONGEST_LINE)
        os.lseek(self._descriptor, start, os.SEEK_SET)
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            tail = stream.read(self.head.size - start)
        last = tail.removesuffix(b"\n").rpartition(b"\n")[2]
        return tail.endswith(b"\n") and hashlib.sha256(last).hexdigest() == self.head.sha256


def read_trail(path: Path, first: str, size: int) -> Iterator[tuple[int, str, Event]]:
    """Yields number, sha256 and content of every line in the first ``size`` bytes of a trail, in constant memory.

    Args:
        path: The file.
        first: What the first line must hold as ``prev_sha256``.
        size: Where the trail ends.

    Raises:
        LedgerError: a line is no JSON object, or does not hold the sha256 of the one before it.
    """
    with path.open("rb") as stream:
        number, left, previous = 0, size, first
        while left > 0:
            number += 1
            line = stream.readline(min(left, LONGEST_LINE))
            left -= len(line)
            source = JsonSource(f"line {number} of {AUDIT}", LedgerError, _ALTERED, shows_values=False)
            if not line.endswith(b"\n"):
                raise JsonField(None, source).refused("to end with a line break", f"none in {len(line):,} bytes")
            event = source.parse(line)
            event["line"].choice(number)
            chained = event["prev_sha256"]
            if chained.matching(_SHA256, "a sha256") != previous:
                raise chained.refused(f"to be that of the line before it, {previous}", chained.text())
            previous = hashlib.sha256(line[:-1]).hexdigest()
            yield number, previous, event.data()


def _line(event: Event, head: Head) -> bytes:
    whole = {"line": head.lines + 1, **event, "prev_sha256": head.sha256}
    line = json.dumps(whole, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    if len(line) >= LONGEST_LINE:
        raise LedgerError(f"expected an answer of under {LONGEST_LINE:,} bytes for {AUDIT}, found {len(line):,}")
    return line


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"could not write {AUDIT} of the run: {error.strerror}; free space, and give the same command again"
    )
