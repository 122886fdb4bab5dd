"""``semise export`` and ``semise verify``: what is printed where, and which error says what."""

import dataclasses
import json
from importlib import util
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from semise_export import assemble
from semise_export.graphs import tensorrt
from semise_export.graphs.onnx import graph_entry
from semise_export.graphs.tensorrt import UNPROVEN, EngineRow
from semise_export.limits import LIMITS
from semise_sdk.backends.tensorrt.library import MODULES
from semise_sdk.bundle import write_manifest
from semise_sdk.bundle.manifest import GraphEntry
from semise_sdk.cli.app import run
from semise_sdk.cli.commands import export
from semise_sdk.errors import BackendError, ConfigError, ParityError
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig
from semise_sdk.workflows.verify import Difference, ReplayReport

PARITY = {
    "backend": "onnxruntime:CPUExecutionProvider",
    "precision": "fp32",
    "passed": True,
    "reasons": [],
    "images": 234,
    "kendall_tau": 0.99951,
    "c_index": 1.0,
    "rank_displacement": 2,
    "class_flips": 0,
    "probability_error": 1.5e-6,
    "dice": None,
    "pooled_dice": None,
    "task_c_index": 0.9125,
    "task_c_index_torch": 0.913,
    "severity_error": 2e-6,
    "severity_error_mean": 1e-7,
    "map_error": 1e-6,
    "embedding_error": 1e-9,
    "reference_error": 1e-9,
    "batch_independence": {
        "images": 48,
        "batches": [1, 2, 3, 16],
        "severity_error": 3e-6,
        "class_flips": 0,
        "equal_rows_error": 0.0,
        "graph_error": None,
    },
}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What ``export_run`` was asked for, in place of an export."""
    options: dict[str, object] = {}

    def export_run(run: Path, *, out: Path | None, reporter: object, **given: object) -> Path:
        options.update(run=run, out=out, **given)
        folder = out or run / "bundle"
        folder.mkdir(parents=True)
        (folder / "encoder.onnx").write_bytes(b"a graph that nobody opens")
        entry = GraphEntry(file="encoder.onnx", inputs={}, outputs={})
        write_manifest(folder, model=MODEL, graphs={"encoder": entry}, parity=(PARITY,))
        return folder

    monkeypatch.setattr(assemble, "export_run", export_run)
    return options


MODEL = ModelInfo(
    name="m",
    spec=InputSpec(height=16, width=16),
    labels=("a", "b"),
    network=NetworkConfig(encoder="none", feature_dim=8, vector_dim=8, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0),
)


def semise(*arguments: str) -> Result:
    app = typer.Typer()
    export.register(app)
    return CliRunner().invoke(app, arguments)


def test_export_prints_the_parity_table_on_standard_output(asked: dict[str, object], tmp_path: Path) -> None:
    result = semise("export", str(tmp_path))
    assert result.exit_code == 0
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    figures = dict(cells)
    assert figures["Kendall tau"] == "0.999510"
    assert figures["worst rank displacement"] == "2"
    assert figures["mean Dice"] == "-"
    assert figures["C-index against the grades"] == "0.912500"
    assert figures["the same of torch"] == "0.913000"
    assert figures["between batches: severity"] == "3.0e-06"
    assert figures["result"] == "passed"
    assert "next: semise rank" in result.stderr
    assert asked == {
        "run": tmp_path,
        "out": None,
        "precisions": [],
        "limits": LIMITS,
        "backends": None,
        "max_images": 256,
        "packed": False,
        "reference_thumbnails": False,
    }


def test_export_prints_json_and_nothing_else(asked: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("class_flips: 0.02\n")
    options = ["--pack", "--backend", "openvino", "--backend", "onnxruntime", "--max-images", "9", "--quiet", "--json"]
    out = tmp_path / "b"
    result = semise("export", "run", "--out", str(out), "--thresholds", str(tmp_path / "limits.yaml"), *options)
    packed = f"{out}.semise"
    assert json.loads(result.stdout) == {"bundle": str(out), "packed": packed, "parity": [PARITY], "engines": []}
    assert result.stderr == ""
    assert asked["backends"] == ["openvino", "onnxruntime"]
    assert (asked["max_images"], asked["packed"]) == (9, True)
    assert asked["limits"] == {
        precision: dataclasses.replace(limits, class_flips=0.02) for precision, limits in LIMITS.items()
    }


def test_export_takes_the_newest_run(asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "one" / "checkpoint").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "checkpoint" / "model.json").touch()
    monkeypatch.chdir(tmp_path)
    assert semise("export").exit_code == 0
    assert asked["run"] == tmp_path / "runs" / "one"


def test_export_without_any_run_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = semise("export").exception
    assert isinstance(error, ConfigError)
    assert "semise train DATA.csv" in str(error)


def test_export_takes_several_precisions(asked: dict[str, object], tmp_path: Path) -> None:
    assert semise("export", str(tmp_path), "--precision", "int8", "--precision", "fp16").exit_code == 0
    assert asked["precisions"] == ["int8", "fp16"]


def test_an_unknown_precision_is_one_sentence_before_anything_is_exported(
    asked: dict[str, object], tmp_path: Path
) -> None:
    error = semise("export", str(tmp_path), "--precision", "fp16", "--precision", "int4").exception
    assert isinstance(error, ConfigError)
    assert str(error) == "expected --precision fp32, fp16, bf16, int8, found 'int4'"
    assert asked == {}


def encoder_graph() -> onnx.ModelProto:
    """Returns an encoder of one product: the mean colour times a matrix, under its four names."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "places"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["embedding"]),
        helper.make_node("Identity", ["embedding"], ["severity_vector"]),
        helper.make_node("Identity", ["embedding"], ["reference_vector"]),
        helper.make_node("Reshape", ["embedding", "one_place"], ["severity_map_vectors"]),
    ]
    constants = {
        "places": np.array([1, 2], np.int64),
        "matrix": np.eye(3, 8, dtype=np.float32) + 0.5,
        "one_place": np.array([-1, 1, 1, 8], np.int64),
    }
    vectors = ("embedding", "severity_vector", "reference_vector")
    shapes = {**{name: ["batch", 8] for name in vectors}, "severity_map_vectors": ["batch", 1, 1, 8]}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 16, 16, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def buildable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run whose export writes a graph that TensorRT can build, also in bf16; no GPU and a cache of its own."""
    if not any(util.find_spec(name) for name in MODULES):
        pytest.skip("needs TensorRT for RTX: pip install 'semise-sdk[rtx]'")

    def find_gpu(index: int = 0) -> None:
        raise BackendError("expected a GPU that CUDA can use, found none")

    def export_run(run: Path, **_options: object) -> Path:
        folder = run / "bundle"
        folder.mkdir()
        onnx.save(encoder_graph(), folder / "encoder.onnx")
        graphs = {
            "encoder": graph_entry(folder / "encoder.onnx"),
            "encoder_bf16": graph_entry(folder / "encoder.onnx", precision="bf16"),
        }
        write_manifest(folder, model=MODEL, graphs=graphs, parity=(PARITY,))
        return folder

    monkeypatch.setattr(tensorrt, "find_gpu", find_gpu)
    monkeypatch.setattr(assemble, "export_run", export_run)
    monkeypatch.setenv("SEMISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_trt_really_builds_engines_and_says_that_they_are_unproven(buildable: Path, tmp_path: Path) -> None:
    result = semise("export", str(buildable), "--trt", "--json", "--quiet")
    assert result.exit_code == 0, result.exception
    assert result.stderr == ""
    built, skipped = json.loads(result.stdout)["engines"]
    assert (built["graph"], built["precision"], built["types"]) == ("encoder", "fp32", "products: 1 fp32")
    assert built["library"].startswith("TensorRT-RTX 1.")
    assert (built["is_cached"], built["is_proven"], built["is_skipped"]) == (False, False, False)
    assert built["reason"] == UNPROVEN
    assert (skipped["precision"], skipped["is_skipped"]) == ("bf16", True)
    (engine,) = (tmp_path / "cache" / "engines").glob("*.engine")
    assert engine.stat().st_size == round(built["megabytes"] * 1e6)
    assert not list(buildable.rglob("*.engine"))


def test_trt_adds_a_table_that_says_unproven_and_skipped(
    asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = EngineRow(
        graph="encoder",
        precision="int8",
        library="TensorRT-RTX 1.7",
        target="8.0+8.9",
        megabytes=2.46,
        seconds=7.04,
        types="products: 9 int8",
        reason=UNPROVEN,
    )
    skipped = EngineRow(graph="encoder", precision="bf16", reason="a precision of the CPU runtimes")
    rows = (row, dataclasses.replace(row, is_cached=True), dataclasses.replace(row, is_proven=True), skipped)
    monkeypatch.setattr(tensorrt, "build_engines", lambda _bundle, *, reporter: rows)
    monkeypatch.setenv("COLUMNS", "200")
    result = semise("export", str(tmp_path), "--trt")
    assert result.exit_code == 0, result.exception
    lines = result.stdout[result.stdout.index("TensorRT engines") :].splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│ encoder" in line]
    assert "unproven" in UNPROVEN
    built = ["encoder", "int8", "2.5", "7.0", "products: 9 int8", "TensorRT-RTX 1.7 for 8.0+8.9"]
    assert cells == [
        [*built, UNPROVEN],
        [*built[:3], "cached", *built[4:], UNPROVEN],
        [*built, "ran here"],
        ["encoder", "bf16", "-", "-", "-", "-", "skipped: a precision of the CPU runtimes"],
    ]


def test_without_trt_no_engine_is_built(
    asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "build_engines", lambda *_, **__: pytest.fail("built"))
    result = semise("export", str(tmp_path))
    assert result.exit_code == 0
    assert "TensorRT" not in result.stdout


def report(*, error: float) -> ReplayReport:
    differences = (Difference(file="a.png", quantity="severity", error=error, tolerance=1e-3),) if error > 1e-3 else ()
    return ReplayReport(
        backend="fake:CPU", precision="int8", pictures=5, errors={"severity": error}, differences=differences
    )


def test_verify_prints_a_column_per_backend_and_why_others_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        export, "replay_all", lambda _bundle, **_: ((report(error=1e-5),), {"openvino": "not installed"})
    )
    result = semise("verify", "bundle")
    assert result.exit_code == 0
    assert "1.0e-05" in result.stdout
    assert "fake:CPU int8" in result.stdout
    assert "passed" in result.stdout
    assert "skipped openvino: not installed" in result.stderr


def test_verify_prints_what_differs_and_then_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "replay_all", lambda _bundle, **_: ((report(error=1e-5), report(error=0.5)), {}))
    result = semise("verify", "bundle", "--json")
    printed = json.loads(result.stdout)
    assert {one["precision"] for one in printed["replays"]} == {"int8"}
    assert (printed["passed"], [one["passed"] for one in printed["replays"]]) == (False, [True, False])
    assert printed["replays"][1]["differences"] == ["severity of a.png differs by 0.5, more than 0.001"]
    assert isinstance(result.exception, ParityError)
    assert result.exception.exit_code == 5


@pytest.mark.parametrize(("option", "value"), [("--device", "cuda"), ("--precision", "int8")])
def test_verify_on_all_backends_takes_no_device_and_no_precision(option, value, capsys) -> None:
    assert run(["verify", "bundle", option, value]) == 2
    assert capsys.readouterr().err == (
        f"semise: expected no {option} with --backend all, found {option} {value}: name one backend that semise doctor "
        "lists\n"
    )


def test_verify_on_one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def replay(bundle: Path, **options: str) -> ReplayReport:
        asked.update(options, bundle=bundle)
        return report(error=0.0)

    monkeypatch.setattr(export, "replay", replay)
    assert semise("verify", "b.semise", "--backend", "pytorch", "--device", "cpu").exit_code == 0
    assert asked == {
        "bundle": Path("b.semise"),
        "backend": "pytorch",
        "device": "cpu",
        "precision": "fp32",
        "public_key": None,
    }


def test_verify_in_one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def replay(bundle: Path, **options: str) -> ReplayReport:
        asked.update(options)
        return report(error=0.0)

    monkeypatch.setattr(export, "replay", replay)
    assert semise("verify", "b", "--backend", "openvino", "--precision", "bf16").exit_code == 0
    assert asked == {"backend": "openvino", "device": "auto", "precision": "bf16", "public_key": None}
    assert isinstance(semise("verify", "b", "--backend", "openvino", "--precision", "fp8").exception, ConfigError)
