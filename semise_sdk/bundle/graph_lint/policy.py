"""Refuses a graph that is not what our exporter writes, before any engine sees it.

Engines have no list of allowed operators: they run loops that never end, allocate terabytes for a constant of a hundred
bytes, and read files that a graph names. Here a graph is read by a table of what may be in it, and the size of
everything that it computes is worked out for one image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from semise_sdk.bundle.graph_lint.onnx_fields import IR_VERSIONS, MAX_BYTES, MODEL, OPERATORS, OPSETS, TYPES
from semise_sdk.bundle.graph_lint.protobuf import Message, Value, WireError, read
from semise_sdk.bundle.graph_lint.sizes import check_sizes
from semise_sdk.bundle.graph_lint.values import MOST_VALUES, Node, ShapeError, Tensor
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BundleError

Interface = Mapping[str, TensorSpec]

# Where ONNX Runtime looks for the mark of its own format, whose parser would take the file instead of ONNX's.
_ORT_MARK = slice(4, 8), b"ORTM"
# What TensorProto keeps in int32_data where it is not in raw_data.
_IN_INT32_DATA = ("uint8", "int8", "int32", "bool", "float16")
_SHAPE_TYPES = ("int32", "int64", "float32")


class PolicyError(ValueError):
    """A graph that no bundle holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the policy found in a graph that it let pass.

    Args:
        nodes: Its nodes.
        largest: Elements of the largest array that it computes for one image.
        total: Elements of all of them.
    """

    nodes: int
    largest: int
    total: int


def check_policy(content: bytes, *, inputs: Interface, outputs: Interface, name: str) -> Summary:
    """Returns what a graph holds, once it is proven to hold nothing but what a bundle's graph may.

    That is: the fields, operators and attributes of :mod:`semise_sdk.bundle.graph_lint.onnx_fields` only, so no
    subgraph, function, custom operator, metadata or data outside of the file; the opset that the exporter writes;
    tensors whose bytes are what their shape says; inputs and outputs with exactly the names, types and shapes given,
    and outputs that come out so; nodes in order, every value written once before it is read; and no array much larger
    than the canvas (:func:`semise_sdk.bundle.graph_lint.sizes.check_sizes`).

    Args:
        content: The ONNX file.
        inputs: Types and shapes that the manifest promises.
        outputs: Types and shapes that the manifest promises.
        name: The file's name, for errors.

    Raises:
        BundleError: it holds anything else.
    """
    try:
        return _checked(content, inputs, outputs)
    except (WireError, PolicyError, ShapeError) as error:
        raise BundleError(f"expected {name} to be a graph that semise export wrote, found that {error}") from error


def _checked(content: bytes, inputs: Interface, outputs: Interface) -> Summary:
    where, mark = _ORT_MARK
    if content[where] == mark:
        raise PolicyError("it is in ONNX Runtime's own format")
    if len(content) > MAX_BYTES:
        raise PolicyError(f"it has {len(content):,} bytes")
    model = read(memoryview(content), MODEL, "the file")
    _check_versions(model)
    graph = _message(_one(model, "graph"))
    nodes = [_node(_message(one)) for one in graph.get("node", [])]
    constants = _constants(graph)
    _check_interface("input", graph, inputs)
    _check_interface("output", graph, outputs)
    _check_order(nodes, [*inputs, *constants], tuple(outputs))
    canvas = {name: _of_one_image(spec) for name, spec in inputs.items()}
    sizes = check_sizes(nodes, canvas=canvas, constants=constants)
    for name, spec in outputs.items():
        if sizes.shapes[name] != _of_one_image(spec):
            raise PolicyError(f"its output {name} comes out as {list(sizes.shapes[name])}, not as {list(spec.shape)}")
    return Summary(nodes=len(nodes), largest=sizes.largest, total=sizes.total)


def _of_one_image(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(side if isinstance(side, int) else 1 for side in spec.shape)


def _check_versions(model: Message) -> None:
    ir_version = _one(model, "ir_version")
    if ir_version not in IR_VERSIONS:
        raise PolicyError(f"it is of IR version {ir_version}, not of {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}")
    imports = [_message(one) for one in model.get("opset_import", [])]
    opsets = [(one.get("domain", [""])[0], one.get("version", [0])[0]) for one in imports]
    if len(opsets) != 1 or opsets[0][0] != "" or opsets[0][1] not in OPSETS:
        raise PolicyError(
            f"it uses the operator sets {opsets}, not version {', '.join(map(str, OPSETS))} of ONNX alone"
        )


def _node(node: Message) -> Node:
    operator = str(_one(node, "op_type"))
    domain = node.get("domain", [""])[0]
    if operator not in OPERATORS or domain != "":
        full = f"{domain}::{operator}" if domain else operator
        raise PolicyError(f"it has a node of operator {full!r}, which semise export never writes")
    attributes: dict[str, object] = {}
    for attribute in map(_message, node.get("attribute", [])):
        name = str(_one(attribute, "name"))
        if name not in OPERATORS[operator] or name in attributes:
            raise PolicyError(f"a node {operator} has an attribute {name!r} that it cannot have, or has it twice")
        attributes[name] = _attribute(attribute)
    return Node(
        operator=operator,
        inputs=tuple(map(str, node.get("input", []))),
        outputs=tuple(map(str, node.get("output", []))),
        attributes=attributes,
    )


# AttributeProto.AttributeType to the field that holds such a value; a list may be empty, and then has no field.
_HOLDERS = {1: "f", 2: "i", 3: "s", 7: "ints"}


def _attribute(attribute: Message) -> object:
    kind = _one(attribute, "type")
    holder = _HOLDERS.get(kind) if isinstance(kind, int) else None
    if holder is None or set(attribute) - {"name", "type", holder}:
        raise PolicyError(f"the attribute {_one(attribute, 'name')!r} holds something else than its type {kind} says")
    if holder == "ints":
        return tuple(attribute.get("ints", []))
    return attribute[holder][0] if holder in attribute else ("" if holder == "s" else 0)


def _constants(graph: Message) -> dict[str, Tensor]:
    constants: dict[str, Tensor] = {}
    for tensor in map(_message, graph.get("initializer", [])):
        name = str(_one(tensor, "name"))
        if name in constants or not name:
            raise PolicyError(f"its weights have the name {name!r} twice or none at all")
        constants[name] = _tensor(name, tensor)
    return constants


def _tensor(name: str, tensor: Message) -> Tensor:
    shape = tuple(side for side in tensor.get("dims", []) if isinstance(side, int))
    number = _one(tensor, "data_type")
    if number not in TYPES or any(side < 0 for side in shape):
        raise PolicyError(f"the weights {name!r} are of type {number} and shape {list(shape)}")
    dtype, size = TYPES[number] if isinstance(number, int) else ("", 0)
    elements = prod(shape)
    holders = [holder for holder in ("raw_data", "float_data", "int32_data", "int64_data") if holder in tensor]
    if len(holders) != 1 and (holders or elements):
        raise PolicyError(f"the weights {name!r} stand in {len(holders)} places")
    found = _elements(holders[0], tensor, dtype, size) if holders else 0
    if found != elements:
        raise PolicyError(f"the weights {name!r} of shape {list(shape)} hold {found:,} numbers")
    return Tensor(shape=shape, values=_small_values(tensor, dtype, found))


def _elements(holder: str, tensor: Message, dtype: str, size: int) -> int:
    if holder == "int64_data":
        return len(tensor[holder]) if dtype == "int64" else -1
    data = [part for part in tensor[holder] if isinstance(part, memoryview)]
    length = sum(map(len, data))
    if holder == "raw_data":
        return -1 if length % size else length // size
    if holder == "float_data":
        return length // 4 if dtype == "float32" else -1
    # packed integers: each ends with a byte whose highest bit is not set
    ends = sum(int((np.frombuffer(part, np.uint8) < 0x80).sum()) for part in data)
    return ends if dtype in _IN_INT32_DATA else -1


def _small_values(tensor: Message, dtype: str, elements: int) -> tuple[float, ...] | None:
    """Returns the values of few integers or floats, as shapes, axes, pads and scales are; None of all others."""
    if elements == 0:
        return ()
    if "int64_data" in tensor:
        return tuple(value for value in tensor["int64_data"] if isinstance(value, int))
    data = [
        part for part in (*tensor.get("raw_data", []), *tensor.get("float_data", [])) if isinstance(part, memoryview)
    ]
    if elements > MOST_VALUES or dtype not in _SHAPE_TYPES or not data:
        return None
    values: NDArray[np.generic] = np.frombuffer(b"".join(data), dtype)
    return tuple(values.tolist())


def _check_interface(kind: str, graph: Message, promised: Interface) -> None:
    found = {str(_one(value, "name")): _spec(value) for value in map(_message, graph.get(kind, []))}
    if tuple(found) != tuple(promised) or len(found) != len(graph.get(kind, [])):
        raise PolicyError(f"its {kind}s are {', '.join(found) or 'none'}, not {', '.join(promised) or 'none'}")
    for name, spec in promised.items():
        if found[name] != spec:
            raise PolicyError(f"its {kind} {name} is {_written(found[name])}, not {_written(spec)}")


def _spec(value: Message) -> TensorSpec:
    kind = _message(_one(_message(_one(value, "type")), "tensor_type"))
    number = _one(kind, "elem_type")
    if number not in TYPES or not isinstance(number, int):
        raise PolicyError(f"its {_one(value, 'name')!r} is of type {number}")
    sides: list[int | str] = []
    for side in map(_message, _message(_one(kind, "shape")).get("dim", [])):
        given = [*side.get("dim_value", []), *side.get("dim_param", [])]
        if len(given) != 1 or not isinstance(given[0], int | str):
            raise PolicyError(f"its {_one(value, 'name')!r} has a side of no size and no name, or of both")
        sides.append(given[0])
    return TensorSpec(TYPES[number][0], tuple(sides))


def _written(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def _check_order(nodes: list[Node], known: list[str], outputs: tuple[str, ...]) -> None:
    written = set(known)
    if len(written) != len(known):
        raise PolicyError("an input has the name of weights")
    for node in nodes:
        missing = [name for name in node.inputs if name and name not in written]
        if missing:
            raise PolicyError(f"a node {node.operator} reads {missing[0]!r}, which nothing before it writes")
        for name in node.outputs:
            if not name or name in written:
                raise PolicyError(f"{name!r} is written twice or is no name")
            written.add(name)
    absent = [name for name in outputs if name not in written]
    if absent:
        raise PolicyError(f"nothing writes its output {absent[0]}")


def _one(message: Message, name: str) -> Value:
    values = message.get(name, [])
    if not values:
        raise PolicyError(f"a part of it has no {name}")
    return values[0]


def _message(value: Value) -> Message:
    if not isinstance(value, dict):
        raise TypeError(f"expected a message, found {type(value).__name__}")
    return value
