"""Writes a network's graphs as ONNX files, and refuses files that are not what every backend can rely on."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from semise_sdk.bundle.graph_lint.policy import check_policy
from semise_sdk.bundle.manifest import GraphEntry, TensorSpec
from semise_sdk.errors import BundleError, OutputError, ParityError
from semise_sdk.models.network import (
    ClassifierGraph,
    EncoderGraph,
    EncoderOutputs,
    SemiSeNetwork,
    UnetGraph,
    UnetOutputs,
)
from semise_sdk.spec import InputSpec, Precision

OPSET = 18
OPSET_REASON = (
    "18: the newest whose Resize, the U-Net's up-sampling, ONNX Runtime keeps on the GPU before its release with pull "
    "request 27415; above it nodes fall back to the CPU unnoticed"
)
EXPORTER = "torch.onnx.export(dynamo=True)"
EXPORTER_REASON = (
    "named explicitly because torch changed its default; pytorch issues 166797, 169178 and 157621 report it wrong on "
    "ResNets, so the parity gate decides for every network; the older exporter is deprecated"
)

BATCH = "batch"
# With a batch of 1 the exporter may take the size for a constant, or broadcast over it.
_EXAMPLE_BATCH = 2

_log = logging.getLogger(__name__)


def export_graphs(network: SemiSeNetwork, spec: InputSpec, folder: Path) -> tuple[str, ...]:
    """Writes every graph that ``network`` has, checks it, and returns the file names.

    The same weights give the same bytes: nothing of the machine, such as source paths, stays in a file.

    Raises:
        ParityError: a written graph fails :func:`check_graph`.
        OutputError: a file could not be written.
    """
    # Pixels that are contiguous channel first: with torch's usual strides the exporter spells the encoder's pooling
    # as a Gather over computed indices.
    pixels = torch.zeros((_EXAMPLE_BATCH, 3, spec.height, spec.width), dtype=torch.uint8).permute(0, 2, 3, 1)
    embedding = torch.zeros((_EXAMPLE_BATCH, network.config.feature_dim))
    encoder = folder / "encoder.onnx"
    _export(EncoderGraph(network), ("pixels", pixels), EncoderOutputs._fields, encoder)
    written = [encoder]
    if network.config.classes:
        written.append(folder / "classifier.onnx")
        _export(ClassifierGraph(network), ("embedding", embedding), ("logits",), written[-1])
    if network.config.decoder_channels:
        written.append(folder / "unet.onnx")
        _export(UnetGraph(network), ("pixels", pixels), UnetOutputs._fields, written[-1])
    for path in written:
        check_graph(path)
    return tuple(path.name for path in written)


def check_graph(path: Path) -> None:
    """Raises ParityError unless a graph is valid ONNX and is what every backend relies on.

    That is: inputs and outputs named as the graph's kind wants them, each with a symbolic batch dimension and no other;
    opset :data:`OPSET`; uint8 pixels consumed by Cast alone (TensorRT refuses any other node); no data outside the
    file; and nothing that the runtime would refuse in a bundle
    (:func:`semise_sdk.bundle.graph_lint.policy.check_policy`).
    """
    model = _checked(path)
    inputs, outputs = _interface(path.stem)
    problems = [
        *_opset_problems(model),
        *_interface_problems(model.graph.input, inputs),
        *_interface_problems(model.graph.output, outputs),
        *_pixel_problems(model),
    ]
    if problems:
        raise ParityError(f"{path.name}: {'; '.join(problems)}; the exporter did not do what was asked, report it")
    _check_policy(path)


def _check_policy(path: Path) -> None:
    entry = graph_entry(path)
    try:
        check_policy(path.read_bytes(), inputs=entry.inputs, outputs=entry.outputs, name=path.name)
    except BundleError as error:
        raise ParityError(f"{error}: no runtime would open it; choose another encoder, or report this one") from error


def graph_entry(path: Path, *, precision: Precision = "fp32") -> GraphEntry:
    """Returns what the manifest says of a written graph: its file, inputs and outputs."""
    graph = onnx.load(path, load_external_data=False).graph
    return GraphEntry(
        file=path.name,
        precision=precision,
        inputs={value.name: _tensor_spec(value) for value in graph.input},
        outputs={value.name: _tensor_spec(value) for value in graph.output},
    )


def _checked(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
        outside = [t.name for t in model.graph.initializer if onnx.external_data_helper.uses_external_data(t)]
        # the checker would follow the reference, from the folder that this process happens to be in
        if not outside:
            onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx, its checker and protobuf raise kinds that share no base class
        raise ParityError(f"expected {path.name} to be a valid ONNX graph, found {error}") from error
    if outside:
        raise ParityError(f"expected {path.name} to hold all its weights, found {outside[0]} outside the file")
    return model


def _tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return TensorSpec(str(dtype), _shape(value))


def _export(graph: nn.Module, example: tuple[str, Tensor], outputs: Sequence[str], path: Path) -> None:
    name, value = example
    with _silence(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            (value,),
            input_names=[name],
            output_names=list(outputs),
            dynamic_shapes={name: {0: torch.export.Dim(BATCH)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise TypeError("torch.onnx.export returned no program")
    write_graph(save_graph(program.model_proto, path.stem), path)


def save_graph(model: onnx.ModelProto, name: str) -> bytes:
    """Returns a graph's bytes, called ``name``, without what the exporter notes of this machine beside it."""
    _strip(model)
    model.graph.name = name
    return bytes(model.SerializeToString(deterministic=True))


def write_graph(content: bytes, path: Path) -> None:
    """Writes a graph's file; raises OutputError."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"could not write {path}: {error.strerror}; free space or choose another --out") from error


def _strip(model: onnx.ModelProto) -> None:
    """Removes what the exporter notes beside the graph: stack traces with this machine's paths."""
    del model.metadata_props[:]
    for graph in (model.graph, *model.functions):
        for part in (graph, *graph.node, *graph.value_info, *_graph_only(graph)):
            del part.metadata_props[:]
            part.ClearField("doc_string")


def _graph_only(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.ValueInfoProto | onnx.TensorProto]:
    if isinstance(graph, onnx.GraphProto):
        yield from graph.input
        yield from graph.output
        yield from graph.initializer


@contextmanager
def _silence() -> Iterator[None]:
    """Turns the exporter's warnings into debug messages: they are about torch's own code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        _log.debug("torch.onnx: %s", warning.message)


def _interface(stem: str) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the input and output names of a kind of graph: ``unet``, ``encoder``, ``classifier``."""
    kinds = {
        "encoder": (("pixels",), EncoderOutputs._fields),
        "classifier": (("embedding",), ("logits",)),
        "unet": (("pixels",), UnetOutputs._fields),
    }
    return kinds[stem.partition("_")[0]]


def _opset_problems(model: onnx.ModelProto) -> list[str]:
    found = {(entry.domain, entry.version) for entry in model.opset_import}
    return [] if found == {("", OPSET)} else [f"expected opset {OPSET} of ONNX alone, found {sorted(found)}"]


def _interface_problems(values: Sequence[onnx.ValueInfoProto], expected: Sequence[str]) -> list[str]:
    names = tuple(value.name for value in values)
    if names != tuple(expected):
        return [f"expected {', '.join(expected)}, found {', '.join(names)}"]
    shapes = {value.name: _shape(value) for value in values}
    return [
        f"expected {name} [{BATCH}, fixed sizes], found {list(shape)}"
        for name, shape in shapes.items()
        if shape[:1] != (BATCH,) or not all(isinstance(size, int) and size > 0 for size in shape[1:])
    ]


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)


def _pixel_problems(model: onnx.ModelProto) -> list[str]:
    bytes_in = [v.name for v in model.graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.UINT8]
    wanted = ["pixels"] if model.graph.input[0].name == "pixels" else []
    problems = [] if bytes_in == wanted else [f"expected uint8 inputs {wanted}, found {bytes_in}"]
    users = {node.op_type for node in model.graph.node for name in node.input if name in bytes_in}
    return problems if users <= {"Cast"} else [*problems, f"expected Cast alone to take pixels, found {sorted(users)}"]
