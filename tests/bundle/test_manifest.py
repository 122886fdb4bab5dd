import json
import re

import pytest

from semise_sdk.bundle.manifest import BundleManifest, GraphEntry, TensorSpec
from semise_sdk.errors import BundleError
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

MODEL = ModelInfo(
    name="toy",
    spec=InputSpec(height=32, width=32),
    labels=("healthy", "severe"),
    network=NetworkConfig(
        encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=2, decoder_channels=(8,)
    ),
)
DIGEST = "0123456789abcdef" * 4


def graph(file: str) -> GraphEntry:
    return GraphEntry(
        file=file,
        inputs={"pixels": TensorSpec("uint8", ("N", 32, 32, 3))},
        outputs={"embedding": TensorSpec("float32", ("N", 3))},
    )


@pytest.fixture
def manifest() -> BundleManifest:
    files = ("encoder.onnx", "classifier.onnx", "unet.onnx")
    return BundleManifest(
        name="toy",
        created="2026-01-01T00:00:00+00:00",
        sdk_version="0.1.0",
        model=MODEL,
        graphs={file.removesuffix(".onnx"): graph(file) for file in files},
        files=dict.fromkeys(files, DIGEST),
        parity=({"backend": "onnxruntime", "kendall_tau": 1.0},),
        provenance={"commit": "abc"},
    )


def test_a_manifest_survives_json(manifest):
    assert BundleManifest.from_json(json.dumps(manifest.to_json())) == manifest


def altered(manifest: BundleManifest, **changes: object) -> str:
    return json.dumps({**manifest.to_json(), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zip"}, "expected format in the manifest to be semise-bundle, found 'zip'"),
        ({"schema": 2}, "expected schema in the manifest to be 1, found 2: update semise-sdk"),
        ({"surprise": 1}, "found unknown 'surprise'"),
        ({"name": 3}, "expected name in the manifest to be a text, found 3"),
        ({"graphs": []}, "expected graphs in the manifest to be an object"),
        ({"graphs": {}}, "missing encoder, classifier, unet"),
        ({"graphs": {"encoder": "encoder.onnx"}}, "expected graphs.encoder in the manifest to be an object"),
        (
            {"files": {"encoder.onnx": "abc"}},
            "expected files['encoder.onnx'] in the manifest to be a sha256, found 'abc'",
        ),
        ({"files": {}}, "missing encoder.onnx, classifier.onnx, unet.onnx"),
        ({"parity": {}}, "expected parity in the manifest to be a list, found {}"),
        ({"parity": [3]}, "expected parity[0] in the manifest to be an object, found 3"),
        ({"model": None}, "expected model in the manifest to be an object, found None"),
        (
            {"model": {"name": "toy"}},
            "expected model in the manifest to have the fields of this version, found missing",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(manifest, changes, message):
    with pytest.raises(BundleError, match=re.escape(message)):
        BundleManifest.from_json(altered(manifest, **changes))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(BundleError):
        BundleManifest.from_json(text)


@pytest.mark.parametrize("labels", [["one"], ["a", "b", "c"], "ab", [1, 2], []])
def test_labels_fit_the_classifier(manifest, labels):
    model = {**MODEL.to_json(), "labels": labels}
    with pytest.raises(BundleError, match="label"):
        BundleManifest.from_json(altered(manifest, model=model))


def test_a_spec_of_the_wrong_type_is_refused(manifest):
    model = MODEL.to_json()
    spec = model["spec"]
    assert isinstance(spec, dict)
    spec["height"] = "tall"
    with pytest.raises(BundleError, match=r"expected model\.spec\.height in the manifest to be a whole number"):
        BundleManifest.from_json(altered(manifest, model=model))


@pytest.mark.parametrize("tensor", [["uint8"], ["uint8", [1.5]], [1, [2]], "uint8"])
def test_a_tensor_is_a_type_and_a_shape(manifest, tensor):
    data = manifest.to_json()
    graphs = data["graphs"]
    assert isinstance(graphs, dict)
    graphs["encoder"]["inputs"] = {"pixels": tensor}
    with pytest.raises(BundleError, match=r"expected graphs\.encoder\.inputs\.pixels(\[\d\])* in the manifest to be "):
        BundleManifest.from_json(json.dumps(data))
