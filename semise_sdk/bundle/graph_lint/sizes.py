"""The size of everything that a graph computes, worked out for one image before anything is allocated.

An operator list bounds no memory: a Resize by 10,000, a Pad of a billion, or sixty Concats of a value with itself are
plain operators with a few bytes of parameters. So each operator of the list has its shape rule, the few integers that
shapes are made of are computed along, and what cannot be worked out is refused.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from semise_sdk.bundle.graph_lint.shape_rules import RULES, Inputs
from semise_sdk.bundle.graph_lint.values import Node, Shape, ShapeError, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many elements a graph may compute for one image.

    Args:
        each: In one array.
        total: In all of them together: no order of a run can hold more at once.
    """

    each: int
    total: int

    @classmethod
    def of(cls, inputs: Mapping[str, Shape], constants: Mapping[str, Tensor]) -> Self:
        """Returns the limits for inputs of these shapes and these weights.

        A ResNet-50 computes 16 elements per pixel in its largest array and 549 in all; a wide encoder with a U-Net
        computes several times that, and a small canvas has a floor. Weights are copied where 8 bits become floats.
        """
        pixels = max((math.prod(shape) for shape in inputs.values()), default=0) // 3
        sizes = [math.prod(tensor.shape) for tensor in constants.values()]
        return cls(
            each=(1 << 24) + 512 * pixels + max(sizes, default=0), total=(1 << 26) + 8192 * pixels + 2 * sum(sizes)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a graph computes for one image.

    Args:
        largest: Elements of its largest array.
        total: Elements of all of them.
        shapes: Shape of every value by name.
    """

    largest: int
    total: int
    shapes: Mapping[str, Shape]


def check_sizes(nodes: Sequence[Node], *, canvas: Mapping[str, Shape], constants: Mapping[str, Tensor]) -> Sizes:
    """Returns the sizes of everything that a graph computes for one image.

    Args:
        nodes: Its nodes, in an order in which they can run.
        canvas: Shapes of its inputs, with one image.
        constants: Its weights.

    Raises:
        ShapeError: it computes more than its :class:`Limits`, or a size cannot be worked out.
    """
    limits = Limits.of(canvas, constants)
    values = {name: Tensor(shape=shape) for name, shape in canvas.items()} | dict(constants)
    largest = total = 0
    for node in nodes:
        result = _result(node, [values[name] if name else None for name in node.inputs])
        elements = math.prod(result.shape)
        largest, total = max(largest, elements), total + elements
        if elements > limits.each or total > limits.total:
            raise ShapeError(
                f"a node {node.operator} brings it to an array of {elements:,} numbers and {total:,} in all for one "
                f"image, over {limits.each:,} and {limits.total:,}"
            )
        values.update(dict.fromkeys(node.outputs, result))
    return Sizes(largest=largest, total=total, shapes={name: value.shape for name, value in values.items()})


def _result(node: Node, inputs: Inputs) -> Tensor:
    if len(node.outputs) != 1:
        raise ShapeError(f"a node {node.operator} writes {len(node.outputs)} values")
    try:
        result = RULES[node.operator](node, inputs)
    except ShapeError:
        raise
    except (IndexError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise ShapeError(f"the inputs of a node {node.operator} do not fit it") from error
    if any(side < 0 for side in result.shape):
        raise ShapeError(f"a node {node.operator} has a result of shape {list(result.shape)}")
    return result
