"""Every command keeps its arguments and options, with their defaults and help, as options.json has them."""

import json
from pathlib import Path

import pytest
import typer

from semise_sdk.cli.app import app

WRITTEN = json.loads(Path(__file__).with_name("options.json").read_text(encoding="utf-8"))


def described(parameter):
    """Returns the default, the help and the rest of what typer was told of an argument or option."""
    facts = {
        "required": parameter.required,
        "many": parameter.nargs == -1 or getattr(parameter, "multiple", False),
        "min": parameter.min,
        "max": parameter.max,
        "envvar": parameter.envvar,
        "metavar": parameter.metavar,
    }
    default = parameter.default if isinstance(parameter.default, bool | int | float) else str(parameter.default or "")
    return [default, parameter.help, {name: value for name, value in facts.items() if value not in (None, False)}]


def commands(group, prefix=""):
    for word, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{word} ")
        else:
            yield f"{prefix}{word}", command


def found():
    return {
        name: {"/".join([*one.opts, *one.secondary_opts]): described(one) for one in command.params}
        for name, command in commands(typer.main.get_command(app))
    }


def test_no_command_came_or_went():
    assert sorted(found()) == sorted(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_command_keeps_its_options(name):
    assert found()[name] == WRITTEN[name]
