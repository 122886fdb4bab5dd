"""Every way out of the command line is a documented exit code and at most one line on standard error."""

import os
import subprocess
import sys

import pytest
from typer import Abort

from semise_sdk.cli import app as application
from semise_sdk.errors import DataError, OutputError, ParityError, SemiseError, TrainingError
from semise_sdk.version import __version__


def raising(error):
    def run(*_args, **_kwargs):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SemiseError("expected a, found b"), 2),
        (TrainingError("the loss is not finite"), 4),
        (ParityError("tau .5 is below .999"), 5),
        (OutputError("could not write x"), 74),
        (KeyboardInterrupt(), 130),
        (Abort(), 130),
        (RuntimeError("a defect"), 70),
    ],
)
def test_an_error_is_one_line_and_its_code(error, code, monkeypatch, capsys):
    monkeypatch.setattr(application, "app", raising(error))
    assert application.run([]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1


def test_data_errors_list_their_problems_up_to_a_bound(monkeypatch, capsys):
    problems = [f"row {row}: missing" for row in range(2, 52)]
    monkeypatch.setattr(application, "app", raising(DataError("50 problems", problems)))
    assert application.run([]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[1].strip() == "row 2: missing"
    assert lines[-1].strip() == "and 30 more"
    assert len(lines) == 22


def test_markup_in_a_message_is_printed_as_it_is(monkeypatch, capsys):
    monkeypatch.setattr(application, "app", raising(SemiseError("found [red]x[/red] and [1, 2]")))
    application.run([])
    assert "[red]x[/red] and [1, 2]" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["no-such-command"], ["rank", "--no-such-option"], ["data", "check", "a", "b"]])
def test_wrong_use_is_exit_code_2(arguments, capsys):
    assert application.run(arguments) == 2
    assert capsys.readouterr().out == ""


def test_the_version_is_printed(capsys):
    assert application.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_an_internal_error_shows_its_trace_only_when_asked(monkeypatch, capsys):
    monkeypatch.setattr(application, "app", raising(RuntimeError("a defect")))
    monkeypatch.setenv("SEMISE_DEBUG", "1")
    application.run([])
    assert "RuntimeError: a defect" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["doctor", "--json"], ["doctor"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "semise_sdk.cli.app", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
