"""The values and nodes of a graph, as far as their shapes go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]

MOST_VALUES = 64
"""Of so few numbers are shapes, axes, pads and scales made; those of a larger tensor are not looked at."""


class ShapeError(ValueError):
    """A graph that would compute something far too large, or whose sizes cannot be worked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A value of a graph: its shape, and its numbers where they are few and known."""

    shape: Shape
    values: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node: its operator, the names that it reads and writes, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object]

    def number(self, name: str, default: int) -> int:
        """Returns a whole-number attribute; raises ShapeError where it is of another type."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise ShapeError(f"the attribute {name} of a node {self.operator} is no whole number")
        return value

    def numbers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """Returns an attribute of whole numbers, as many as the default has; raises ShapeError."""
        value = self.attributes.get(name, tuple(default))
        if not isinstance(value, tuple) or len(value) != len(default):
            raise ShapeError(f"the attribute {name} of a node {self.operator} is not {len(default)} whole numbers")
        return value
