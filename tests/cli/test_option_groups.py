"""Options that are declared once, as typer and as the command see them."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from semise_sdk.cli.option_groups import Without, refuse_given, with_groups
from semise_sdk.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    """A group."""

    colour: Annotated[str, typer.Option(help="Of the wall.")]
    coats: Annotated[int, typer.Option("--coats", min=1)] = 2
    is_glossy: Annotated[bool, typer.Option("--glossy/--matt")] = False
    brand: str = "none"


def app_of(command):
    app = typer.Typer()
    app.command()(with_groups(command))
    return app


def answered(command, *arguments):
    """Returns what the command was called with."""
    result = CliRunner().invoke(app_of(command), list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value


def wall(name: Annotated[str, typer.Argument()], *, paint: Paint, quiet: Annotated[bool, typer.Option("-q")] = False):
    return name, paint, quiet


def test_the_command_gets_one_object_of_what_was_given():
    given = ("north", "--colour", "red", "--glossy", "-q")
    assert answered(wall, *given) == ("north", Paint(colour="red", is_glossy=True), True)


def test_options_stand_where_the_group_stands_and_fields_without_one_are_none():
    command = typer.main.get_command(app_of(wall))
    names = ["name", "--colour", "--coats", "--glossy", "-q"]
    assert [option.opts[0] for option in command.params[: len(names)]] == names
    assert command.params[1].required
    assert (command.params[1].help, command.params[2].min) == ("Of the wall.", 1)


def test_a_command_may_lack_options_of_a_group():
    def door(*, paint: Annotated[Paint, Without("coats", "is_glossy")]):
        return paint

    command = typer.main.get_command(app_of(door))
    assert "--coats" not in [option.opts[0] for option in command.params]
    assert answered(door, "--colour", "red") == Paint(colour="red")


def test_two_options_of_one_name_are_a_defect():
    def wall_twice(*, coats: int = 1, paint: Paint):
        """Both have coats."""

    with pytest.raises(ValueError, match="duplicate parameter name: 'coats'"):
        with_groups(wall_twice)


def fence(context: typer.Context, data: Annotated[str | None, typer.Argument()] = None, *, paint: Paint):
    refuse_given(context, "beside --colour", "leave it out", but=("--colour",))
    return data, paint


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--coats", "3"], "expected no --coats beside --colour, found --coats 3: leave it out"),
        (["--matt"], "expected no --glossy beside --colour, found --matt: leave it out"),
        (["x", "--glossy"], "expected no DATA, --glossy beside --colour, found DATA x, --glossy: leave it out"),
    ],
)
def test_what_would_change_nothing_is_refused_by_name_and_value(arguments, sentence):
    with pytest.raises(OptionError) as caught:
        answered(fence, *arguments, "--colour", "red")
    assert str(caught.value) == sentence


def test_a_default_is_not_refused():
    assert answered(fence, "--colour", "red") == (None, Paint(colour="red"))
