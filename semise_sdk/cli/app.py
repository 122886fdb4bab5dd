"""The ``semise`` command: its command groups, and how an error becomes one line and an exit code."""

import logging
import os
import sys
import traceback
from typing import Annotated

import typer
from typer import Abort
from typer.exceptions import TyperException

from semise_sdk.cli.commands import (
    bench,
    bundles,
    calibrate,
    compare,
    compare_images,
    data,
    demo,
    evaluate,
    export,
    ledger,
    merge,
    predict,
    signatures,
    timeline,
    train,
)
from semise_sdk.cli.console import stderr
from semise_sdk.cli.messages import guard_logging, phi_of, sentence, speak, spoken, usage_sentence
from semise_sdk.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, DataError, SemiseError
from semise_sdk.version import __version__

SHOWN_PROBLEMS = 20

EXIT_CODES = """Exit codes: 0 all rows ok, 2 wrong use or input, 3 some rows failed, 4 training diverged or collapsed,
5 an export or a bundle does not agree with its reference, 70 internal error, 74 output could not be written,
130 interrupted."""

app = typer.Typer(
    name="semise",
    help="Rank, grade and segment medical images by severity. Research use only. Not for diagnostic use.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

GROUPS = (
    demo,
    data,
    train,
    compare,
    evaluate,
    export,
    predict,
    ledger,
    merge,
    compare_images,
    timeline,
    signatures,
    calibrate,
    bundles,
    bench,
)

for group in GROUPS:
    group.register(app)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is chosen and why.")] = False,
    version: Annotated[  # noqa: ARG001  # its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Sets up logging on standard error."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)
    guard_logging()


def main() -> None:
    """Runs the command line; every way out is an exit code of ``EXIT_CODES``."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; an error is one line on standard error."""
    speak(phi_of(arguments))
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        stderr.print(f"semise: {usage_sentence(error)} Try --help.", markup=False)
        return EXIT_USAGE
    except (Abort, KeyboardInterrupt):
        stderr.print("semise: interrupted")
        return EXIT_INTERRUPTED
    except SemiseError as error:
        _explain(error)
        return error.exit_code
    except (BrokenPipeError, SystemExit):
        # The reader of our output left, as `| head` does; typer turns that into SystemExit where it sees it first.
        # Standard output then leads nowhere, so that the exit stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        return _internal(error)
    return code if isinstance(code, int) else 0


def _explain(error: SemiseError) -> None:
    stderr.print(f"semise: {sentence(error)}", markup=False)
    problems = error.problems if isinstance(error, DataError) and spoken() == "keep" else ()
    for problem in problems[:SHOWN_PROBLEMS]:
        stderr.print(f"  {problem}", markup=False)
    if len(problems) > SHOWN_PROBLEMS:
        stderr.print(f"  and {len(problems) - SHOWN_PROBLEMS} more", markup=False)


def _internal(error: Exception) -> int:
    if os.environ.get("SEMISE_DEBUG") and spoken() == "keep":
        traceback.print_exception(error)
    elif os.environ.get("SEMISE_DEBUG"):
        traceback.print_tb(error.__traceback__)  # without its text, which may quote a file
    stderr.print(
        f"semise: internal error ({type(error).__name__}): please report it with the output of SEMISE_DEBUG=1",
        markup=False,
    )
    return EXIT_INTERNAL


if __name__ == "__main__":
    main()
