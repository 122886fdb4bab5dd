"""The benchmark's arithmetic, its child processes, and the rows that cannot run."""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from semise_export.graphs.onnx import graph_entry
from semise_sdk.bench import BenchRow, Case, Latency, Request, Speed, memory, process, run_bench
from semise_sdk.bench import child as children
from semise_sdk.bench import run as runs
from semise_sdk.bench.agreement import agreement
from semise_sdk.bench.answers import load_answers, save_answers
from semise_sdk.bench.child import Job, Outcome
from semise_sdk.bench.measurement import latency, runs_per_second
from semise_sdk.bench.plot import draw, require_matplotlib
from semise_sdk.bench.run import BenchReport
from semise_sdk.bundle import write_manifest
from semise_sdk.errors import BundleError, ConfigError
from semise_sdk.results import Analysis
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig
from semise_sdk.system.progress import SilentReporter

# Its only vector is the mean colour.
ENCODER = """<ir_version: 8, opset_import: ["" : 18]>
encoder (uint8[N,16,16,3] pixels) => (float[N,3] embedding, float[N,3] severity_vector, float[N,3] reference_vector,
    float[N,1,1,3] severity_map_vectors) <int64[2] sides = {1, 2}> {
    floats = Cast<to = 1>(pixels)
    embedding = ReduceMean<keepdims = 0>(floats, sides)
    severity_vector = Identity(embedding)
    reference_vector = Identity(embedding)
    severity_map_vectors = ReduceMean<keepdims = 1>(floats, sides) }"""

SPEED = Speed(
    provider="CPUExecutionProvider",
    batch=4,
    concurrency=2,
    first_result_seconds=0.5,
    latency=Latency(p50=1.0, p95=2.0, p99=3.0, runs=10),
    images_per_second=100.0,
    rank_images_per_second=90.0,
    peak_memory_bytes=1 << 28,
    gpu_memory_bytes=None,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "bundle"
    folder.mkdir()
    (folder / "encoder.onnx").write_bytes(onnx.parser.parse_model(ENCODER).SerializeToString())
    ReferenceBank(np.array([[1, 1, 1]], np.float32)).save(folder / "references.safetensors")
    network = NetworkConfig(encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0)
    model = ModelInfo(
        name="colour", spec=InputSpec(height=16, width=16, fit="stretch"), labels=("blue", "red"), network=network
    )
    write_manifest(folder, model=model, graphs={"encoder": graph_entry(folder / "encoder.onnx")})
    return folder


class Listening(SilentReporter):
    def __init__(self):
        self.total, self.steps = 0, []

    def start(self, label, total):
        self.total = total

    def step(self, note):
        self.steps.append(note)


def request(bundle: Path, **changes) -> Request:
    return Request(**{"bundle": bundle, "targets": (("onnxruntime", "cpu"),), "seconds": 0.01, **changes})


def test_percentiles_are_those_worked_by_hand():
    of_hundred = Latency.of([value / 1000 for value in range(1, 101)])
    # between neighbours: 0.5 * 99 = 49.5, 0.95 * 99 = 94.05 and 0.99 * 99 = 98.01 places after the first
    assert (of_hundred.p50, of_hundred.p95, of_hundred.p99, of_hundred.runs) == (50.5, 95.05, 99.01, 100)
    assert Latency.of([0.004]) == Latency(p50=4.0, p95=4.0, p99=4.0, runs=1)


def test_latency_counts_each_run_and_leaves_the_warm_up_out():
    times = [9.0, 9.0, 0.010, 0.020, 0.030]
    now = [0.0]
    left = iter(times)

    def run():
        now[0] += next(left)

    measured = latency(run, seconds=0.055, clock=lambda: now[0])
    assert measured == Latency(p50=20.0, p95=29.0, p99=29.8, runs=3)


def test_throughput_has_as_many_runs_side_by_side_as_the_backend_wants():
    beside = threading.Barrier(3, timeout=10)  # breaks unless three runs are in progress at once
    lock, done = threading.Lock(), [0]

    def run():
        beside.wait()
        time.sleep(0.01)
        with lock:
            done[0] += 1

    try:
        rate = runs_per_second(run, 3, seconds=0.0)
    except threading.BrokenBarrierError:
        pytest.fail("fewer than three runs side by side")
    assert done[0] == 2 * 3 + 3
    assert 0 < rate < 3 / 0.01


def test_agreement_is_that_worked_by_hand():
    def answer(severity, grade, columns):
        mask = np.zeros((4, 8), np.uint8)
        mask[:, :columns] = 255
        return Analysis(file="x", severity=severity, grade=grade, mask=mask)

    truth = [answer(0.1, "a", 2), answer(0.2, "a", 4), answer(0.3, "b", 0), Analysis(file="x", status="error")]
    found = [answer(0.1, "a", 2), answer(0.35, "b", 2), answer(0.3, "b", 0), answer(0.9, "b", 8)]
    figures = agreement(truth, found)
    assert figures["images"] == 3
    assert figures["failed"] == 1
    assert figures["class_flips"] == 1
    assert figures["kendall_tau"] == pytest.approx(1 / 3)  # two of three pairs keep their order
    assert figures["c_index"] == pytest.approx(2 / 3)
    assert figures["severity_error"] == pytest.approx(0.15)
    assert figures["pooled_dice"] == pytest.approx(2 * (8 + 8) / (8 + 16 + 8 + 8))
    assert agreement([], [])["kendall_tau"] is None


def test_answers_come_back_as_they_were(tmp_path):
    mask = (np.random.default_rng(0).random((7, 5)) > 0.5).astype(np.uint8) * 255
    saved = [
        Analysis(file="a", severity=0.25, grade="b", probabilities=(0.25, 0.75), mask=mask),
        Analysis(file="b", status="error", reason="truncated: cut"),
    ]
    save_answers(saved, tmp_path / "answers")
    first, second = load_answers(tmp_path / "answers")
    np.testing.assert_array_equal(first.mask, mask)
    assert (first.severity, first.grade, first.probabilities) == (0.25, "b", (0.25, 0.75))
    assert second == saved[1] or (second.status, second.reason, second.mask) == ("error", "truncated: cut", None)


def test_a_row_is_measured_in_a_process_of_its_own(bundle):
    reporter = Listening()
    report = run_bench(request(bundle, batches=(None, 4, 1)), reporter=reporter)
    assert [row.batch for row in report.rows] == [1, 4]  # its best is 4, which is not measured twice
    for row in report.rows:
        speed = row.speed
        assert speed is not None, row.reason
        assert speed.provider == "CPUExecutionProvider"
        assert speed.images_per_second > 0
        assert speed.latency.runs >= 3
        assert speed.rank_images_per_second is None  # phantoms show speed only
        assert 0 < speed.latency.p50 <= speed.latency.p95 <= speed.latency.p99
        assert speed.first_result_seconds > 0
        assert row.model_bytes == {"encoder": (bundle / "encoder.onnx").stat().st_size}
        if sys.platform == "linux":
            assert speed.peak_memory_bytes is not None
            assert 20 << 20 < speed.peak_memory_bytes < 2 << 30
    assert len(reporter.steps) == reporter.total == 4


def test_rows_that_cannot_run_say_why(bundle):
    targets = (("openvino", "cuda"), ("onnxruntime", "cpu"), ("pytorch", "cpu"))
    reporter = Listening()
    report = run_bench(request(bundle, targets=targets, precisions=("fp32", "int8"), batches=(1,)), reporter=reporter)
    found = [(row.case.backend, row.case.precision, row.speed is not None) for row in report.rows]
    assert found == [
        ("openvino", None, False),
        ("onnxruntime", "fp32", True),
        ("onnxruntime", "int8", False),
        ("pytorch", "fp32", False),
        ("pytorch", "int8", False),
    ]
    reasons = [row.reason for row in report.rows if row.speed is None]
    assert "expected device cpu for OpenVINO, found cuda" in reasons[0]
    assert "expected graph encoder in int8" in reasons[1]
    assert "expected weights for backend pytorch, found none" in reasons[2]
    assert len(reporter.steps) == reporter.total


def test_a_process_that_dies_costs_its_row_and_nothing_else(bundle, monkeypatch):
    code = process._CODE
    dying = (
        "import sys, json, os; job = json.loads(input()); os.kill(os.getpid(), 9) if job['case']['batch'] == 1 else 0"
    )
    dying += "\nimport io; sys.stdin = io.StringIO(json.dumps(job))\n"
    monkeypatch.setattr(process, "_CODE", dying + code.replace("; ", "\n"))
    report = run_bench(request(bundle, batches=(1, 2)), reporter=SilentReporter())
    assert [(row.batch, row.speed is not None) for row in report.rows] == [(1, False), (2, True)]
    assert report.rows[0].reason == "the process was ended by SIGKILL, perhaps for want of memory"


def test_what_a_dead_process_complained_of_is_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_CODE", "import sys; print('first\\nlast words', file=sys.stderr); sys.exit(3)")
    job = Job(kind="probe", bundle="b", case=Case(backend="onnxruntime", device="cpu"), result=str(tmp_path / "r"))
    assert process.run_job(job).reason == "the process ended with code 3: last words"


def test_a_child_never_imports_from_the_working_folder(tmp_path, monkeypatch, bundle):
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit('imported from the working folder')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.setattr(sys, "path", [str(Path(folder).resolve()) for folder in sys.path if folder])
    monkeypatch.chdir(tmp_path)
    job = Job(
        kind="probe", bundle=str(bundle), case=Case(backend="onnxruntime", device="cpu"), result=str(tmp_path / "r")
    )
    assert process.run_job(job) == Outcome()


def test_whatever_an_engine_raises_is_a_reason(monkeypatch):
    def fail(*_arguments, **_options):
        raise MemoryError("std::bad_alloc\nstack")

    monkeypatch.setattr(children, "measure_speed", fail)
    job = Job(kind="speed", bundle="b", case=Case(backend="onnxruntime", device="cpu"), result="r")
    assert children.work(job) == Outcome(reason="MemoryError: std::bad_alloc")


def test_a_job_comes_back_from_json_as_it_was():
    case = Case(backend="openvino", device="cpu", precision="int8", batch=3)
    job = Job(kind="speed", bundle="b", case=case, images=("a", "b"), seconds=0.5, ranks=True, result="r")
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
    assert Speed.from_json(json.loads(json.dumps(SPEED.to_json()))) == SPEED


def test_a_measured_and_a_skipped_row_have_the_same_keys():
    case = Case(backend="onnxruntime", device="cpu", precision="fp32", batch=4)
    measured, skipped = BenchRow(case=case, speed=SPEED).to_json(), BenchRow(case=case, reason="none").to_json()
    assert list(measured) == list(skipped)
    assert (measured["status"], skipped["status"]) == ("ok", "skipped")
    assert skipped["images_per_second"] is None


def test_a_damaged_bundle_is_refused_before_anything_is_measured(tmp_path):
    with pytest.raises(BundleError):
        run_bench(request(tmp_path / "none"), reporter=SilentReporter())


def test_interrupting_leaves_nothing_behind(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.tempfile, "tempdir", str(tmp_path))

    def interrupt(_job):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run_job", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_bench(request(bundle), reporter=SilentReporter())
    assert list(tmp_path.iterdir()) == []


def test_the_plot_is_a_png(tmp_path):
    case = Case(backend="onnxruntime", device="cpu", precision="fp32", batch=4)
    figures = {"kendall_tau": 0.9, "c_index": 0.95, "class_flips": 1}
    rows = (BenchRow(case=case, speed=SPEED, agreement=figures), BenchRow(case=case, reason="no GPU"))
    machine = {"processor": "some", "cores": 2}
    for images in (0, 20):
        report = BenchReport(bundle="b", machine=machine, images=images, is_labeled=False, seconds=1.0, rows=rows)
        draw(report, tmp_path / f"{images}.png")
        content = (tmp_path / f"{images}.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 5_000


def test_a_plot_without_matplotlib_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr("semise_sdk.bench.plot.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install 'semise-sdk\[train\]'"):
        require_matplotlib()


def test_gpu_memory_is_not_guessed(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(memory.util, "find_spec", lambda _name: None)
    assert memory.gpu_memory(0) is None
