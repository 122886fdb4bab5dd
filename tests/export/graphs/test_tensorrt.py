"""``semise export --trt`` without a GPU: a bundle's engines built for real, into the cache and nowhere else."""

import json
import shutil
import zipfile
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from semise_export.graphs import tensorrt
from semise_export.graphs.half import half_graph
from semise_export.graphs.onnx import export_graphs, graph_entry
from semise_export.graphs.tensorrt import UNPROVEN, build_engines
from semise_sdk.backends.tensorrt.build import BatchProfile
from semise_sdk.backends.tensorrt.cache import EngineCache
from semise_sdk.backends.tensorrt.cuda import Gpu
from semise_sdk.backends.tensorrt.library import MODULES
from semise_sdk.bundle import Bundle, write_manifest
from semise_sdk.errors import BackendError, BundleError
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo

SPEC = InputSpec(height=64, width=64)
NAMES = ("encoder", "classifier", "unet")


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch):
    """The same rows on every machine that has TensorRT for RTX: no GPU is found."""
    if not any(util.find_spec(name) for name in MODULES):
        pytest.skip("needs TensorRT for RTX: pip install 'semise-sdk[rtx]'")

    def refuse(index: int = 0) -> Gpu:
        raise BackendError("expected a GPU that CUDA can use, found none")

    monkeypatch.setattr(tensorrt, "find_gpu", refuse)


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory, random_network) -> Path:
    """A bundle of one tiny network in fp32 and fp16, its encoder also to be run in bf16."""
    folder = tmp_path_factory.mktemp("bundle")
    network = random_network()
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, folder / "weights.safetensors")
    ReferenceBank(np.random.default_rng(1).normal(size=(4, 32)).astype(np.float32)).save(
        folder / "references.safetensors"
    )
    export_graphs(network, SPEC, folder)
    entries = {name: graph_entry(folder / f"{name}.onnx") for name in NAMES}
    for name in NAMES:
        half = half_graph((folder / f"{name}.onnx").read_bytes(), f"{name}_fp16")
        (folder / f"{name}_fp16.onnx").write_bytes(half)
        entries[f"{name}_fp16"] = graph_entry(folder / f"{name}_fp16.onnx", precision="fp16")
    bf16 = graph_entry(folder / "encoder.onnx", precision="bf16")
    model = ModelInfo(name="tiny", spec=SPEC, labels=("none", "some", "much"), network=network.config)
    write_manifest(folder, model=model, graphs=entries | {"encoder_bf16": bf16})
    return folder


@pytest.fixture
def bundle(bundle_folder):
    with Bundle.open(bundle_folder) as opened:
        yield opened


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache.open(tmp_path / "cache")


class Told:
    def __init__(self) -> None:
        self.started: list[str] = []
        self.said: list[str] = []

    def start(self, label: str, total: int) -> None:
        self.started.append(label)

    def step(self, note: str) -> None:
        pass

    def say(self, message: str) -> None:
        self.said.append(message)


def test_three_engines_are_built_from_each_precision_and_their_running_is_unproven(bundle, bundle_folder, cache):
    before = sorted(bundle_folder.iterdir())
    reporter = Told()
    rows = build_engines(bundle, cache=cache, reporter=reporter)
    built = [row for row in rows if not row.is_skipped]
    assert [(row.graph, row.precision) for row in built] == [(n, p) for p in ("fp32", "fp16") for n in NAMES]
    for row in built:
        assert row.library.startswith("TensorRT-RTX 1.")
        assert row.target == "8.0+8.6+8.9+12.0"
        assert (row.is_cached, row.is_proven, row.reason) == (False, False, UNPROVEN)
        assert row.types.startswith("products: ")
        assert row.types.endswith(f" {row.precision}")
        assert row.seconds > 0
    kept = sorted(path.stat().st_size for path in cache.folder.glob("*.engine"))
    assert sorted(round(row.megabytes * 1e6) for row in built) == kept
    assert sorted(bundle_folder.iterdir()) == before  # no engine in the bundle
    assert len(kept) == 6
    assert reporter.started == [f"building {name}" for _ in range(2) for name in NAMES]
    assert len(reporter.said) == 6


def test_bf16_is_skipped_with_the_reason(bundle, cache):
    (row,) = build_engines(bundle, precisions=["bf16"], cache=cache)
    assert row.is_skipped
    assert (row.graph, row.reason) == ("encoder", "bf16 is a precision of the CPU runtimes")
    assert list(cache.folder.iterdir()) == []


def test_a_second_export_takes_the_engines_from_the_cache(bundle, cache):
    first = build_engines(bundle, precisions=["fp16"], cache=cache)
    again = build_engines(bundle, precisions=["fp16"], cache=cache)
    assert [row.is_cached for row in first + again] == [False] * 3 + [True] * 3
    assert [row.types for row in again] == [row.types for row in first]
    assert [row.megabytes for row in again] == [row.megabytes for row in first]


def test_other_batch_sizes_are_another_engine(bundle, cache):
    build_engines(bundle, precisions=["fp16"], cache=cache)
    rows = build_engines(bundle, precisions=["fp16"], cache=cache, profile=BatchProfile(maximum=32))
    assert not any(row.is_cached for row in rows)


def test_a_precision_that_the_bundle_lacks_is_refused(bundle, cache):
    with pytest.raises(BundleError, match="expected graph encoder in int8 in bundle tiny"):
        build_engines(bundle, precisions=["int8"], cache=cache)


def test_an_fp32_graph_passed_off_as_fp16_is_refused(bundle, bundle_folder, cache, tmp_path):
    folder = tmp_path / "false"
    shutil.copytree(bundle_folder, folder)
    shutil.copyfile(folder / "encoder.onnx", folder / "encoder_fp16.onnx")
    write_manifest(folder, model=bundle.model, graphs=bundle.manifest.graphs)
    with (
        Bundle.open(folder) as false,
        pytest.raises(BackendError, match=r"expected graph encoder in fp16, found products: \d+ fp32"),
    ):
        build_engines(false, precisions=["fp16"], cache=cache)


@pytest.mark.parametrize("name", ["encoder.engine", "encoder.plan", "golden/encoder.trt"])
@pytest.mark.parametrize("is_listed", [True, False])
def test_an_engine_in_a_bundle_is_refused(bundle, bundle_folder, tmp_path, name, is_listed):
    folder = tmp_path / "planted"
    shutil.copytree(bundle_folder, folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"vtrt")
    if is_listed:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        manifest["files"][name] = "0" * 64
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"expected no engine file in a bundle, .* built on this machine only"):
        Bundle.open(folder)


def test_a_packed_bundle_with_an_engine_is_refused(bundle_folder, tmp_path):
    packed = tmp_path / "tiny.semise"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in bundle_folder.iterdir():
            archive.write(path, path.name)
        archive.writestr("encoder.engine", b"vtrt")
    with pytest.raises(BundleError, match="expected no engine file in a bundle"):
        Bundle.open(packed)


def test_rows_are_plain_json(bundle, cache):
    rows = build_engines(bundle, precisions=["fp16", "bf16"], cache=cache)
    data = json.loads(json.dumps([row.to_json() for row in rows]))
    assert [row["is_skipped"] for row in data] == [False] * 3 + [True]
    assert data[0]["graph"] == "encoder"
    assert data[0]["is_proven"] is False


def test_with_a_gpu_every_engine_is_run_on_one_batch_below_and_one_above_its_largest(bundle, cache, monkeypatch):
    ran: list[tuple[str, str, int, list[tuple[str, tuple[int, ...], str]]]] = []

    class Ran:
        def __init__(self, graph) -> None:
            self.graph = graph
            self.is_closed = False

        def run(self, inputs):
            assert not self.is_closed
            shapes = [(name, array.shape, str(array.dtype)) for name, array in inputs.items()]
            ran.append((self.graph.name, self.graph.precision, len(shapes), shapes))

        def close(self) -> None:
            self.is_closed = True

    gpu = Gpu(index=0, name="NVIDIA L4", capability="8.9", driver="580.1")
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: gpu)
    monkeypatch.setattr("semise_sdk.backends.tensorrt.engines.use_gpu", lambda _gpu: None)
    monkeypatch.setattr(tensorrt, "open_graph", lambda graph, **_: Ran(graph))
    rows = build_engines(bundle, precisions=["fp16"], cache=cache, profile=BatchProfile(maximum=32))
    assert all(row.is_proven for row in rows)
    assert [row.reason for row in rows] == ["none was built before"] * 3
    assert [entry[3][0][1][0] for entry in ran] == [1, 33] * 3
    assert ran[0][3] == [("pixels", (1, 64, 64, 3), "uint8")]
    assert ran[2][3][0][0] == "embedding"
