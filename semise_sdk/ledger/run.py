"""A run over many images that may be killed at any moment and goes on where it stood."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Generic, Self

from semise_sdk.images.record import FoundImage
from semise_sdk.inference.pipeline import Pool, in_order
from semise_sdk.ledger.answers import Answer, failed
from semise_sdk.ledger.database import database_errors, transaction
from semise_sdk.ledger.folder import agreed_settings, claim_folder, secret_key
from semise_sdk.ledger.inputs import Input, Listed, examine, hash_input, identity_text, list_inputs, listed, stamp_of
from semise_sdk.ledger.journal import BY_SEVERITY, Entry, Journal, Session, answered_sha256, placed, stored_answers
from semise_sdk.ledger.settings import Part, RunSettings
from semise_sdk.privacy import Privacy, parse_phi
from semise_sdk.version import __version__

RESCORES = 3
"""How often a run goes back to files that changed while it ran."""

CHANGED = (
    "changed_while_read: expected a file at rest, found it written to while it was read; give the command again when "
    "it is complete"
)

_HASHERS = 2
_ROWS_A_COMMIT = 256
_SECONDS_A_COMMIT = 2.0

Stream = Callable[[Iterable[FoundImage]], Iterator[Answer]]


class Ledger(Generic[Answer]):
    """A run folder, open to be continued by this process alone.

    Args:
        kind: What an answer is: Severity or Classification.
        settings: What the run was started with.
        privacy: How it speaks of its inputs.
        journal: Its journal.
        resources: What is closed with it.
        batch_size: Images in an engine run: rows are committed in whole ones, so that a run that goes on makes the same
            batches as one that was never killed, and its answers agree to the last bit.
    """

    def __init__(
        self,
        kind: type[Answer],
        *,
        settings: RunSettings,
        privacy: Privacy,
        journal: Journal,
        resources: ExitStack,
        batch_size: int,
    ) -> None:
        self.settings = settings
        self.privacy = privacy
        self._kind = kind
        self._journal = journal
        self._resources = resources
        self._batch_size = batch_size
        self._pool = Pool(_HASHERS, "semise-hash")
        self._changed: set[bytes] = set()

    @classmethod
    def open(
        cls,
        folder: Path,
        kind: type[Answer],
        asked: RunSettings,
        images: Iterable[tuple[int, FoundImage]],
        *,
        provider: str,
        batch_size: int,
        key: Path | None = None,
    ) -> Self:
        """Starts a run in ``folder``, or continues the one that is there.

        Args:
            folder: Where; made if it is missing.
            kind: What an answer is.
            asked: What the command asks for; its ``key`` is filled in here.
            images: Every file, with the number of folders given before the one that holds it.
            provider: What computes.
            batch_size: Images in an engine run.
            key: File of the secret key of the pseudonyms; ``phi.key`` in the folder by default.

        Raises:
            LedgerError: the folder is another run's, in use, damaged, or holds something else.
            ConfigError: the key cannot be used.
            OutputError: the folder cannot be written.
            DataError: an image argument does not exist.
        """
        with ExitStack() as resources:
            claim_folder(folder, resources)
            privacy = Privacy(parse_phi(asked.phi), secret_key(folder, key))
            settings, first = agreed_settings(folder, replace(asked, key=privacy.fingerprint))
            journal = Journal(folder, first=first)
            resources.callback(journal.close)
            list_inputs(journal.connection, images, privacy=privacy, part=Part.parse(settings.part))
            ledger = cls(
                kind,
                settings=settings,
                privacy=privacy,
                journal=journal,
                resources=resources.pop_all(),
                batch_size=batch_size,
            )
        try:
            ledger._start(provider)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def answers(self, stream: Stream[Answer]) -> Generator[Answer]:
        """Yields the answer of every file that has no row yet or has changed since, and writes their rows meanwhile.

        What was yielded last is not written yet: a run that ends here answers it again. After the last one the run is
        finished.

        Args:
            stream: Answers files in order, one answer each, such as ``Predictor.iter_severity``.
        """
        yield from self._passed("answer.number IS NULL", stream)
        for _ in range(RESCORES):
            if not self._mark_changed():
                break
            yield from self._passed("found.is_due", stream)
        self._journal.finish()

    def ranked(self, *, is_named: bool = True) -> Iterator[Answer]:
        """Yields the answer of every file that is still there, as ``severity.ranks.ranked`` sorts them.

        Args:
            is_named: True for the files' own names, False for those that the journal gives them.
        """
        return self._stored(order=BY_SEVERITY, is_named=is_named)

    def by_name(self, *, is_named: bool = True) -> Iterator[Answer]:
        """Yields the answer of every file that is still there, by name; as :meth:`ranked`."""
        return self._stored(order="", is_named=is_named)

    def placed(self) -> Iterator[tuple[FoundImage, Answer]]:
        """Yields every file that is still there with its answer, sorted by its own name, which the answer has."""
        return ((item.found, answer) for item, answer in placed(self._journal.connection, self.by_name()))

    def counts(self) -> Counter[str]:
        """Returns how many of the files that are still there have each status."""
        query = "SELECT status, count(*) FROM found JOIN answer USING (identity) GROUP BY status"
        with database_errors():
            return Counter(dict(self._journal.connection.execute(query)))

    @property
    def waiting(self) -> int:
        """How many files have no row yet."""
        query = "SELECT count(*) FROM found LEFT JOIN answer USING (identity) WHERE answer.number IS NULL"
        with database_errors():
            return int(self._journal.connection.execute(query).fetchone()[0])

    @property
    def changed(self) -> int:
        """How many files were answered again, as they held something else than when they were answered before."""
        return len(self._changed)

    @property
    def head(self) -> str:
        """The sha256 that the audit trail ends with: kept elsewhere, it proves later that the trail is whole."""
        return self._journal.trail.head.sha256

    def close(self) -> None:
        """Lets the next process in."""
        self._pool.close()
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stored(self, *, order: str, is_named: bool) -> Iterator[Answer]:
        answers = stored_answers(
            self._journal.connection,
            self._kind,
            grades=len(self.settings.labels),
            order=order,
            only_found=True,
            is_named=is_named,
        )
        # Whoever reads them may leave half-way, as `| head` does, and a journal that is being read cannot be closed.
        self._resources.callback(answers.close)
        return answers

    def _start(self, provider: str) -> None:
        session = Session(
            sdk_version=__version__,
            bundle_sha256=self.settings.bundle_sha256,
            provider=provider,
            precision=self.settings.precision,
        )
        facts = {"provider": provider, "sdk_version": __version__, "bundle_sha256": self.settings.bundle_sha256}
        cut = {"cut_bytes": self._journal.trail.cut} if self._journal.trail.cut else {}
        self._journal.start(session, {**facts, **cut, "waiting": self.waiting})

    def _passed(self, where: str, stream: Stream[Answer]) -> Generator[Answer]:
        items = in_order(
            self._pool,
            lambda item: examine(item, self.privacy),
            listed(self._journal.connection, where),
            ahead=4 * _HASHERS,
        )
        fed, kept = itertools.tee(items)
        pending: list[Entry] = []
        started = time.monotonic()
        answers = stream(item.found for item in fed)
        with closing(items):
            for done, (item, answer) in enumerate(zip(kept, answers, strict=True), start=1):
                seen, checked = self._checked(item, answer)
                pending.append(self._entry(seen, checked))
                yield checked
                is_late = len(pending) >= _ROWS_A_COMMIT or time.monotonic() - started >= _SECONDS_A_COMMIT
                if is_late and done % self._batch_size == 0:
                    self._journal.write(pending)
                    pending, started = [], time.monotonic()
        if pending:
            self._journal.write(pending)

    def _checked(self, item: Input, answer: Answer) -> tuple[Input, Answer]:
        """Returns the answer, or an error that is due again where the hash may not be that of what was read."""
        if item.stamp == stamp_of(item.found.source, self.privacy):
            return item, answer
        return replace(item, stamp=b"", sha256=None), failed(self._kind, answer.file, CHANGED)

    def _entry(self, item: Input, answer: Answer) -> Entry:
        number = item.number or self._journal.next_number()
        shown = self.privacy.name(identity_text(answer.file, item.folder), number)
        if self.privacy.phi == "keep":
            shown = answer.file
        reason = self.privacy.reason(answer.reason, shown=shown, file=answer.file, path=item.found.source)
        return Entry(number=number, item=item, answer=_shown(answer, shown, reason))

    def _mark_changed(self) -> bool:
        """Marks the files that hold something else than when they were journaled; returns whether there are any."""
        known = dict[bytes, bytes]()
        due: list[tuple[bytes]] = []
        for item in listed(self._journal.connection, "answer.number IS NOT NULL"):
            state = self._state(item)
            if isinstance(state, bytes):
                known[item.identity] = state
            elif state:
                due.append((item.identity,))
                if answered_sha256(self._journal.connection, item) is not None:  # it was read before
                    self._changed.add(item.identity)
        if known:
            self._journal.restamp(known.items())
        with transaction(self._journal.connection):
            self._journal.connection.execute("UPDATE found SET is_due = 0")
            self._journal.connection.executemany("UPDATE found SET is_due = 1 WHERE identity = ?", due)
        return bool(due)

    def _state(self, item: Listed) -> bool | bytes:
        """Returns False for a file as it was, True for a changed one, and the new stamp of one that only looks new."""
        query = "SELECT stamp, input_sha256 FROM answer WHERE identity = ?"
        with database_errors():
            stamp, sha256 = self._journal.connection.execute(query, (item.identity,)).fetchone()
        now = stamp_of(item.found.source, self.privacy)
        if stamp == now:
            return False
        return now if stamp and sha256 is not None and hash_input(item.found.source) == sha256 else True


def _shown(answer: Answer, file: str, reason: str) -> Answer:
    return replace(answer, file=file, reason=reason)
