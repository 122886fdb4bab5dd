"""One command's work over many images: which bundle, which images, where the results go, how it went."""

import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, get_args

from semise_sdk.cli.console import say, stderr, tracked
from semise_sdk.cli.messages import spoken
from semise_sdk.cli.options import Engine
from semise_sdk.cli.project import newest_bundle
from semise_sdk.errors import EXIT_OK, EXIT_SOME_ROWS_FAILED, BundleError, DataError, OptionError
from semise_sdk.images.readers import find_images, scan_images
from semise_sdk.images.record import FoundImage, NamedImage
from semise_sdk.predictor import Predictor
from semise_sdk.results import INTENDED_USE, RankedImage, Ranking, Status
from semise_sdk.spec import PRECISIONS, Decoding, Precision
from semise_sdk.tables.write import Header

BUNDLE_VARIABLE = "SEMISE_BUNDLE"
ATTENTION: tuple[tuple[Status, str], ...] = (("abstain", "not scored and for a human"), ("review", "to be looked at"))


class _Answer(Protocol):
    @property
    def status(self) -> Status: ...


Answer = TypeVar("Answer", bound=_Answer)


class Batch:
    """The images of one command, and the predictor that answers for them.

    Args:
        predictor: The open predictor.
        images: The command's arguments, which name at least one image.
        quiet: No progress and no messages.
    """

    def __init__(self, predictor: Predictor, images: Sequence[Path], *, quiet: bool) -> None:
        self.predictor = predictor
        self.images = images
        self.is_quiet = quiet
        self._counts: Counter[str] = Counter()
        self._started = time.perf_counter()

    def answers(
        self, label: str, stream: Callable[[Iterable[FoundImage]], Iterator[Answer]]
    ) -> Iterator[tuple[FoundImage, Answer]]:
        """Yields every image with its answer from ``stream``, under a progress bar called ``label``."""
        fed, kept = itertools.tee(found_images(self.images))
        total = self._count() if stderr.is_terminal and not self.is_quiet else None
        answers = tracked(stream(fed), total=total, label=label, quiet=self.is_quiet)
        for found, answer in zip(kept, answers, strict=True):
            self._counts[answer.status] += 1
            yield found, answer

    def header(self, reference: str | None = None) -> Header:
        """Returns where the results come from."""
        return Header(
            bundle=self.predictor.name,
            backend=self.predictor.backend,
            precision=self.predictor.precision,
            reference=reference,
            grade_sets=self.grade_sets,
        )

    def ranking(self, rows: Iterable[RankedImage], reference: str) -> Ranking:
        """Returns ranked rows with what they come from; all of them first, as the engine then says what it is."""
        ranked = tuple(rows)
        return Ranking(
            rows=ranked, reference=reference, backend=self.predictor.backend, precision=self.predictor.precision
        )

    @property
    def grade_sets(self) -> str | None:
        """How often the bundle's grade sets hold the true grade, in words; None where it has none."""
        calibration = self.predictor.calibration
        return None if calibration is None or calibration.sets is None else calibration.facts()["grade sets"]

    def followed(self, label: str, answers: Iterable[Answer], *, total: int) -> Iterator[Answer]:
        """Yields ``answers`` under a progress bar called ``label``; what becomes of them is for others to count."""
        return tracked(answers, total=total, label=label, quiet=self.is_quiet)

    def finish(self, counts: Counter[str] | None = None) -> int:
        """Says how it went and returns the exit code.

        Args:
            counts: How many images have each status; those of :meth:`answers` by default.
        """
        self._counts = self._counts if counts is None else counts
        seconds = time.perf_counter() - self._started
        total, failed = self._counts.total(), self._counts["error"]
        say(
            f"{in_words(self._counts)}, {seconds:.1f} s ({total / seconds:.0f} a second) on "
            f"{self.predictor.backend} in {self.predictor.precision}, bundle {self.predictor.name}",
            quiet=self.is_quiet,
        )
        return EXIT_SOME_ROWS_FAILED if failed else EXIT_OK

    def _count(self) -> int:
        return sum(1 for _ in found_images(self.images))


def in_words(counts: Counter[str]) -> str:
    """Returns how many images there are, and how many of them need attention."""
    human = "".join(f", {counts[status]} {words}" for status, words in ATTENTION if counts[status])
    return f"{counts.total()} images, {counts['error']} failed{human}"


@contextmanager
def open_batch(images: Sequence[Path], engine: Engine, *, quiet: bool) -> Iterator[Batch]:
    """Yields the work over ``images``.

    Raises:
        DataError: a path does not exist, or no image was found.
        BundleError: no bundle was found, or it is damaged.
        BackendError: the backend or device cannot be used.
    """
    if next(placed_images(images, scan_images), None) is None:
        raise DataError(f"expected images in {', '.join(map(str, images))}, found none: name another folder")
    with open_predictor(engine, quiet=quiet) as predictor:
        yield Batch(predictor, images, quiet=quiet)


@contextmanager
def open_predictor(engine: Engine, *, quiet: bool) -> Iterator[Predictor]:
    """Yields the predictor that the options name, and says what it is for.

    Raises:
        BundleError: no bundle was found, or it is damaged.
        BackendError: the backend or device cannot be used.
    """
    with (
        own_standard_error(),
        Predictor.open(
            find_bundle(engine.bundle),
            backend=engine.backend,
            device=engine.device,
            batch_size=engine.batch_size,
            threads=engine.threads,
            precision=parse_precision(engine.precision),
            isolate=engine.isolate,
            public_key=engine.public_key,
            decoding=parse_decoding(engine.decode),
        ) as predictor,
    ):
        say(INTENDED_USE, quiet=quiet)
        yield predictor


def parse_precision(text: str) -> Precision:
    """Returns the precision of that name; raises OptionError for an unknown one."""
    for known in PRECISIONS:
        if text == known:
            return known
    raise OptionError(f"--precision {', '.join(PRECISIONS)}", repr(text))


def parse_decoding(text: str) -> Decoding:
    """Returns the decoding of that name, ``-`` for ``_``; raises OptionError for an unknown one."""
    for known in get_args(Decoding):
        if text == known.replace("_", "-"):
            return known  # type: ignore[no-any-return]  # get_args knows no types
    raise OptionError("--decode argmax or expected-maee", repr(text))


@contextmanager
def own_standard_error() -> Iterator[None]:
    """Keeps standard error to this program: libtiff writes its complaints to descriptor 2 behind Python's back.

    What a file is wrong with stands in its row. SEMISE_DEBUG=1 lets everything through.
    """
    if (os.environ.get("SEMISE_DEBUG") and spoken() == "keep") or sys.stderr is not sys.__stderr__:
        yield
        return
    kept, original = os.dup(2), sys.stderr
    with open(os.devnull, "wb") as silence, os.fdopen(os.dup(2), "w", buffering=1) as ours:  # noqa: PTH123  # a device
        os.dup2(silence.fileno(), 2)
        sys.stderr = ours
        try:
            yield
        finally:
            sys.stderr = original
            os.dup2(kept, 2)
            os.close(kept)


def find_bundle(given: Path | None) -> Path:
    """Returns the bundle that was given, else ``$SEMISE_BUNDLE``, else the newest of the project folder.

    Raises:
        BundleError: there is none.
    """
    found = given or os.environ.get(BUNDLE_VARIABLE) or newest_bundle(Path.cwd())
    if not found:
        raise BundleError(
            f"expected a bundle, found none in this folder: give --bundle PATH, set {BUNDLE_VARIABLE}, or make one "
            "with semise train and semise export"
        )
    return Path(found)


def found_images(arguments: Sequence[Path]) -> Iterator[FoundImage]:
    """Returns the files that a command's arguments name, in order.

    A file in a folder is named relative to that folder, a file given by itself by its own name; where several given
    files share a name, each appears as it was typed.

    Raises:
        DataError: a path does not exist.
    """
    return (found for _, found in placed_images(arguments, find_images))


def placed_images(
    arguments: Sequence[Path], find: Callable[[Path], Iterator[FoundImage]]
) -> Iterator[tuple[int, FoundImage]]:
    """Returns what :func:`found_images` does, as ``find`` finds it, each with the number of folders given before it.

    Raises:
        DataError: a path does not exist.
    """
    find_images(arguments)  # all of them are checked before the first is read
    names = Counter(path.name for path in arguments if not path.is_dir())
    folders = [argument.is_dir() for argument in arguments]
    return (
        (
            sum(folders[:place]),
            NamedImage(str(argument), found.source) if names[argument.name] > 1 and not folders[place] else found,
        )
        for place, argument in enumerate(arguments)
        for found in find(argument)
    )
