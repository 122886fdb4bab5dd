"""Options that several commands share are the fields of one dataclass; typer reads them as a command's own."""

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, TypeVar, get_args, get_origin

import typer

from semise_sdk.errors import OptionError

Result = TypeVar("Result")


class Without:
    """Fields of a group that are no options of a command, as in ``Annotated[Engine, Without("decode")]``."""

    def __init__(self, *names: str) -> None:
        self.names = names


def with_groups(command: Callable[..., Result]) -> Callable[..., Result]:
    """Returns ``command`` as typer reads it: with the options of its groups instead of the groups.

    A group is a parameter whose type is a dataclass. Each field that is annotated as an option becomes one, at the
    place of the group, with the field's default. The command receives the dataclass, made of what was given.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Callable[..., object], list[str]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind, *notes = get_args(parameter.annotation) or [parameter.annotation]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        options = _options_of(kind, {name for note in notes if isinstance(note, Without) for name in note.names})
        parameters += options
        groups[parameter.name] = (kind, [option.name for option in options])

    @functools.wraps(command)
    def called(**given: object) -> Result:
        made = {name: kind(**{field: given.pop(field) for field in names}) for name, (kind, names) in groups.items()}
        return command(**given, **made)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it, mypy does not
    return called


def refuse_given(
    context: typer.Context, where: str, advice: str, *, names: Collection[str] = (), but: Collection[str] = ()
) -> None:
    """Raises OptionError where options were typed that would change nothing.

    Args:
        context: The command's context.
        where: Beside which option they change nothing, as ``beside --resume``.
        advice: What to do.
        names: The options, as ``--size`` and ``DATA``; all by default.
        but: Those that are meant nevertheless.
    """
    typed = {name: shown for name, shown in _typed(context).items() if name not in but and (name in names or not names)}
    if typed:
        raise OptionError(f"no {', '.join(typed)} {where}", ", ".join(typed.values()), advice)


def _options_of(group: type, left_out: Collection[str]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(group)
        if get_origin(field.type) is Annotated and field.name not in left_out
    ]


def _typed(context: typer.Context) -> dict[str, str]:
    """Returns flags that were typed and values other than the default, by their names in --help, with their values."""
    typed = {}
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[one.name or ""]
        if value == one.default and not isinstance(value, bool):
            continue
        name = one.opts[0] if one.opts[0].startswith("-") else one.opts[0].upper()
        words = value if isinstance(value, list | tuple) else [] if isinstance(value, bool) else [value]
        shown = one.secondary_opts[0] if value is False else name
        typed[name] = " ".join([shown, *map(str, words)])
    return typed
