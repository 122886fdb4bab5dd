"""Standard error under ``--phi``: every error has a sentence, and none of them a name."""

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from semise_sdk import errors
from semise_sdk.cli import app as application
from semise_sdk.cli import messages as privacy
from semise_sdk.errors import BundleError, DataError, ImageReadError, LedgerError, OptionError, OutputError, SemiseError

CANARY = "DOE_JANE"


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger()
    handlers, formatters = list(root.handlers), [handler.formatter for handler in root.handlers]
    yield
    privacy.speak("keep")
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    for handler, formatter in zip(handlers, formatters, strict=True):
        handler.setFormatter(formatter)


@pytest.mark.parametrize(
    ("arguments", "phi"),
    [
        ([], "keep"),
        (["rank", "images"], "keep"),
        (["rank", "images", "--run", "r"], "hash"),
        (["rank", "images", "--run=r"], "hash"),
        (["rank", "--run", "r", "--phi", "keep"], "keep"),
        (["rank", "--phi=drop", "images"], "drop"),
        (["rank", "--phi", "keep", "--phi", "drop"], "drop"),
        (["rank", "--phi", "dorp"], "drop"),
        (["rank", "--", "--phi", "drop"], "keep"),
        (["rank", "--phi"], "keep"),
    ],
)
def test_the_command_line_says_how_to_speak(arguments, phi, monkeypatch):
    monkeypatch.delenv("SEMISE_PHI", raising=False)
    assert privacy.phi_of(arguments) == phi


def test_the_environment_says_it_where_the_command_line_does_not(monkeypatch):
    monkeypatch.setenv("SEMISE_PHI", "drop")
    assert privacy.phi_of(["segment", "images"]) == "drop"
    assert privacy.phi_of(["rank", "images", "--phi", "keep"]) == "keep"
    monkeypatch.setenv("SEMISE_PHI", "")
    assert privacy.phi_of(["segment", "images"]) == "keep"


def every_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SemiseError)]
    return [kind("damaged", CANARY) if kind is ImageReadError else kind(CANARY) for kind in kinds]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_every_error_has_a_sentence_without_what_it_found(error, monkeypatch, capsys):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(application, "app", fail)
    assert application.run(["rank", "--phi", "drop"]) == error.exit_code
    said = capsys.readouterr().err
    assert (CANARY in said) == isinstance(error, LedgerError | OptionError)  # whose sentence quotes nothing
    assert len(said.strip().splitlines()) == 1
    assert application.run(["rank", "--phi", "keep"]) == error.exit_code
    assert CANARY in capsys.readouterr().err


def test_a_bundle_may_be_named_among_pseudonyms_and_images_may_not():
    privacy.speak("hash")
    assert CANARY in privacy.sentence(BundleError(CANARY))
    assert CANARY not in privacy.sentence(DataError(CANARY, [CANARY]))


def test_of_an_option_is_told_what_it_may_be_and_not_what_it_was():
    privacy.speak("drop")
    said = privacy.sentence(OptionError("--part i/n", CANARY, "give another"))
    assert said.startswith("expected --part i/n, found otherwise: give another (what was found is left out")
    assert str(OptionError("--part i/n", CANARY)) == f"expected --part i/n, found {CANARY}"


def test_the_problems_of_a_manifest_are_left_out(monkeypatch, capsys):
    def fail(*_args, **_kwargs):
        raise DataError("two problems", [CANARY, CANARY])

    monkeypatch.setattr(application, "app", fail)
    assert application.run(["rank", "--phi", "hash"]) == 2
    assert CANARY not in capsys.readouterr().err


def test_an_output_error_says_what_the_system_said():
    privacy.speak("drop")
    try:
        try:
            raise OSError(28, "No space left on device", CANARY)
        except OSError as error:
            raise OutputError(f"could not write {CANARY}") from error
    except OutputError as error:
        told = privacy.sentence(error)
    assert "No space left on device" in told
    assert CANARY not in told


def test_wrong_use_quotes_no_argument_under_drop(capsys):
    assert application.run(["rank", "--phi", "drop", "--no-such-option", CANARY]) == 2
    assert application.run(["verify-run", "a", "--phi=drop", f"--{CANARY}"]) == 2
    assert CANARY not in capsys.readouterr().err


def test_wrong_use_quotes_options_and_no_argument_under_hash(capsys):
    assert application.run(["rank", "images", "--run", "r", "--bach-size", "3"]) == 2
    assert "--bach-size" in capsys.readouterr().err
    assert application.run(["rank", "--phi", "hash"]) == 2
    assert "Missing argument" in capsys.readouterr().err
    assert application.run(["timeline", "visits.csv", "--phi", "hash", CANARY]) == 2
    assert application.run(["rank", "images", "--run", "r", f"--{CANARY}.png"]) == 2
    assert application.run(["rank", "images", "--run", "r", "--batch-size", CANARY]) == 2
    assert CANARY not in capsys.readouterr().err


def test_a_trace_is_shown_without_its_text(monkeypatch, capsys):
    def fail(*_args, **_kwargs):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(application, "app", fail)
    monkeypatch.setenv("SEMISE_DEBUG", "1")
    assert application.run(["rank", "--phi", "hash"]) == 70
    said = capsys.readouterr().err
    assert "in fail" in said
    assert "RuntimeError" in said
    assert f"RuntimeError: {CANARY}" not in said


@pytest.mark.parametrize(("phi", "is_told"), [("hash", True), ("drop", False)])
def test_logs_of_others_are_left_out_and_so_are_ours_with_values_under_drop(phi, is_told, caplog):
    privacy.speak(phi)
    logging.getLogger().addHandler(handler := logging.StreamHandler())
    privacy.guard_logging()
    record = logging.LogRecord("semise_sdk.backends", logging.WARNING, "", 0, "graph %s", ("encoder",), None)
    assert ("encoder" in handler.format(record)) == is_told
    plain = logging.LogRecord("semise_sdk.backends", logging.WARNING, "", 0, "no graph", (), None)
    assert handler.format(plain) == "no graph"
    error = ValueError(CANARY)
    foreign = logging.LogRecord("pydicom", logging.WARNING, "", 0, CANARY, (), (ValueError, error, None))
    assert CANARY not in handler.format(foreign)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(CANARY, stacklevel=1)
    warned = [record for record in caplog.records if record.name == "py.warnings"]
    assert len(warned) == 1
    assert CANARY not in handler.format(warned[0])


def test_a_line_of_another_thread_is_spoken_as_the_command_speaks():
    privacy.speak("drop")
    logging.getLogger().addHandler(handler := logging.StreamHandler())
    privacy.guard_logging()
    record = logging.LogRecord("semise_sdk.images.readers", logging.WARNING, "", 0, "read %s", (CANARY,), None)
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(handler.format, record).result()
    assert said == "warning of semise_sdk.images.readers (left out under --phi drop)"
