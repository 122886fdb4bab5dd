"""The shape that each operator of a graph gives its result (ONNX, operator schemas of opset 18).

Rules raise ShapeError, or whatever Python raises where inputs are missing or of another kind: see sizes.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from semise_sdk.bundle.graph_lint.values import MOST_VALUES, Node, Shape, ShapeError, Tensor

Inputs = Sequence[Tensor | None]

_INTEGER_TYPES = (6, 7)
# The modes of Resize whose result has the size that its sizes or scales say.
_COORDINATES = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel")


def _given(inputs: Inputs, index: int) -> Tensor:
    value = inputs[index]
    if value is None:
        raise IndexError
    return value


def _known(inputs: Inputs, index: int) -> tuple[float, ...]:
    values = _given(inputs, index).values
    if values is None:
        raise ShapeError("the size of a result hangs on numbers that are not in the file")
    return values


def _axes(inputs: Inputs, index: int, rank: int) -> tuple[int, ...]:
    axes = tuple(_axis(int(axis), rank) for axis in _known(inputs, index))
    if len(set(axes)) != len(axes):
        raise ShapeError("an axis stands twice")
    return axes


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} of a value of {rank} sides is used")
    return axis % rank


def _same(_node: Node, inputs: Inputs) -> Tensor:
    return Tensor(shape=_given(inputs, 0).shape)


def _cast(node: Node, inputs: Inputs) -> Tensor:
    data = _given(inputs, 0)
    # Only what no cast changes: 70,000 is infinite in half precision, and 3 billion negative in 32 bits.
    is_kept = node.attributes.get("to") in _INTEGER_TYPES and data.values is not None
    is_kept = is_kept and all(isinstance(value, int) and abs(value) < 1 << 31 for value in data.values or ())
    return Tensor(shape=data.shape, values=data.values if is_kept else None)


def _identity(_node: Node, inputs: Inputs) -> Tensor:
    return _given(inputs, 0)


def _broadcast(_node: Node, inputs: Inputs) -> Tensor:
    return Tensor(shape=_broadcast_shape(_given(inputs, 0).shape, _given(inputs, 1).shape))


def _broadcast_shape(first: Shape, second: Shape) -> Shape:
    rank = max(len(first), len(second))
    wide = [(1,) * (rank - len(shape)) + shape for shape in (first, second)]
    for one, other in zip(*wide, strict=True):
        if one != other and 1 not in (one, other):
            raise ShapeError(f"shapes {list(first)} and {list(second)} meet")
    return tuple(other if one == 1 else one for one, other in zip(*wide, strict=True))


def _convolution(node: Node, inputs: Inputs) -> Tensor:
    image, weights = _given(inputs, 0).shape, _given(inputs, 1).shape
    groups = node.number("group", 1)
    if len(image) != len(weights) or len(image) < 3 or groups < 1 or image[1] != weights[1] * groups:
        raise ShapeError(f"a convolution of {list(image)} by {list(weights)} in {groups} groups stands in it")
    if node.numbers("kernel_shape", weights[2:]) != weights[2:]:
        raise ShapeError("a convolution's kernel_shape differs from its weights")
    return Tensor(shape=(image[0], weights[0], *_windows(node, image[2:], weights[2:])))


def _pooling(node: Node, inputs: Inputs) -> Tensor:
    image = _given(inputs, 0).shape
    kernel = node.numbers("kernel_shape", (0,) * (len(image) - 2))
    if len(image) < 3 or min(kernel) < 1:
        raise ShapeError(f"pooling of {list(image)} in windows of {list(kernel)} stands in it")
    return Tensor(shape=(*image[:2], *_windows(node, image[2:], kernel)))


def _global_pooling(_node: Node, inputs: Inputs) -> Tensor:
    shape = _given(inputs, 0).shape
    return Tensor(shape=(*shape[:2], *(1 for _ in shape[2:])))


def _windows(node: Node, sides: Shape, kernel: Shape) -> Shape:
    rank = len(sides)
    strides, dilations = node.numbers("strides", (1,) * rank), node.numbers("dilations", (1,) * rank)
    pads = node.numbers("pads", (0,) * (2 * rank))
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise ShapeError("its padding is left to the engine")
    if min((*strides, *dilations), default=0) < 1 or min(pads, default=0) < 0:
        raise ShapeError(f"strides {list(strides)}, dilations {list(dilations)} or pads {list(pads)} stand in it")
    is_up = node.number("ceil_mode", 0) != 0
    found = []
    for axis, side in enumerate(sides):
        free = side + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1) - 1
        if free < 0:
            raise ShapeError(f"a window is larger than its image in a node {node.operator}")
        steps = -(-free // strides[axis]) if is_up else free // strides[axis]
        # rounding up adds no window that would lie in the padding behind the image
        steps -= is_up and steps * strides[axis] >= side + pads[axis]
        found.append(steps + 1)
    return tuple(found)


def _concat(node: Node, inputs: Inputs) -> Tensor:
    parts = [_given(inputs, index) for index in range(len(inputs))]
    axis = _axis(node.number("axis", 0), len(parts[0].shape))
    others = {(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts}
    if len(others) != 1 or len({len(part.shape) for part in parts}) != 1:
        raise ShapeError("values of different shapes are joined")
    first = parts[0].shape
    shape = (*first[:axis], sum(part.shape[axis] for part in parts), *first[axis + 1 :])
    known = [part.values for part in parts if part.values is not None]
    is_known = len(known) == len(parts) and len(first) == 1 and shape[0] <= MOST_VALUES
    return Tensor(shape=shape, values=tuple(value for part in known for value in part) if is_known else None)


def _flatten(node: Node, inputs: Inputs) -> Tensor:
    shape = _given(inputs, 0).shape
    axis = node.number("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ShapeError(f"a value of {len(shape)} sides is flattened at {axis}")
    axis += len(shape) if axis < 0 else 0
    return Tensor(shape=(math.prod(shape[:axis]), math.prod(shape[axis:])))


def _gather(node: Node, inputs: Inputs) -> Tensor:
    data, indices = _given(inputs, 0), _given(inputs, 1)
    axis = _axis(node.number("axis", 0), len(data.shape))
    shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
    if data.values is None or indices.values is None or len(data.shape) != 1:
        return Tensor(shape=shape)
    return Tensor(shape=shape, values=tuple(data.values[int(index)] for index in indices.values))


def _gemm(node: Node, inputs: Inputs) -> Tensor:
    first, second = (_given(inputs, index).shape for index in range(2))
    if len(first) != 2 or len(second) != 2:
        raise ShapeError(f"Gemm of {list(first)} and {list(second)} stands in it")
    rows, inner = reversed(first) if node.number("transA", 0) else first
    other, columns = reversed(second) if node.number("transB", 0) else second
    if inner != other:
        raise ShapeError(f"Gemm of {list(first)} and {list(second)} stands in it")
    return Tensor(shape=(rows, columns))


def _matmul(_node: Node, inputs: Inputs) -> Tensor:
    first, second = (_given(inputs, index).shape for index in range(2))
    if min(len(first), len(second)) < 2 or first[-1] != second[-2]:
        raise ShapeError(f"MatMul of {list(first)} and {list(second)} stands in it")
    return Tensor(shape=(*_broadcast_shape(first[:-2], second[:-2]), first[-2], second[-1]))


def _pad(_node: Node, inputs: Inputs) -> Tensor:
    shape = _given(inputs, 0).shape
    axes = _axes(inputs, 3, len(shape)) if len(inputs) > 3 and inputs[3] is not None else range(len(shape))
    pads = [int(value) for value in _known(inputs, 1)]
    if len(pads) != 2 * len(axes):
        raise ShapeError("pads do not fit their axes")
    sides = list(shape)
    for index, axis in enumerate(axes):
        sides[axis] += pads[index] + pads[index + len(axes)]
    return Tensor(shape=tuple(sides))


def _reduce(node: Node, inputs: Inputs) -> Tensor:
    shape = _given(inputs, 0).shape
    has_axes = len(inputs) > 1 and inputs[1] is not None
    axes: Sequence[int] = _axes(inputs, 1, len(shape)) if has_axes else ()
    if not axes and not node.number("noop_with_empty_axes", 0):
        axes = range(len(shape))
    if node.number("keepdims", 1):
        return Tensor(shape=tuple(1 if axis in axes else side for axis, side in enumerate(shape)))
    return Tensor(shape=tuple(side for axis, side in enumerate(shape) if axis not in axes))


def _reshape(node: Node, inputs: Inputs) -> Tensor:
    data, wanted = _given(inputs, 0), [int(value) for value in _known(inputs, 1)]
    keeps_zero = node.number("allowzero", 0)
    sides = [data.shape[axis] if side == 0 and not keeps_zero else side for axis, side in enumerate(wanted)]
    elements = math.prod(data.shape)
    if sides.count(-1) == 1:
        sides[sides.index(-1)] = elements // math.prod(side for side in sides if side != -1)
    if min(sides, default=0) < 0 or math.prod(sides) != elements:
        raise ShapeError(f"a value of shape {list(data.shape)} is reshaped to {wanted}")
    return Tensor(shape=tuple(sides), values=data.values)


def _resize(node: Node, inputs: Inputs) -> Tensor:
    shape, attributes = _given(inputs, 0).shape, node.attributes
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    if coordinates not in _COORDINATES or attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise ShapeError(f"a Resize by {coordinates} stands in it, whose size its sizes do not tell")
    if len(inputs) > 3 and inputs[3] is not None:
        sides = [int(value) for value in _known(inputs, 3)]
    else:
        sides = [math.floor(side * scale) for side, scale in zip(shape, _known(inputs, 2), strict=True)]
    if len(sides) != len(shape):
        raise ShapeError("sizes or scales do not fit what is resized")
    return Tensor(shape=tuple(sides))


def _shape(node: Node, inputs: Inputs) -> Tensor:
    shape = _given(inputs, 0).shape
    part = shape[node.number("start", 0) : node.number("end", len(shape))]
    return Tensor(shape=(len(part),), values=part)


def _slice(_node: Node, inputs: Inputs) -> Tensor:
    shape = list(_given(inputs, 0).shape)
    starts, ends = _known(inputs, 1), _known(inputs, 2)
    axes: Sequence[int] = range(len(starts))
    if len(inputs) > 3 and inputs[3] is not None:
        axes = _axes(inputs, 3, len(shape))
    steps = _known(inputs, 4) if len(inputs) > 4 and inputs[4] is not None else (1,) * len(axes)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        shape[axis] = len(range(shape[axis])[int(start) : int(end) : int(step)])
    return Tensor(shape=tuple(shape))


def _squeeze(_node: Node, inputs: Inputs) -> Tensor:
    data = _given(inputs, 0)
    axes = _axes(inputs, 1, len(data.shape))
    if any(data.shape[axis] != 1 for axis in axes):
        raise ShapeError("a side that is not 1 is squeezed")
    return Tensor(shape=tuple(s for axis, s in enumerate(data.shape) if axis not in axes), values=data.values)


def _unsqueeze(_node: Node, inputs: Inputs) -> Tensor:
    data = _given(inputs, 0)
    axes = _axes(inputs, 1, len(data.shape) + len(_known(inputs, 1)))
    sides = list(data.shape)
    for axis in sorted(axes):
        sides.insert(axis, 1)
    return Tensor(shape=tuple(sides), values=data.values)


def _transpose(node: Node, inputs: Inputs) -> Tensor:
    shape = _given(inputs, 0).shape
    order = node.numbers("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ShapeError(f"a value of {len(shape)} sides is transposed by {list(order)}")
    return Tensor(shape=tuple(shape[axis] for axis in order))


Rule = Callable[[Node, Inputs], Tensor]

RULES: Mapping[str, Rule] = {
    "Abs": _same,
    "Add": _broadcast,
    "AveragePool": _pooling,
    "BatchNormalization": _same,
    "Cast": _cast,
    "Clip": _same,
    "Concat": _concat,
    "Conv": _convolution,
    "CumSum": _same,
    "DequantizeLinear": _same,
    "Div": _broadcast,
    "Exp": _same,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pooling,
    "HardSigmoid": _same,
    "HardSwish": _same,
    "Identity": _identity,
    "Log": _same,
    "MatMul": _matmul,
    "MaxPool": _pooling,
    "Mul": _broadcast,
    "Neg": _same,
    "Pad": _pad,
    "QuantizeLinear": _same,
    "ReduceMean": _reduce,
    "Relu": _same,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": _same,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _broadcast,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
