"""The exception tree of SemiSe: every error that a user can cause, with its exit code.

SemiseError                 2   wrong use or input
|-- ImageReadError          -   one file could not be read: becomes one row with status=error
|-- SpecError               2   an image or array does not fit what the model expects
|-- ConfigError             2   a configuration file or option is wrong
|   `-- OptionError         2   options do not fit together, or one has no such value
|-- DataError               2   the manifest or its images are wrong; lists every problem at once
|-- BundleError             2   a bundle or run folder is damaged, altered or incomplete
|-- BackendError            2   an inference backend is missing or refused the graph
|-- ReferenceImageError     2   no usable healthy reference
|-- LedgerError             2   a folder of rank --run is damaged, in use, or of another run
|-- TrainingError           4   the training diverged or collapsed
|-- ParityError             5   an exported graph does not agree with torch, or a replay differs
`-- OutputError            74   a result could not be written
"""

from collections.abc import Sequence

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_SOME_ROWS_FAILED = 3
EXIT_TRAINING_FAILED = 4
EXIT_PARITY_FAILED = 5
EXIT_INTERNAL = 70
EXIT_OUTPUT_FAILED = 74
EXIT_INTERRUPTED = 130

CLOSED = "expected an open predictor, found it closed: finish its streams first, or open it again"


class SemiseError(Exception):
    """An error that its reader can correct: what was expected, what was found, what to do."""

    exit_code = EXIT_USAGE


class ImageReadError(SemiseError):
    """One image that could not be read.

    Args:
        code: Stable machine-readable reason, such as ``truncated`` or ``not_an_image``.
        message: One sentence for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def reason(self) -> str:
        """The text of a result row's ``reason`` column: ``code: message``."""
        return f"{self.code}: {self}"


class SpecError(SemiseError):
    """An image or array that does not fit what the model expects."""


class ConfigError(SemiseError):
    """A configuration file or option that is wrong."""


class OptionError(ConfigError):
    """Options that do not fit together, or a value that an option does not have.

    Args:
        expected: What was expected, in words that quote nothing that was given and may be logged under every ``--phi``.
        found: What was found.
        advice: What to do, in words that quote nothing that was given either.
    """

    def __init__(self, expected: str, found: str = "otherwise", advice: str = "") -> None:
        self._expected = expected
        self._advice = f": {advice}" if advice else ""
        super().__init__(f"expected {expected}, found {found}{self._advice}")

    @property
    def without_values(self) -> str:
        """The sentence without what was found."""
        return f"expected {self._expected}, found otherwise{self._advice}"


class DataError(SemiseError):
    """A manifest or its images are wrong.

    Args:
        message: One sentence that sums the problems up.
        problems: Every problem found, one sentence each.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class BundleError(SemiseError):
    """A bundle or run folder that is damaged, altered or incomplete."""


class BackendError(SemiseError):
    """An inference backend that is missing, or that refused the graph or the device."""


class ReferenceImageError(SemiseError):
    """No usable healthy reference was given."""


class LedgerError(SemiseError):
    """A folder of ``rank --run`` that is damaged, in use, or was started with something else.

    Its sentence quotes nothing of an input, neither name nor content: it may be logged under every ``--phi``.
    """


class TrainingError(SemiseError):
    """Training that diverged or collapsed."""

    exit_code = EXIT_TRAINING_FAILED


class ParityError(SemiseError):
    """An exported graph that does not agree with torch, or a golden replay that differs."""

    exit_code = EXIT_PARITY_FAILED


class OutputError(SemiseError):
    """A result that could not be written."""

    exit_code = EXIT_OUTPUT_FAILED
