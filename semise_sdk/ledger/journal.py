"""The journal of a run: one row per input, written together with its line of the audit trail."""

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from semise_sdk.ledger import database
from semise_sdk.ledger.answers import Answer, Answered, answer_of, fields_of
from semise_sdk.ledger.audit import AUDIT, AuditTrail, Event, Head
from semise_sdk.ledger.database import JOURNAL, database_errors, transaction
from semise_sdk.ledger.inputs import Input, Listed, from_blob, listed
from semise_sdk.tables.write import utf8_text

# As `severity.ranks.ranked` sorts: what needs a human first, what could not be read last.
BY_SEVERITY = "CASE status WHEN 'abstain' THEN 0 WHEN 'error' THEN 2 ELSE 1 END, severity DESC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer to be written.

    Args:
        number: Its number in the journal.
        item: The input.
        answer: Its answer, its ``file`` and ``reason`` as they may be written.
    """

    number: int
    item: Input
    answer: Answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What computed, from one start of the command to its end."""

    sdk_version: str
    bundle_sha256: str
    provider: str
    precision: str


class Journal:
    """A run's journal and audit trail, open to be written by this process alone.

    Args:
        folder: The run folder.
        first: sha256 that the trail starts from.

    Raises:
        LedgerError: the journal or the trail is damaged, or they do not fit each other.
        OutputError: they cannot be written.
    """

    def __init__(self, folder: Path, *, first: str) -> None:
        database.create(folder / JOURNAL)
        self.connection = database.connect(folder / JOURNAL)
        try:
            with transaction(self.connection):
                self._query(
                    "INSERT INTO trail SELECT 0, 0, ?, 0 WHERE NOT EXISTS (SELECT 1 FROM trail)", (first,)
                ).fetchall()
            with database_errors():
                head = self._stored_head()
                (last,) = self._query("SELECT coalesce(max(number), 0) FROM answer").fetchone()
            self.trail = AuditTrail(folder / AUDIT, head)
        except BaseException:
            self.connection.close()
            raise
        self._last_number: int = last
        self._session = 0

    def start(self, session: Session, event: Event) -> None:
        """Begins a session: the run is unfinished until :meth:`finish`."""
        now = _now()
        with self._both([{"time": now, "event": "start", **event}]):
            values = (now, session.sdk_version, session.bundle_sha256, session.provider, session.precision)
            cursor = self._query(
                "INSERT INTO session (started, sdk_version, bundle_sha256, provider, precision) VALUES (?, ?, ?, ?, ?)",
                values,
            )
            self._session = cursor.lastrowid or 0

    def next_number(self) -> int:
        """Returns the number of a new row."""
        self._last_number += 1
        return self._last_number

    def write(self, entries: Sequence[Entry]) -> None:
        """Adds the entries, all or none: to the trail, then to the journal, both on the disk when it returns.

        Raises:
            OutputError, LedgerError: see :func:`semise_sdk.ledger.database.database_errors`.
        """
        now, line = _now(), self.trail.head.lines
        fields = [fields_of(entry.answer) for entry in entries]
        events = [_event(entry, answer, now) for entry, answer in zip(entries, fields, strict=True)]
        rows = (
            (
                entry.number,
                entry.item.identity,
                utf8_text(entry.answer.file),
                entry.answer.status,
                utf8_text(entry.answer.reason),
                *sorting_columns(answer),
                json.dumps(answer, ensure_ascii=True, allow_nan=False),
                entry.item.sha256,
                entry.item.stamp,
                self._session,
                now,
                line + place,
            )
            for place, (entry, answer) in enumerate(zip(entries, fields, strict=True), start=1)
        )
        with self._both(events):
            self.connection.executemany(
                "INSERT OR REPLACE INTO answer (number, identity, file, status, reason, severity, grade, fields, "
                "input_sha256, stamp, session, time, line) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def restamp(self, stamps: Iterable[tuple[bytes, bytes]]) -> None:
        """Remembers that files of these ``(identity, stamp)`` hold what they did."""
        with transaction(self.connection):
            self.connection.executemany(
                "UPDATE answer SET stamp = ? WHERE identity = ?", ((stamp, identity) for identity, stamp in stamps)
            )

    def finish(self) -> None:
        """Says that every input has its row."""
        counts = dict(sorted(self.counts().items()))
        with self._both([{"time": _now(), "event": "finish", "counts": counts}], is_finished=True):
            pass

    def counts(self) -> Counter[str]:
        """Returns how many rows have each status."""
        with database_errors():
            return Counter(dict(self._query("SELECT status, count(*) FROM answer GROUP BY status")))

    def close(self) -> None:
        """Closes both files; a finished journal is then one file."""
        self.trail.close()
        with database_errors():
            (is_finished,) = self._query("SELECT is_finished FROM trail").fetchone()
        database.close(self.connection, as_one_file=bool(is_finished))

    @contextmanager
    def _both(self, events: Sequence[Event], *, is_finished: bool = False) -> Iterator[None]:
        """Adds events to the trail, and commits what the block writes with the trail's new end; all or nothing."""
        before = self.trail.head
        try:
            self.trail.append(events)
            with transaction(self.connection):
                yield
                head = self.trail.head
                values = (head.lines, head.size, head.sha256, is_finished)
                self._query("UPDATE trail SET lines = ?, size = ?, sha256 = ?, is_finished = ?", values)
        except BaseException:
            self._settle(before)
            raise

    def _settle(self, before: Head) -> None:
        """Ends the trail where the journal says that it ends: Ctrl-C may come just after a commit that came through."""
        with contextlib.suppress(sqlite3.Error):
            if self._stored_head() == before:
                self.trail.rewind(before)

    def _stored_head(self) -> Head:
        return Head(*self._query("SELECT lines, size, sha256 FROM trail").fetchone())

    def _query(self, text: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        return self.connection.execute(text, values)


def sorting_columns(fields: Mapping[str, object]) -> tuple[object, object]:
    """Returns what of an answer's fields has a column besides, to be sorted and read by: severity and grade."""
    return fields.get("severity"), fields.get("grade", fields.get("label"))


def stored_answers(
    connection: sqlite3.Connection,
    kind: type[Answer],
    *,
    grades: int,
    order: str = "",
    only_found: bool = False,
    is_named: bool = True,
) -> Generator[Answer]:
    """Yields the answers of a journal, sorted, in constant memory.

    Args:
        connection: The journal, with its table ``found``.
        kind: What an answer is.
        grades: How many grades it has probabilities of.
        order: SQL to sort by before the name.
        only_found: Whether to leave out what is not in ``found``.
        is_named: Whether what is in ``found`` has the name that it has there, and not its journal's.
    """
    own = "CAST(answer.file AS BLOB)"
    name = f"coalesce(found.file, {own})" if is_named else own
    join = "JOIN" if only_found else "LEFT JOIN"
    leading = f"{order}, " if order else ""
    query = (
        f"SELECT {name} AS name, answer.file, status, reason, fields FROM answer {join} found "  # noqa: S608
        f"USING (identity) ORDER BY {leading}name, folder, number"
    )
    with database_errors():
        for blob, shown, status, reason, fields in connection.execute(query):
            file = from_blob(blob)
            told = reason if file == shown else reason.replace(shown, repr(PurePosixPath(file).name))
            yield answer_of(kind, fields, grades=grades, file=file, status=status, reason=told)


def placed(connection: sqlite3.Connection, by_name: Iterable[Answer]) -> Iterator[tuple[Listed, Answer]]:
    """Yields every row of ``found`` that has an answer with that answer, sorted by its own name, which the answer has.

    Args:
        connection: The journal, with its table ``found``.
        by_name: The answers of :func:`stored_answers` for ``only_found``, without an order of their own.
    """
    return zip(listed(connection, "answer.number IS NOT NULL"), by_name, strict=True)  # both by name, then by folder


def answered_sha256(connection: sqlite3.Connection, item: Listed) -> str | None:
    """Returns the sha256 of what a file held when it was answered; None for one that could not be read as a file."""
    with database_errors():
        row = connection.execute("SELECT input_sha256 FROM answer WHERE identity = ?", (item.identity,)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def _event(entry: Entry, fields: dict[str, object], now: str) -> Event:
    answer = entry.answer
    return {
        "time": now,
        "event": "answer",
        "number": entry.number,
        "identity": entry.item.identity.hex(),
        "file": utf8_text(answer.file),
        "status": answer.status,
        "reason": utf8_text(answer.reason),
        "input_sha256": entry.item.sha256,
        "answer": fields,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
