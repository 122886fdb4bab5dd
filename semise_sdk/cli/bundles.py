"""``semise info`` and ``semise doctor``: what a bundle is, and what this machine can do with it."""

import json
import platform
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from semise_sdk import __version__
from semise_sdk.backends import available, conflicts
from semise_sdk.bundle import Bundle, is_run, open_run
from semise_sdk.cli.batch import find_bundle
from semise_sdk.cli.console import JsonOption, print_json, stdout
from semise_sdk.errors import EXIT_OK, EXIT_USAGE
from semise_sdk.machine import has_nvidia_gpu, usable_cores, usable_memory
from semise_sdk.manifest import Manifest
from semise_sdk.spec import ModelInfo


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("info")(info)
    app.command("doctor")(doctor)


def info(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle or run; the project's newest bundle by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prints what a bundle is: its model, its graphs, its parity figures and where it comes from."""
    path = find_bundle(bundle)
    if is_run(path) and not (path / "manifest.json").exists():
        model = open_run(path).model
        _print(_model_rows(model), {"model": model.to_json()}, as_json=as_json, title=str(path))
        return
    with Bundle.open(path) as opened:
        manifest = opened.manifest
    _print(_manifest_rows(manifest), manifest.to_json(), as_json=as_json, title=manifest.name)
    if not as_json and manifest.parity:
        stdout.print(_parity_table(manifest))


def doctor(as_json: JsonOption = False) -> int:
    """Prints which backends work here, and the pip command for each one that is missing."""
    report = diagnosis()
    backends = available()
    if as_json:
        print_json(report)
    else:
        stdout.print(_pairs({name: report[name] for name in ("semise", "python", "platform", "cores", "memory_gib")}))
        table = Table("backend", "version", "devices", "state")
        for entry in backends:
            state = "ready" if entry.is_available else f"{entry.reason}"
            table.add_row(entry.name, entry.version or "-", ", ".join(entry.devices) or "-", Text(state))
        stdout.print(table)
        for problem in _problems():
            stdout.print(Text(problem))
    return EXIT_OK if any(entry.is_available for entry in backends) else EXIT_USAGE
