"""A bundle's manifest.json as typed data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from semise_sdk.bundle.model_limits import check_model, check_text
from semise_sdk.errors import BundleError, SpecError
from semise_sdk.results import INTENDED_USE
from semise_sdk.spec import PRECISIONS, ModelInfo, Precision

SCHEMA = 1
FORMAT = "semise-bundle"


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
        data = _parsed(text)
        if data.get("format") != FORMAT:
            raise BundleError(f"expected format {FORMAT!r}, found {data.get('format')!r}: this is no bundle's manifest")
        if data.get("schema") != SCHEMA:
            raise BundleError(f"expected bundle schema {SCHEMA}, found {data.get('schema')!r}: update semise-sdk")
        manifest = cls(
            name=_text(data, "name"),
            created=_text(data, "created"),
            sdk_version=_text(data, "sdk_version"),
            intended_use=_text(data, "intended_use"),
            model=_model(data.get("model")),
            graphs={key: _graph(key, value) for key, value in _mapping(data, "graphs").items()},
            files={name: _sha256(name, value) for name, value in _mapping(data, "files").items()},
            parity=tuple(_figures(data.get("parity"))),
            provenance=_mapping(data, "provenance"),
        )
        _check_graphs(manifest)
        return manifest


def _parsed(text: str | bytes) -> dict[str, object]:
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"expected a JSON manifest, found {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"expected the manifest to be a JSON object, found {type(data).__name__}")
    known = {"schema", "format", *BundleManifest.__dataclass_fields__}
    unknown = sorted(set(data) - known)
    if unknown and data.get("schema") == SCHEMA:
        raise BundleError(f"expected only keys of schema {SCHEMA} in the manifest, found {', '.join(unknown)}")
    return data


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Readers differ in which of two they take, so that one may be shown and another run.
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a key twice in one object")
    return data


def _no_constant(name: str) -> object:
    raise ValueError(f"{name}, which is no JSON")


def _model(data: object) -> ModelInfo:
    try:
        model = ModelInfo.from_json(data)
        labels = model.labels
        if not (isinstance(labels, tuple) and labels and all(isinstance(label, str) for label in labels)):
            raise SpecError(f"expected model.labels to be a list of names, found {labels!r}")
        if model.has_classifier and len(labels) != model.network.classes:
            raise SpecError(f"expected {model.network.classes} labels, found {len(labels)}")
    except (SpecError, TypeError, ValueError) as error:
        raise BundleError(f"expected the manifest to describe a model, found otherwise: {error}") from error
    check_model(model)
    return model


def _graph(key: str, data: object) -> GraphEntry:
    if not isinstance(data, dict):
        raise BundleError(f"expected graph {key} to be an object, found {type(data).__name__}")
    return GraphEntry(
        file=_text(data, "file"),
        precision=_precision(key, data.get("precision")),
        inputs={name: _tensor(name, value) for name, value in _mapping(data, "inputs").items()},
        outputs={name: _tensor(name, value) for name, value in _mapping(data, "outputs").items()},
    )


def _precision(key: str, data: object) -> Precision:
    for known in PRECISIONS:
        if data == known:
            return known
    raise BundleError(f"expected graph {key} in {', '.join(PRECISIONS)}, found {data!r}: update semise-sdk")


def _graph_json(graph: GraphEntry) -> dict[str, object]:
    return {
        "file": graph.file,
        "precision": graph.precision,
        "inputs": {name: [spec.dtype, list(spec.shape)] for name, spec in graph.inputs.items()},
        "outputs": {name: [spec.dtype, list(spec.shape)] for name, spec in graph.outputs.items()},
    }


def _tensor(name: str, data: object) -> TensorSpec:
    match data:
        case [str(dtype), list(shape)]:
            sides = tuple(side for side in shape if isinstance(side, int | str))
            if len(sides) == len(shape):
                return TensorSpec(dtype, sides)
    raise BundleError(f"expected tensor {name} as [type, shape], found {data!r}")


def _check_graphs(manifest: BundleManifest) -> None:
    model = manifest.model
    needed = {"encoder": True, "classifier": model.has_classifier, "unet": model.has_segmenter}
    missing = [name for name, is_needed in needed.items() if is_needed and name not in manifest.graphs]
    unlisted = [graph.file for graph in manifest.graphs.values() if graph.file not in manifest.files]
    if missing or unlisted:
        raise BundleError(f"expected every graph of the model in the bundle, missing {', '.join(missing + unlisted)}")


def _figures(data: object) -> list[Mapping[str, object]]:
    if not isinstance(data, list) or not all(isinstance(figures, dict) for figures in data):
        raise BundleError(f"expected parity to be a list of objects, found {type(data).__name__}")
    return data


def _text(data: Mapping[str, object], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise BundleError(f"expected {key} in the manifest to be a text, found {type(value).__name__}")
    return check_text(key, value)


def _mapping(data: Mapping[str, object], key: str) -> dict[str, object]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise BundleError(f"expected {key} in the manifest to be an object, found {type(value).__name__}")
    return value


def _sha256(name: str, value: object) -> str:
    if not (isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")):
        raise BundleError(f"expected a sha256 for {name}, found {value!r}")
    return value
