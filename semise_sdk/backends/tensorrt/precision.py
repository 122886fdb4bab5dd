"""The precision that a network or an engine really computes in, counted layer by layer."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, Self

from semise_sdk.backends.tensorrt.bindings import Layer, Named, Network, Tensor
from semise_sdk.errors import BackendError
from semise_sdk.spec import Precision
from semise_sdk.system.json_fields import JsonField, JsonSource

_PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM")
# They only move values: a product behind them takes what was dequantized before them.
_MOVES = ("SHUFFLE", "IDENTITY", "SQUEEZE", "UNSQUEEZE", "SLICE", "CONCATENATION")
_NAMES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8", "INT4": "int4", "FP4": "fp4"}
# A kernel's weights have NumPy's type.
_WEIGHTS = {"float32": "fp32", "float16": "fp16", "int8": "int8"}
_NUMBERS = ("fp32", "fp16", "bf16", "int8", "fp8", "int4", "fp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTypes:
    """What a strongly typed network computes in.

    Args:
        layers: How many layers it has.
        products: Convolutions and matrix products by what they compute in: ``int8`` is one whose inputs are all
            dequantized, any other name is the type of its inputs, weights and output.
        tensors: Tensors of numbers by type, whichever layer gives them.
        quantize: Layers that quantize.
        dequantize: Layers that dequantize.
        strays: Names of products that do not compute in the commonest type, a few of them.
    """

    layers: int
    products: Mapping[str, int]
    tensors: Mapping[str, int]
    quantize: int = 0
    dequantize: int = 0
    strays: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.products.items()) or "0"
        pairs = f"; {self.quantize} Q, {self.dequantize} DQ" if self.quantize or self.dequantize else ""
        return f"products: {counts}{pairs}"

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data that :meth:`from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Returns the types that :meth:`to_json` wrote; raises ValueError for anything else."""
        types = JsonField(data, JsonSource("the types of a network", ValueError))
        types.fields(tuple(cls.__dataclass_fields__))
        return types.of(cls)


def network_types(network: Network, trt: ModuleType) -> NetworkTypes:
    """Returns what the layers of a parsed ``INetworkDefinition`` compute in."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    makers = {output.name: layer for layer in layers for output in _outputs(layer)}
    kinds = Counter(layer.type.name for layer in layers)
    products = {layer.name: _product_type(layer, makers, trt) for layer in layers if layer.type.name in _PRODUCTS}
    tensors = Counter(_type(output.dtype) for layer in layers for output in _outputs(layer))
    counts = Counter(products.values())
    commonest = counts.most_common(1)[0][0] if counts else ""
    return NetworkTypes(
        layers=len(layers),
        products=dict(sorted(counts.items())),
        tensors={name: tensors[name] for name in _NUMBERS if tensors[name]},
        quantize=kinds["QUANTIZE"],
        dequantize=kinds["DEQUANTIZE"],
        strays=tuple(name for name, kind in products.items() if kind != commonest)[:5],
    )


def check_types(types: NetworkTypes, precision: Precision, graph: str) -> None:
    """Refuses a network that does not compute in the precision asked for.

    ``fp32`` has no narrower number anywhere; in ``fp16`` every product's inputs, weights and output are halves;
    ``int8`` quantizes, dequantizes and has products between dequantized tensors, others may stand in any type.

    Raises:
        BackendError: it is of another precision, with what was found.
    """
    narrower = {name for name in types.tensors if name != "fp32"} | {name for name in types.products if name != "fp32"}
    fits = {
        "fp32": not (narrower or types.quantize or types.dequantize),
        "fp16": set(types.products) == {"fp16"} and not (types.quantize or types.dequantize),
        "int8": bool(types.quantize and types.dequantize and types.products.get("int8")),
    }
    if not fits.get(precision, False):
        hint = f" (such as {types.strays[0]})" if types.strays else ""
        raise BackendError(
            f"expected graph {graph} in {precision}, found {types}{hint}: the graph's own types are its precision, "
            f"export it again with --precision {precision}"
        )


Evidence = Literal["confirmed", "hidden", "contradicted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTypes:
    """What the engine inspector tells of a built engine.

    Args:
        tensors: Tensors between its layers by type.
        fused: Layers that hide what they compute in: a whole subgraph compiled into one.
        layers: How many layers it has.
    """

    tensors: Mapping[str, int]
    fused: int
    layers: int

    def evidence(self, precision: Precision) -> Evidence:
        """Returns whether the engine's types confirm a precision, hide it or contradict it."""
        found = set(self.tensors)
        if precision == "fp32":
            if found & {"fp16", "bf16", "int8", "fp8"}:
                return "contradicted"
            return "confirmed" if found else "hidden"
        if precision in found:
            return "confirmed"
        return "hidden" if self.fused or not found else "contradicted"

    def __str__(self) -> str:
        counts = ", ".join(f"{count} tensors {name}" for name, count in self.tensors.items()) or "no types shown"
        return f"{self.layers} layers, {counts}, {self.fused} fused"


def engine_types(description: str) -> EngineTypes:
    """Returns the types in an engine inspector's JSON, as TensorRT 10, 11 and TensorRT for RTX spell them."""
    try:
        data = json.loads(description)
    except ValueError:
        return EngineTypes(tensors={}, fused=0, layers=0)
    found = data.get("Layers") if isinstance(data, dict) else None
    layers = found if isinstance(found, list) else []
    described = [layer for layer in layers if isinstance(layer, dict)]
    tensors = Counter(kind for layer in described for kind in _described_types(layer))
    return EngineTypes(
        tensors={name: tensors[name] for name in _NUMBERS if tensors[name]},
        fused=sum(_is_fused(layer) for layer in described),
        layers=len(layers),
    )


def _described_types(layer: Mapping[str, object]) -> Iterator[str]:
    for side in ("Inputs", "Outputs"):
        tensors = layer.get(side)
        for tensor in tensors if isinstance(tensors, list) else ():
            if isinstance(tensor, dict):
                # TensorRT 11 splits what 10 gives as "Format/Datatype".
                text = " ".join(str(tensor[key]) for key in ("DataType", "Format/Datatype", "Format") if key in tensor)
                yield from _spelled_type(text)


def _spelled_type(text: str) -> Iterator[str]:
    spellings = {
        "bf16": ("bf16", "bfloat16"),
        "fp16": ("fp16", "half", "float16"),
        "fp8": ("fp8",),
        "int8": ("int8",),
        "fp32": ("fp32", "float"),
    }
    lowered = text.lower().replace("uint8", "")
    for name, words in spellings.items():
        if any(word in lowered for word in words):
            yield name
            return


def _is_fused(layer: Mapping[str, object]) -> bool:
    text = f"{layer.get('LayerType', '')} {layer.get('Name', '')}".lower()
    return any(word in text for word in ("myelin", "foreignnode", "kgen", "fused"))


def _product_type(layer: Layer, makers: Mapping[str, Layer], trt: ModuleType) -> str:
    inputs = _inputs(layer)[:2]
    if len(inputs) == 2 and all(_is_dequantized(tensor.name, makers) for tensor in inputs):
        return "int8"
    found = {_type(tensor.dtype) for tensor in (*inputs, *_outputs(layer))} | _weight_types(layer, trt)
    return "/".join(sorted(found))


def _is_dequantized(tensor: str, makers: Mapping[str, Layer]) -> bool:
    layer = makers.get(tensor)
    if layer is None:
        return False
    if layer.type.name in _MOVES:
        moved = _inputs(layer) if layer.type.name == "CONCATENATION" else _inputs(layer)[:1]
        return all(_is_dequantized(source.name, makers) for source in moved)
    return layer.type.name == "DEQUANTIZE"


def _weight_types(layer: Layer, trt: ModuleType) -> set[str]:
    classes = {"CONVOLUTION": trt.IConvolutionLayer, "DECONVOLUTION": trt.IDeconvolutionLayer}
    if layer.type.name not in classes or len(_inputs(layer)) > 1 or _type(layer.get_output(0).dtype) == "bf16":
        return set()  # weights given as a tensor are an input; NumPy has no bfloat16
    layer.__class__ = classes[layer.type.name]  # how TensorRT's bindings cast to the kind of layer
    return {_WEIGHTS.get(layer.kernel.dtype.name, layer.kernel.dtype.name)}


def _inputs(layer: Layer) -> list[Tensor]:
    found = (layer.get_input(index) for index in range(layer.num_inputs))
    return [tensor for tensor in found if tensor is not None]


def _outputs(layer: Layer) -> list[Tensor]:
    return [layer.get_output(index) for index in range(layer.num_outputs)]


def _type(dtype: Named) -> str:
    return _NAMES.get(dtype.name, dtype.name.lower())
