"""``semise bench``: the real command on a tiny bundle, and what it prints where."""

import json
from pathlib import Path

import pytest

from semise_export.assemble import export_run
from semise_sdk.bench import BenchRow, Case, Request
from semise_sdk.bench.run import BenchReport
from semise_sdk.cli.app import run
from semise_sdk.cli.commands import bench
from semise_sdk.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from semise_sdk.system.progress import SilentReporter

ROW_KEYS = {
    "backend", "device", "precision", "status", "reason", "provider", "batch", "concurrency", "first_result_seconds",
    "latency", "images_per_second", "rank_images_per_second", "peak_memory_bytes", "gpu_memory_bytes", "model_bytes",
    "metrics", "agreement", "answers_reason",
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tiny_run, tmp_path_factory) -> Path:
    return export_run(
        tiny_run,
        out=tmp_path_factory.mktemp("bench") / "bundle",
        backends=["onnxruntime"],
        max_images=8,
        reporter=SilentReporter(),
    )


@pytest.fixture
def images(phantoms, tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted((phantoms.parent / "images").iterdir())[:6]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def report(*rows: BenchRow) -> BenchReport:
    return BenchReport(
        bundle="b", machine={"processor": "p", "cores": 1}, images=0, is_labeled=False, seconds=1, rows=rows
    )


def test_a_folder_of_images_gives_speed_and_agreement(bundle, images, tmp_path, capsys):
    plot, out = tmp_path / "bench.png", tmp_path / "bench.json"
    arguments = ["bench", str(bundle), str(images), "--seconds", "0.01", "--batch", "2", "--device", "cpu"]
    arguments += ["--backend", "onnxruntime", "--backend", "openvino", "--json", "--quiet"]
    assert run([*arguments, "--out", str(out), "--plot", str(plot)]) == EXIT_OK
    printed, err = capsys.readouterr()
    data = json.loads(printed)
    assert err == ""
    assert data == json.loads(out.read_text())
    assert data["schema"] == 1
    assert data["images"] == {"kind": "unlabeled", "count": 7}
    assert {"processor", "cores", "versions", "gpus"} <= set(data["machine"])
    assert [row["backend"] for row in data["rows"]] == ["onnxruntime", "openvino"]
    for row in data["rows"]:
        assert set(row) == ROW_KEYS
        assert row["status"] == "ok", row["reason"]
        assert row["batch"] == 2
        assert row["rank_images_per_second"] > 0
        assert row["metrics"] is None
        assert row["agreement"]["reference"] == "onnxruntime cpu fp32"
        assert (row["agreement"]["images"], row["agreement"]["failed"]) == (6, 1)
        assert row["agreement"]["class_flips"] == 0
        assert row["agreement"]["pooled_dice"] > 0.999
        assert set(row["model_bytes"]) == {"encoder", "classifier", "unet"}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_manifest_gives_the_task_metrics(bundle, phantoms, capsys):
    arguments = ["bench", str(bundle), str(phantoms), "--seconds", "0", "--batch", "4", "--device", "cpu"]
    assert run([*arguments, "--backend", "onnxruntime", "--json", "--quiet"]) == EXIT_OK
    data = json.loads(capsys.readouterr().out)
    (row,) = data["rows"]
    assert data["images"]["kind"] == "labeled"
    assert set(row["metrics"]) == {"c_index", "kendall_tau", "macro_f1", "dice", "pooled_dice"}
    assert run(["evaluate", str(bundle), str(phantoms), "--backend", "onnxruntime", "--json", "--quiet"]) == EXIT_OK
    evaluated = json.loads(capsys.readouterr().out)
    for name, figure in row["metrics"].items():
        assert figure["value"] == evaluated[name]["value"]
        assert figure["n"] == evaluated[name]["n"]
    assert row["agreement"]["kendall_tau"] == pytest.approx(1.0, abs=1e-3)


def test_the_table_keeps_skipped_rows_with_their_reason(monkeypatch, capsys):
    skipped = BenchRow(case=Case(backend="onnxruntime", device="cuda"), reason="no GPU here")
    monkeypatch.setattr(bench, "run_bench", lambda _request, reporter: report(skipped))
    assert run(["bench", "bundle", "--quiet"]) == EXIT_USAGE  # not one row ran
    assert "skipped: no GPU here" in capsys.readouterr().out


def test_an_interruption_is_a_clean_exit(monkeypatch):
    def interrupt(_request, reporter):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run_bench", interrupt)
    assert run(["bench", "bundle", "--quiet"]) == EXIT_INTERRUPTED


def test_what_is_asked_for_is_what_is_measured(monkeypatch):
    asked: list[Request] = []
    monkeypatch.setattr(bench, "run_bench", lambda request, reporter: asked.append(request) or report())
    run(["bench", "b", "--backend", "openvino", "--precision", "int8", "--batch", "3", "--batch", "1", "--quiet"])
    run(["bench", "b", "--device", "cuda:1", "--quiet"])
    assert asked[0].targets == (("openvino", "cpu"),)
    assert (asked[0].precisions, asked[0].batches) == (("int8",), (3, 1))
    assert {device for _, device in asked[1].targets} == {"cuda:1"}
    assert {backend for backend, _ in asked[1].targets} >= {"onnxruntime", "openvino", "pytorch"}
    assert asked[1].batches == (None, 1, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "tflite"], "expected --backend onnxruntime"),
        (["--precision", "int4"], "expected --precision fp32"),
        (["nothing/there"], "found nothing at 'nothing/there'"),
        (["images", "--columns", "image=file"], "expected no --columns without a manifest, found --columns image=file"),
        (["--columns", "image=file"], "expected no --columns without a manifest"),
        (["--max-images", "9"], "expected no --max-images without a folder of images, found --max-images 9"),
        (["labels.csv", "--max-images", "9"], "expected no --max-images without a folder of images"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(arguments, message, capsys):
    assert run(["bench", "bundle", *arguments]) == EXIT_USAGE
    assert message in capsys.readouterr().err
