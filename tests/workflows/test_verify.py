"""Replaying golden files of a hand-written bundle whose every answer can be worked out on paper."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from semise_sdk.backends import Availability
from semise_sdk.bundle import Bundle, write_manifest
from semise_sdk.bundle.manifest import GraphEntry, TensorSpec
from semise_sdk.errors import BackendError, BundleError, ParityError
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig
from semise_sdk.workflows import verify as module
from semise_sdk.workflows.verify import QUANTITIES, Answer, largest_errors, replay, replay_all

OUTPUTS = ("embedding", "severity_vector", "reference_vector", "severity_map_vectors")
COLOURS = {"red.png": (200, 0, 0), "green.png": (0, 100, 0), "yellow.png": (60, 60, 0)}
MODEL = ModelInfo(
    name="colour",
    spec=InputSpec(height=16, width=16),
    labels=("red", "other"),
    network=NetworkConfig(
        encoder="none", feature_dim=3, vector_dim=3, projection="identity", mean=(0.0,) * 3, std=(1.0,) * 3, classes=0
    ),
)
# severity is the cosine distance of the mean colour to pure red
SEVERITIES = {"red.png": 0.0, "green.png": 1.0, "yellow.png": 1 - np.sqrt(0.5)}
TOLERANCE = {"severity": 1e-3, "probabilities": 1e-3, "area_fraction": 1e-3, "embedding": 0.2}


def mean_colour_graph() -> onnx.ModelProto:
    """Returns an encoder whose every vector is the mean colour."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "places"], ["embedding"], keepdims=0),
        helper.make_node("Identity", ["embedding"], ["severity_vector"]),
        helper.make_node("Identity", ["embedding"], ["reference_vector"]),
        helper.make_node("Reshape", ["embedding", "one_place"], ["severity_map_vectors"]),
    ]
    constants = {"places": np.array([1, 2], np.int64), "one_place": np.array([-1, 1, 1, 3], np.int64)}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 16, 16, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape(name))) for name in OUTPUTS],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def shape(name: str) -> tuple[int | str, ...]:
    return ("batch", 1, 1, 3) if name == "severity_map_vectors" else ("batch", 3)


def expected() -> dict[str, object]:
    answers = [
        {
            "file": name,
            "severity": SEVERITIES[name],
            "probabilities": [],
            "area_fraction": None,
            "embedding": list(COLOURS[name]),
        }
        for name in COLOURS
    ]
    return {"schema": 1, "tolerance": TOLERANCE, "answers": answers}


Writer = Callable[..., Path]


@pytest.fixture
def write_bundle(tmp_path: Path) -> Writer:
    """Returns what writes the bundle with the golden answers given."""

    def write(golden: object) -> Path:
        folder = tmp_path / "bundle"
        (folder / "golden").mkdir(parents=True)
        onnx.save(mean_colour_graph(), folder / "encoder.onnx")
        ReferenceBank(np.array([[1, 0, 0]], np.float32)).save(folder / "references.safetensors")
        for name, colour in COLOURS.items():
            Image.new("RGB", (20, 20), colour).save(folder / "golden" / name)
        (folder / "golden" / "expected.json").write_text(golden if isinstance(golden, str) else json.dumps(golden))
        entry = GraphEntry(
            file="encoder.onnx",
            inputs={"pixels": TensorSpec("uint8", ("batch", 16, 16, 3))},
            outputs={name: TensorSpec("float32", shape(name)) for name in OUTPUTS},
        )
        write_manifest(folder, model=MODEL, graphs={"encoder": entry})
        return folder

    return write


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_answers_worked_out_on_paper_replay(backend: str, write_bundle: Writer) -> None:
    pytest.importorskip(backend)
    report = replay(write_bundle(expected()), backend=backend)
    assert report.passed
    assert report.backend.startswith(f"{backend}:")
    assert report.pictures == 3
    assert set(report.errors) == {"severity", "embedding"}
    assert report.errors["severity"] <= 1e-6
    assert report.errors["embedding"] <= 1e-4
    report.require_agreement()


def changed(file: str, quantity: str, value: object) -> dict[str, object]:
    golden = expected()
    answers = golden["answers"]
    assert isinstance(answers, list)
    next(answer for answer in answers if answer["file"] == file)[quantity] = value
    return golden


@pytest.mark.parametrize(
    ("file", "quantity", "value", "said"),
    [
        ("green.png", "severity", 0.99, "severity of green.png differs by 0.01, more than 0.001"),
        ("red.png", "embedding", [200.5, 0, 0], "embedding of red.png differs by 0.5, more than 0.2"),
        ("red.png", "embedding", [200, 0], "embedding of red.png is there on one side only"),
        ("red.png", "area_fraction", 0.25, "area_fraction of red.png is there on one side only"),
        ("red.png", "probabilities", [0.5, 0.5], "probabilities of red.png is there on one side only"),
        ("red.png", "severity", None, "severity of red.png is there on one side only"),
    ],
)
def test_an_answer_that_differs_is_named(
    file: str, quantity: str, value: object, said: str, write_bundle: Writer
) -> None:
    report = replay(write_bundle(changed(file, quantity, value)), backend="onnxruntime")
    assert [str(difference) for difference in report.differences] == [said]
    assert not report.passed
    with pytest.raises(ParityError, match="the golden files replay otherwise on onnxruntime") as error:
        report.require_agreement()
    assert said in str(error.value)
    json.dumps(report.to_json())


def test_an_answer_that_is_no_number_differs(write_bundle: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module.answers

    def without_numbers(*given: Any) -> Iterator[Answer]:
        return (dataclasses.replace(answer, severity=float("nan")) for answer in honest(*given))

    monkeypatch.setattr(module, "answers", without_numbers)
    report = replay(write_bundle(expected()), backend="onnxruntime")
    assert "severity of red.png differs by nan, more than 0.001" in map(str, report.differences)
    assert not report.passed
    json.dumps(report.to_json())


def test_a_difference_within_its_tolerance_is_none(write_bundle: Writer) -> None:
    report = replay(write_bundle(changed("green.png", "severity", 0.9995)), backend="onnxruntime")
    assert report.passed
    assert report.errors["severity"] == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("golden", "said"),
    [
        ("not json", r"golden/expected\.json to be JSON, found Expecting value"),
        ({"schema": 2}, r"expected schema in golden/expected\.json to be 1, found 2: update semise-sdk"),
        ({"schema": 1, "tolerance": TOLERANCE}, "expected answers in .* to be given, found none"),
        (changed("red.png", "severity", float("nan")), "found NaN, which is no JSON"),
        ({"schema": 1, "tolerance": TOLERANCE, "answers": []}, "to hold golden answers, found none"),
        (
            {"schema": 1, "tolerance": TOLERANCE, "answers": [{"file": "red.png"}]},
            r"answers\[0\]\.severity in .* to be given",
        ),
        (changed("red.png", "embedding", 5), r"answers\[0\]\.embedding in .* to be a list, found 5"),
        (changed("red.png", "file", "../../other.png"), "expected golden/../../other.png in bundle"),
    ],
)
def test_damaged_golden_files_are_one_sentence(golden: object, said: str, write_bundle: Writer) -> None:
    with pytest.raises(BundleError, match=said):
        replay(write_bundle(golden), backend="onnxruntime")


def test_an_altered_picture_is_refused_before_it_is_read(write_bundle: Writer) -> None:
    folder = write_bundle(expected())
    Image.new("RGB", (20, 20), (1, 2, 3)).save(folder / "golden" / "red.png")
    with pytest.raises(BundleError, match=r"golden/red\.png .* altered"):
        replay(folder)


def test_a_bundle_without_golden_files_says_so(write_bundle: Writer) -> None:
    folder = write_bundle(expected())
    (folder / "golden" / "expected.json").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["golden/expected.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"expected golden/expected\.json in bundle colour, found none"):
        replay(folder)


def availability(reasons: Mapping[str, str]) -> tuple[Availability, ...]:
    return tuple(
        Availability(name=name, version=None, devices=(), reason=reasons.get(name, ""), pip=f"pip install {name}")
        for name in ("onnxruntime", "openvino", "tensorrt", "pytorch")
    )


def test_all_backends_replay_and_the_others_say_why_not(write_bundle: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available", lambda: availability({"openvino": "not installed", "tensorrt": "no GPU"}))
    reports, skipped = replay_all(write_bundle(expected()))
    assert [report.backend for report in reports] == ["onnxruntime:CPUExecutionProvider"]
    assert skipped == {
        "openvino": "not installed (pip install openvino)",
        "tensorrt": "no GPU (pip install tensorrt)",
        "pytorch": "the bundle holds no weights.safetensors",
    }


def add_bf16(folder: Path, golden: object) -> None:
    """Adds a graph to be run in bf16 to a bundle, and what was answered in it."""
    with Bundle.open(folder) as bundle:
        graphs = dict(bundle.manifest.graphs)
    graphs["encoder_bf16"] = dataclasses.replace(graphs["encoder"], precision="bf16")
    if golden is not None:
        (folder / "golden" / "expected_bf16.json").write_text(json.dumps(golden))
    write_manifest(folder, model=MODEL, graphs=graphs)


def test_each_precision_replays_its_own_answers_where_it_can_be_computed(write_bundle: Writer) -> None:
    pytest.importorskip("openvino")
    folder = write_bundle(expected())
    wide = expected() | {"tolerance": dict.fromkeys(TOLERANCE, 2.0)}
    add_bf16(folder, wide)
    reports, _ = replay_all(folder)
    assert all(report.passed for report in reports)
    ran = [(report.backend.partition(":")[0], report.precision) for report in reports]
    assert ran == [("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
    assert reports[-1].to_json()["precision"] == "bf16"


def test_a_difference_is_named_with_its_precision(write_bundle: Writer) -> None:
    pytest.importorskip("openvino")
    folder = write_bundle(expected())
    add_bf16(folder, changed("green.png", "severity", 0.5))
    assert replay(folder, backend="openvino").passed
    report = replay(folder, backend="openvino", precision="bf16")
    with pytest.raises(ParityError, match=r"replay otherwise on openvino:CPU in bf16: .* of green.png differs by 0.5"):
        report.require_agreement()


def test_a_precision_without_golden_answers_says_so(write_bundle: Writer) -> None:
    folder = write_bundle(expected())
    add_bf16(folder, None)
    with pytest.raises(BundleError, match=r"expected golden/expected_bf16\.json in bundle colour, found none"):
        replay(folder, backend="openvino", precision="bf16")


def test_a_precision_that_the_bundle_lacks_is_refused(write_bundle: Writer) -> None:
    with pytest.raises(BundleError, match=r"int8"):
        replay(write_bundle(expected()), backend="onnxruntime", precision="int8")


def test_differences_between_two_runs_are_the_largest_and_infinite_where_one_lacks_them() -> None:
    one = [Answer(file="a", severity=0.5, probabilities=(0.5, 0.5)), Answer(file="b", severity=1.0)]
    other = [Answer(file="a", severity=0.4, probabilities=(0.25, 0.75)), Answer(file="b", severity=1.0)]
    assert largest_errors(one, other) == pytest.approx(
        {"severity": 0.1, "probabilities": 0.25, "area_fraction": 0, "embedding": 0}
    )
    assert largest_errors(one, one) == dict.fromkeys(QUANTITIES, 0.0)
    lacking = [dataclasses.replace(other[0], probabilities=()), other[1]]
    assert largest_errors(one, lacking)["probabilities"] == float("inf")


def test_no_backend_at_all_is_an_error(write_bundle: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = dict.fromkeys(("onnxruntime", "openvino", "tensorrt", "pytorch"), "not installed")
    monkeypatch.setattr(module, "available", lambda: availability(gone))
    with pytest.raises(BackendError, match="expected a backend to replay on, found none"):
        replay_all(write_bundle(expected()))
