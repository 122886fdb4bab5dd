"""``semise export`` and ``semise verify``: what is printed where, and which error says what."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from semise_export import assemble
from semise_export.config import ParityThresholds
from semise_sdk.bundle import write_manifest
from semise_sdk.cli import export
from semise_sdk.errors import ConfigError, ParityError
from semise_sdk.manifest import GraphEntry
from semise_sdk.replay import Difference, ReplayReport
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

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
    network=NetworkConfig(encoder="none", feature_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0),
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
    assert figures["between batches: severity"] == "3.0e-06"
    assert figures["result"] == "passed"
    assert "next: semise rank" in result.stderr
    assert asked == {
        "run": tmp_path,
        "out": None,
        "thresholds": ParityThresholds(),
        "backends": None,
        "max_images": 256,
        "packed": False,
    }


def test_export_prints_json_and_nothing_else(asked: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("class_flips: 0.02\n")
    options = ["--pack", "--backend", "openvino", "--backend", "onnxruntime", "--max-images", "9", "--quiet", "--json"]
    out = tmp_path / "b"
    result = semise("export", "run", "--out", str(out), "--thresholds", str(tmp_path / "limits.yaml"), *options)
    assert json.loads(result.stdout) == {"bundle": str(out), "packed": f"{out}.semise", "parity": [PARITY]}
    assert result.stderr == ""
    assert asked["backends"] == ["openvino", "onnxruntime"]
    assert (asked["max_images"], asked["packed"]) == (9, True)
    assert asked["thresholds"] == ParityThresholds(class_flips=0.02)


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


def test_export_refuses_precisions_of_later_versions(asked: dict[str, object], tmp_path: Path) -> None:
    error = semise("export", str(tmp_path), "--precision", "int8").exception
    assert isinstance(error, ConfigError)
    assert "found 'int8': other precisions come with a later version" in str(error)
    assert asked == {}


def report(*, error: float) -> ReplayReport:
    differences = (Difference(file="a.png", quantity="severity", error=error, tolerance=1e-3),) if error > 1e-3 else ()
    return ReplayReport(backend="fake:CPU", pictures=5, errors={"severity": error}, differences=differences)


def test_verify_prints_a_column_per_backend_and_why_others_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "replay_all", lambda _bundle: ((report(error=1e-5),), {"openvino": "not installed"}))
    result = semise("verify", "bundle")
    assert result.exit_code == 0
    assert "1.0e-05" in result.stdout
    assert "passed" in result.stdout
    assert "skipped openvino: not installed" in result.stderr


def test_verify_prints_what_differs_and_then_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "replay_all", lambda _bundle: ((report(error=1e-5), report(error=0.5)), {}))
    result = semise("verify", "bundle", "--json")
    printed = json.loads(result.stdout)
    assert (printed["passed"], [one["passed"] for one in printed["replays"]]) == (False, [True, False])
    assert printed["replays"][1]["differences"] == ["severity of a.png differs by 0.5, more than 0.001"]
    assert isinstance(result.exception, ParityError)
    assert result.exception.exit_code == 5


def test_verify_on_one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def replay(bundle: Path, **options: str) -> ReplayReport:
        asked.update(options, bundle=bundle)
        return report(error=0.0)

    monkeypatch.setattr(export, "replay", replay)
    assert semise("verify", "b.semise", "--backend", "pytorch", "--device", "cpu").exit_code == 0
    assert asked == {"bundle": Path("b.semise"), "backend": "pytorch", "device": "cpu"}
