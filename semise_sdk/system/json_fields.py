"""JSON from outside, read as typed fields: what does not fit is refused in one sentence that says where it is."""

import dataclasses
import functools
import json
import re
import reprlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from semise_sdk.errors import SemiseError

Kind = TypeVar("Kind")

_LARGEST = sys.float_info.max
_MOST_SHOWN = 80
_KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    tuple: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxdict, _REPR.maxlist, _REPR.maxstring = 2, 4, 6, 60


def shown(value: object) -> str:
    """Returns a value as an error quotes it: on one line, at most 80 characters.

    Example:
        >>> shown("x" * 200)
        "'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
    """
    text = _REPR.repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


@dataclass(frozen=True, slots=True)
class JsonSource:
    """Where JSON comes from, and how it is refused.

    Args:
        name: What errors call it, such as ``calibration.json``.
        error: Makes the error of a sentence.
        advice: What its reader can do, in words; empty for nothing.
        shows_values: Whether errors may quote what was found; if not, they say of what kind it is.

    Example:
        >>> data = JsonSource("limits.json", ValueError, "write it anew").parse('{"low": [1, true]}')
        >>> data["low"].entries()[0].number(0, 2)
        1.0
        >>> data["low"].of(tuple[float, ...])
        Traceback (most recent call last):
            ...
        ValueError: expected low[1] in limits.json to be a number, found True: write it anew
    """

    name: str
    error: Callable[[str], Exception]
    advice: str = ""
    shows_values: bool = True

    def parse(self, text: str | bytes) -> "JsonField":
        """Returns the value of a JSON text; raises the error for anything else, for NaN, and for a key given twice."""
        try:
            return JsonField(json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant), self)
        except (ValueError, RecursionError) as error:  # none of them quotes the text
            raise JsonField(None, self).refused("to be JSON", str(error)) from error


@dataclass(slots=True)
class JsonField:
    """One value of JSON, and the path to it. Every method raises the source's error where the value does not fit."""

    value: object
    source: JsonSource
    path: tuple[str | int, ...] = ()

    @property
    def where(self) -> str:
        """The value's place in words, such as ``graphs.encoder.outputs[2] in manifest.json``."""
        steps = "".join(
            f".{step}" if isinstance(step, str) and _NAME.fullmatch(step) else f"[{self._step(step)}]"
            for step in self.path
        )
        return " in ".join(filter(None, (steps.removeprefix("."), self.source.name)))

    def refused(self, expected: str, found: str = "") -> Exception:
        """Returns the error that says what was expected of the value, such as ``to be a text``, and what was found."""
        kind = shown(self.value) if self.source.shows_values else _KINDS.get(type(self.value), "something else")
        advice = f": {self.source.advice}" if self.source.advice else ""
        return self.source.error(f"expected {self.where} {expected}, found {found or kind}{advice}")

    def text(self) -> str:
        """Returns a text."""
        if not isinstance(self.value, str):
            raise self.refused("to be a text")
        return self.value

    def matching(self, pattern: re.Pattern[str], named: str) -> str:
        """Returns a text that a pattern matches whole; errors call it ``named``."""
        if not (isinstance(self.value, str) and pattern.fullmatch(self.value)):
            raise self.refused(f"to be {named}")
        return self.value

    def flag(self) -> bool:
        """Returns true or false."""
        if not isinstance(self.value, bool):
            raise self.refused("to be true or false")
        return self.value

    def whole(self, low: float = -_LARGEST, high: float = _LARGEST) -> int:
        """Returns a whole number of ``low`` to ``high``."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.refused(f"to be a whole number{_range(low, high)}")
        return self.value

    def number(self, low: float = -_LARGEST, high: float = _LARGEST) -> float:
        """Returns a finite number of ``low`` to ``high``."""
        if type(self.value) not in (int, float) or not low <= self.value <= high:  # type: ignore[operator]  # a number
            raise self.refused(f"to be a number{_range(low, high)}")
        return float(self.value)  # type: ignore[arg-type]  # a number

    def choice(self, *choices: Kind) -> Kind:
        """Returns the one of some values that it is."""
        for one in choices:
            if type(self.value) is type(one) and self.value == one:
                return one
        raise self.refused(f"to be {' or '.join(map(str, choices))}")

    def optional(self, read: Callable[["JsonField"], Kind]) -> Kind | None:
        """Returns what ``read`` makes of the value; None for null."""
        return None if self.value is None else read(self)

    def entries(self, count: int | None = None) -> list["JsonField"]:
        """Returns the entries of a list, of ``count`` where that is given."""
        if not isinstance(self.value, list | tuple):
            raise self.refused("to be a list")
        if count not in (None, len(self.value)):
            raise self.refused(f"to be a list of {count}", f"one of {len(self.value)}")
        return [self._child(place, value) for place, value in enumerate(self.value)]

    def data(self) -> dict[str, object]:
        """Returns an object as plain data."""
        if not isinstance(self.value, Mapping):
            raise self.refused("to be an object")
        return dict(self.value)

    def members(self) -> dict[str, "JsonField"]:
        """Returns the fields of an object, whatever they are called."""
        return {name: self._child(name, value) for name, value in self.data().items()}

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, "JsonField"]:
        """Returns the fields of an object that has all of the required ones, and no others but the optional."""
        found = self.data()
        missing = [name for name in required if name not in found]
        unknown = sorted(set(found) - {*required, *optional})
        if missing or unknown:
            named = ", ".join(map(shown, unknown[:5])) if self.source.shows_values else f"{len(unknown)}"
            wrong = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {named}"] * bool(unknown)
            raise self.refused("to have the fields of this version", " and ".join(wrong))
        return self.members()

    def __getitem__(self, name: str) -> "JsonField":
        """Returns a field of an object."""
        found = self.data()
        if name not in found:
            raise self._child(name, None).refused("to be given", "none")
        return self._child(name, found[name])

    def get(self, name: str, default: object = None) -> "JsonField":
        """Returns a field of an object; where it is missing, one that holds ``default``."""
        return self._child(name, self.data().get(name, default))

    def only(self, names: Sequence[str]) -> "JsonField":
        """Returns the object without the fields that are not in ``names``."""
        return JsonField({name: value for name, value in self.data().items() if name in names}, self.source, self.path)

    def of(self, kind: type[Kind]) -> Kind:
        """Returns the value as its type says: a dataclass, whose fields it has all but those with a default.

        A type may be made of texts, numbers, booleans, ``object``, ``Literal``, ``| None``, ``tuple``, ``list``,
        ``Mapping``, named tuples and dataclasses. What a dataclass raises of its own becomes the source's error.
        """
        return _typed(self, kind)  # type: ignore[return-value]  # as the type says

    def _step(self, step: str | int) -> str:
        return shown(step) if self.source.shows_values or isinstance(step, int) else "..."

    def _child(self, step: str | int, value: object) -> "JsonField":
        return JsonField(value, self.source, (*self.path, step))


_PLAIN: Mapping[object, Callable[[JsonField], object]] = {
    str: JsonField.text,
    int: JsonField.whole,
    float: JsonField.number,
    bool: JsonField.flag,
    object: lambda field: field.value,
    type(None): lambda field: field.choice(None),
}


def _typed(field: JsonField, kind: object) -> object:
    origin, options = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind](field)
    if origin is Literal:
        return field.choice(*options)
    if origin in (Union, types.UnionType):
        # A union is of null, or of plain types: the one that the value has, else the first, whose error says the rest.
        rest = [option for option in options if option is not type(None)]
        fitting = (option for option in options if type(field.value) is option)
        return _typed(field, next(fitting, rest[0]))
    if origin in (tuple, list):
        is_any_length = origin is list or options[-1] is Ellipsis
        each = [options[0]] * len(field.entries()) if is_any_length else options
        return origin(map(_typed, field.entries(len(each)), each))
    if origin is not None:
        return {name: _typed(value, options[1]) for name, value in field.members().items()}
    return _instance(field, kind)  # type: ignore[arg-type]  # what is left is a class


def _instance(field: JsonField, kind: type) -> object:
    hints, make = _hints(kind), kind
    if issubclass(kind, tuple):  # a NamedTuple is a list
        return make(*map(_typed, field.entries(len(hints)), hints.values()))
    fields = field.fields(_required(kind), tuple(hints))  # type: ignore[arg-type]  # mypy takes the class for an instance here
    values = {name: _typed(value, hints[name]) for name, value in fields.items()}
    try:
        return make(**values)
    except (SemiseError, ValueError) as error:
        raise field.source.error(f"{field.where}: {error}") from error


@functools.cache
def _required(kind: type) -> list[str]:
    known = dataclasses.fields(kind)
    return [one.name for one in known if one.default is one.default_factory is dataclasses.MISSING]


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


def _range(low: float, high: float) -> str:
    if high < _LARGEST:
        return f" of {low:g} to {high:g}"
    return f" of {low:g} or more" if low > -_LARGEST else ""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Readers differ in which of two they take, so that one may be shown and another run.
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a key twice in one object")
    return data


def _no_constant(name: str) -> object:
    raise ValueError(f"{name}, which is no JSON")
