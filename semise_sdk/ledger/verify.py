"""Proof that a run's folder is what the run wrote, and that its inputs are still what they were."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import LedgerError, OutputError
from semise_sdk.ledger.audit import AUDIT, Event, read_trail
from semise_sdk.ledger.database import database_errors
from semise_sdk.ledger.inputs import hash_input, listed
from semise_sdk.ledger.journal import sorting_columns
from semise_sdk.ledger.merge import Images, ReadRun
from semise_sdk.ledger.settings import SETTINGS
from semise_sdk.system.json_fields import shown

_ROWS = (
    "SELECT line, number, lower(hex(identity)), file, status, reason, input_sha256, time, fields, severity, grade, "
    "session FROM answer ORDER BY line"
)
_SPOKEN = ("number", "identity", "file", "status", "reason", "input_sha256", "time")
_SESSION = "SELECT started, sdk_version, bundle_sha256, provider FROM session WHERE number = ?"
_SPOKEN_OF_SESSION = ("time", "sdk_version", "bundle_sha256", "provider")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: whether it is as it should be, and what was found."""

    name: str
    is_ok: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of a run's checks.

    Args:
        checks: Each of them.
        is_finished: Whether every input has its row.
        head: The sha256 that the audit trail ends with.
    """

    checks: tuple[Check, ...]
    is_finished: bool
    head: str

    @property
    def is_intact(self) -> bool:
        """Whether nothing disagrees."""
        return all(check.is_ok for check in self.checks)


def verify_run(
    folder: Path,
    *,
    images: Images | None = None,
    key: Path | None = None,
    bundle_sha256: str | None = None,
    head: str | None = None,
) -> RunReport:
    """Checks a run folder without changing it, while it is written to as well.

    The trail is a chain of sha256 that starts at run.json, the journal must say what the trail says, and its counts
    must agree. Whoever may write the folder could write another chain: give the ``head`` that was kept elsewhere.

    Args:
        folder: The run folder.
        images: The files that it was made of, to be hashed again; None leaves that out.
        key: As for :meth:`ReadRun.open`.
        bundle_sha256: Of the manifest of the bundle that it should be of; None leaves that out.
        head: The sha256 of a line that the trail should hold; None leaves that out.

    Raises:
        LedgerError: there is no run, or its journal cannot be opened.
        ConfigError: the key cannot be read.
    """
    run = ReadRun.open(folder, images=images, key=key)
    with closing(run.connection), database_errors():
        run.connection.execute("BEGIN")  # what is written meanwhile is not seen
        walk = _Walk(run, head)
        checks = [
            _checked("trail", walk.check_trail),
            _checked("journal", walk.check_journal),
            _checked("bundle", lambda: _check_bundle(run, bundle_sha256)),
        ]
        if head is not None:
            checks.append(_checked("head", walk.check_head))
        if images is not None:
            checks.append(_checked("inputs", lambda: _check_inputs(run)))
        return RunReport(checks=tuple(checks), is_finished=run.is_finished, head=walk.sha256)


class _Walk:
    """One walk along the trail, beside the journal's rows in the order of their lines."""

    def __init__(self, run: ReadRun, head: str | None) -> None:
        self._run = run
        end = run.connection.execute("SELECT lines, size, sha256 FROM trail").fetchone()
        self._lines, self._size, self.sha256 = end
        self._head = head
        self._holds_head = False
        self._counts: object = None
        self._problem = "expected to walk the whole trail, found it altered"

    def check_trail(self) -> str:
        """Walks; returns what was found."""
        path = self._run.folder / AUDIT
        number, last = 0, hashlib.sha256((self._run.folder / SETTINGS).read_bytes()).hexdigest()
        self._holds_head = last == self._head
        problems = _Problems(self._run)
        for number, last, event in read_trail(path, last, self._size):  # noqa: B020  # each line's hash starts the next
            self._holds_head |= last == self._head
            problems.look(number, event)
            if event.get("event") == "finish":
                self._counts = event.get("counts")
        if (number, last) != (self._lines, self.sha256):
            raise LedgerError(
                f"expected {self._lines:,} lines that end with {self.sha256}, found {number:,} that end with {last}"
            )
        self._problem = problems.first()
        beyond = path.stat().st_size - self._size
        return f"{number:,} line{'s' if number != 1 else ''}" + (
            f", and {beyond:,} bytes of a write that was cut short" if beyond else ""
        )

    def check_journal(self) -> str:
        """Returns how many rows there are; raises LedgerError where they are not those of the trail."""
        if self._problem:
            raise LedgerError(self._problem)
        counts = Counter(dict(self._run.connection.execute("SELECT status, count(*) FROM answer GROUP BY status")))
        if self._run.is_finished and counts != self._counts:
            raise LedgerError(f"expected the counts {self._counts} of the trail's end, found {dict(counts)}")
        return f"{counts.total():,} rows" + "".join(f", {counts[status]:,} {status}" for status in sorted(counts))

    def check_head(self) -> str:
        """Raises LedgerError where the trail does not hold the head that was kept."""
        if not self._holds_head:
            raise LedgerError("expected the trail to hold the head that was kept, found it cut or written anew")
        return "held by the trail"


class _Problems:
    """What the journal says otherwise than the trail."""

    def __init__(self, run: ReadRun) -> None:
        self._run = run
        self._rows = _rows(run)
        self._row = next(self._rows, None)
        self._sessions = 0
        self._found: str = ""

    def look(self, number: int, event: Event) -> None:
        """Compares a line of the trail with what the journal has of that line."""
        if event.get("event") == "start":
            self._look_at_session(event)
        elif event.get("event") == "answer":
            self._look_at_row(number, event)

    def _look_at_session(self, event: Event) -> None:
        self._sessions += 1
        row = self._run.connection.execute(_SESSION, (self._sessions,)).fetchone()
        if row != tuple(event.get(name) for name in _SPOKEN_OF_SESSION):
            self._note(f"expected session {self._sessions} as in {AUDIT}, found it altered")

    def _look_at_row(self, number: int, event: Event) -> None:
        if self._row is not None and self._row[0] == number:
            if self._row[1] != _spoken(event, self._sessions):
                self._note(f"expected the row of line {number} as in {AUDIT}, found it altered")
            self._row = next(self._rows, None)
            return
        later = self._run.connection.execute("SELECT line FROM answer WHERE number = ?", (event.get("number"),))
        if (later.fetchone() or (0,))[0] <= number:
            self._note(f"expected a row for line {number} of {AUDIT}, found none: it was taken away")

    def first(self) -> str:
        """Returns the first problem, empty where there is none; to be called after the last line."""
        if self._row is not None:
            self._note(f"expected a line of {AUDIT} for every row, found none for one at line {self._row[0]}")
        return self._found

    def _note(self, problem: str) -> None:
        self._found = self._found or problem


def _rows(run: ReadRun) -> Iterator[tuple[int, tuple[object, ...]]]:
    for line, *values, fields, severity, grade, session in run.connection.execute(_ROWS):
        yield line, (*values, json.loads(fields), severity, grade, session)


def _spoken(event: Event, session: int) -> tuple[object, ...]:
    """Returns what the journal's row of a line should hold, as :func:`_rows` gives it."""
    answer = event.get("answer")
    severity, grade = sorting_columns(answer if isinstance(answer, Mapping) else {})
    return (*(event.get(name) for name in _SPOKEN), answer, severity, grade, session)


def _check_bundle(run: ReadRun, wanted: str | None) -> str:
    used = {str(row[0]) for row in run.connection.execute("SELECT bundle_sha256 FROM session")}
    others = sorted(used - {run.settings.bundle_sha256})
    if others:
        raise LedgerError(
            f"expected every session to use the bundle of {SETTINGS}, found {shown(others[0])} in the journal"
        )
    if wanted not in (None, run.settings.bundle_sha256):
        raise LedgerError(f"expected the bundle {wanted}, found that the run is of {run.settings.bundle_sha256}")
    return f"{run.settings.bundle}, manifest {run.settings.bundle_sha256}"


def _check_inputs(run: ReadRun) -> str:
    counts = Counter({"as they were": 0, "changed": 0, "not in the journal": 0})
    query = "SELECT input_sha256 FROM answer WHERE number = ?"
    for item in listed(run.connection, "1"):
        if item.number is None:
            counts["not in the journal"] += 1
            continue
        (sha256,) = run.connection.execute(query, (item.number,)).fetchone()
        counts["as they were" if hash_input(item.found.source) == sha256 else "changed"] += 1
    counts["out of reach"] = run.nameless
    if counts["changed"]:
        raise LedgerError(f"expected the inputs as they were, found {counts['changed']:,} changed: rank them again")
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        with database_errors():
            return Check(name, is_ok=True, found=check())
    except (LedgerError, OutputError) as error:
        return Check(name, is_ok=False, found=str(error))
    except (OSError, ValueError) as error:
        return Check(name, is_ok=False, found=f"expected readable files, found {type(error).__name__}")
