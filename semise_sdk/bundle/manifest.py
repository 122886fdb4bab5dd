"""A bundle's manifest.json as typed data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from semise_sdk.bundle.model_limits import check_model, check_text
from semise_sdk.errors import BundleError
from semise_sdk.results import INTENDED_USE
from semise_sdk.spec import PRECISIONS, ModelInfo, Precision
from semise_sdk.system.json_fields import JsonField, JsonSource

SCHEMA = 1
FORMAT = "semise-bundle"

_SOURCE = JsonSource("the manifest", BundleError, "update semise-sdk, or get the bundle again")
_SHA256 = re.compile("[0-9a-f]{64}")


class TensorSpec(NamedTuple):
    """Type and shape of a graph's input or output; a name in the shape is a free dimension."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEntry:
    """One ONNX graph of a bundle: its file, its precision and its named inputs and outputs.

    An entry in ``bf16`` names the fp32 graph's file: that precision is the runtime's, not the graph's.
    """

    file: str
    precision: Precision = "fp32"
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleManifest:
    """What a bundle says of itself.

    Args:
        name: Name of the bundle.
        created: Time of the export, ISO 8601 in UTC.
        sdk_version: Version of the SDK that wrote it.
        model: The model's description.
        graphs: Its graphs; the key is ``encoder``, ``classifier`` or ``unet``, with ``_<precision>`` added for any
            other precision than fp32.
        files: sha256 of every file but the manifest, by relative name.
        parity: Figures of the export's parity gate, one object per backend and graph.
        provenance: Where the model comes from.
        intended_use: What the model may be used for.
    """

    name: str
    created: str
    sdk_version: str
    model: ModelInfo
    graphs: Mapping[str, GraphEntry]
    files: Mapping[str, str]
    parity: tuple[Mapping[str, object], ...]
    provenance: Mapping[str, object]
    intended_use: str = INTENDED_USE

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data that :meth:`from_json` reads back."""
        return {
            "schema": SCHEMA,
            "format": FORMAT,
            "name": self.name,
            "created": self.created,
            "sdk_version": self.sdk_version,
            "intended_use": self.intended_use,
            "model": self.model.to_json(),
            "graphs": {key: _graph_json(graph) for key, graph in self.graphs.items()},
            "files": dict(sorted(self.files.items())),
            "parity": [dict(figures) for figures in self.parity],
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Returns the manifest in ``text``.

        Raises:
            BundleError: it is no JSON, no bundle's manifest, of another schema, or a key is missing or wrong.
        """
        data = _SOURCE.parse(text)
        data["format"].choice(FORMAT)
        data["schema"].choice(SCHEMA)
        data.fields(("schema", "format", *cls.__dataclass_fields__))
        manifest = cls(
            name=_text(data["name"]),
            created=_text(data["created"]),
            sdk_version=_text(data["sdk_version"]),
            intended_use=_text(data["intended_use"]),
            model=_model(data["model"]),
            graphs={key: _graph(graph) for key, graph in data["graphs"].members().items()},
            files={name: one.matching(_SHA256, "a sha256") for name, one in data["files"].members().items()},
            parity=tuple(figures.data() for figures in data["parity"].entries()),
            provenance=data["provenance"].data(),
        )
        _check_graphs(manifest)
        return manifest


def _model(data: JsonField) -> ModelInfo:
    model = data.of(ModelInfo)
    if not model.labels or (model.has_classifier and len(model.labels) != model.network.classes):
        raise data["labels"].refused(f"to be {model.network.classes or 'some'} labels", f"{len(model.labels)}")
    check_model(model)
    return model


def _graph(data: JsonField) -> GraphEntry:
    return GraphEntry(
        file=_text(data["file"]),
        precision=data["precision"].choice(*PRECISIONS),
        inputs={name: tensor.of(TensorSpec) for name, tensor in data["inputs"].members().items()},
        outputs={name: tensor.of(TensorSpec) for name, tensor in data["outputs"].members().items()},
    )


def _graph_json(graph: GraphEntry) -> dict[str, object]:
    return {
        "file": graph.file,
        "precision": graph.precision,
        "inputs": {name: [spec.dtype, list(spec.shape)] for name, spec in graph.inputs.items()},
        "outputs": {name: [spec.dtype, list(spec.shape)] for name, spec in graph.outputs.items()},
    }


def _check_graphs(manifest: BundleManifest) -> None:
    model = manifest.model
    needed = {"encoder": True, "classifier": model.has_classifier, "unet": model.has_segmenter}
    missing = [name for name, is_needed in needed.items() if is_needed and name not in manifest.graphs]
    unlisted = [graph.file for graph in manifest.graphs.values() if graph.file not in manifest.files]
    if missing or unlisted:
        raise BundleError(f"expected every graph of the model in the bundle, missing {', '.join(missing + unlisted)}")


def _text(data: JsonField) -> str:
    return check_text(data.where, data.text())
