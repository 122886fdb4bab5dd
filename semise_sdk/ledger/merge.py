"""The parts of a run as one ranking."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Self

from semise_sdk.errors import LedgerError
from semise_sdk.images.record import FoundImage
from semise_sdk.ledger.database import JOURNAL, connect_read_only, database_errors
from semise_sdk.ledger.folder import KEY
from semise_sdk.ledger.inputs import hash_input, list_inputs
from semise_sdk.ledger.journal import BY_SEVERITY, answered_sha256, placed, stored_answers
from semise_sdk.ledger.settings import Part, RunSettings
from semise_sdk.privacy import Privacy, parse_phi, read_key
from semise_sdk.results import Severity
from semise_sdk.severity.ranks import severity_order

Images = Callable[[], Iterable[tuple[int, FoundImage]]]


@dataclass(frozen=True, slots=True)
class ReadRun:
    """A run that is open to be read.

    Args:
        folder: Its folder.
        settings: What it was started with.
        connection: Its journal, with the table ``found`` of the files that were given by name.
    """

    folder: Path
    settings: RunSettings
    connection: Connection

    @classmethod
    def open(cls, folder: Path, *, images: Images | None = None, key: Path | None = None) -> Self:
        """Returns the run in ``folder``.

        Args:
            folder: The run folder.
            images: The files that it was made of, with the number of folders given before the one that holds each;
                None where they are not at hand.
            key: File of the key of its pseudonyms; ``phi.key`` in the folder by default. Only images need it.

        Raises:
            LedgerError: there is no run, it is damaged, or the key is not the one that it was started with.
            ConfigError: the key cannot be read.
        """
        settings = RunSettings.read(folder)
        privacy = Privacy(parse_phi(settings.phi))
        if images is not None:
            privacy = replace(privacy, key=read_key(key or folder / KEY))
            if privacy.fingerprint != settings.key:
                raise LedgerError("expected the key that the run was started with, found another: give --phi-key")
        connection = connect_read_only(folder / JOURNAL)
        try:
            part = Part.parse(settings.part)
            list_inputs(connection, images() if images else (), privacy=privacy, part=part)
        except BaseException:
            connection.close()
            raise
        return cls(folder, settings, connection)

    @property
    def is_finished(self) -> bool:
        """Whether every input has its row."""
        with database_errors():
            return bool(self.connection.execute("SELECT is_finished FROM trail").fetchone()[0])

    @property
    def nameless(self) -> int:
        """How many rows are of files that were not given by name."""
        query = "SELECT count(*) FROM answer WHERE identity NOT IN (SELECT identity FROM found)"
        with database_errors():
            return int(self.connection.execute(query).fetchone()[0])


class MergedRuns:
    """The finished parts of one run, open to be read as one.

    Args:
        runs: The parts.
        resources: What is closed with them.
    """

    def __init__(self, runs: Sequence[ReadRun], resources: ExitStack) -> None:
        self.runs = tuple(runs)
        self._resources = resources

    @property
    def settings(self) -> RunSettings:
        """What every part was started with, but for the part and the key."""
        return self.runs[0].settings

    @property
    def provider(self) -> str:
        """What computed; several, where the parts ran on different machines."""
        query = "SELECT DISTINCT provider FROM journal"
        with database_errors():
            found = {str(row[0]) for run in self.runs for row in run.connection.execute(query)}
        return ", ".join(sorted(found))

    @property
    def nameless(self) -> int:
        """How many rows have the name that the journal gives them, because the file's own is not known."""
        return sum(run.nameless for run in self.runs)

    def ranked(self) -> Iterator[Severity]:
        """Yields every answer, as ``severity.ranks.ranked`` sorts them, in constant memory."""
        grades = len(self.settings.labels)
        parts = (stored_answers(run.connection, Severity, grades=grades, order=BY_SEVERITY) for run in self.runs)
        return heapq.merge(*parts, key=severity_order)

    def placed(self) -> Iterator[tuple[FoundImage | None, Severity]]:
        """Yields every file that was given by name with its answer, part by part; None for one that changed since."""
        grades = len(self.settings.labels)
        for run in self.runs:
            answers = stored_answers(run.connection, Severity, grades=grades, only_found=True)
            for item, answer in placed(run.connection, answers):
                is_the_same = hash_input(item.found.source) == answered_sha256(run.connection, item)
                yield item.found if is_the_same else None, answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()


def merge_runs(folders: Sequence[Path], *, images: Images | None = None, key: Path | None = None) -> MergedRuns:
    """Returns the parts in ``folders`` as one run.

    Args:
        folders: Every part once, or one run that has no parts.
        images: As for :meth:`ReadRun.open`.
        key: As there.

    Raises:
        LedgerError: a part is missing, given twice, unfinished, damaged, of another run or no ranking.
        ConfigError: a key cannot be read.
    """
    with ExitStack() as resources:
        runs = []
        for folder in folders:
            run = ReadRun.open(folder, images=images, key=key)
            resources.callback(run.connection.close)
            runs.append(run)
        _refuse_unlike(runs)
        return MergedRuns(runs, resources.pop_all())


def _refuse_unlike(runs: Sequence[ReadRun]) -> None:
    first = runs[0].settings
    for run in runs:
        first.refuse_other(replace(run.settings, part=first.part, key=first.key))
        if not run.is_finished:
            raise LedgerError(f"expected finished parts, found {run.settings.part} unfinished: give its command again")
    if first.command != "rank":
        raise LedgerError(f"expected parts of semise rank, found {first.command}: their results are files of their own")
    found = sorted(str(run.settings.part) for run in runs)
    count = Part.parse(first.part).count
    wanted = sorted(str(Part(index, count)) for index in range(1, count + 1))
    if found != wanted:
        raise LedgerError(f"expected the parts {', '.join(wanted)}, each once, found {', '.join(found)}: give them all")
