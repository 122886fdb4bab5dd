import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from semise_sdk.bundle import MANIFEST, Bundle, is_run, open_run, pack, write_manifest
from semise_sdk.bundle import bundle as module
from semise_sdk.bundle.manifest import GraphEntry, TensorSpec
from semise_sdk.errors import BundleError
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
encoder (uint8[N,16,16,3] pixels) => (float[N,3] embedding, float[N,3] severity_vector, float[N,3] reference_vector,
    float[N,16,16,3] severity_map_vectors) <int64[2] sides = {1, 2}> {
    severity_map_vectors = Cast<to = 1>(pixels)
    embedding = ReduceMean<keepdims = 0>(severity_map_vectors, sides)
    severity_vector = Identity(embedding)
    reference_vector = Identity(embedding)
}
"""
MODEL = ModelInfo(
    name="toy",
    spec=InputSpec(height=16, width=16),
    labels=("healthy",),
    network=NetworkConfig(encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0),
    reference_mode="median",
)
ENTRY = GraphEntry(
    file="encoder.onnx",
    inputs={"pixels": TensorSpec("uint8", ("N", 16, 16, 3))},
    outputs={
        **{name: TensorSpec("float32", ("N", 3)) for name in ("embedding", "severity_vector", "reference_vector")},
        "severity_map_vectors": TensorSpec("float32", ("N", 16, 16, 3)),
    },
)
VECTORS = np.array([[1, 0, 0], [0, 1, 0]], np.float32)


def fill(folder: Path) -> Path:
    (folder / "golden").mkdir(parents=True)
    (folder / "encoder.onnx").write_bytes(onnx.parser.parse_model(GRAPH).SerializeToString())
    (folder / "golden" / "expected.json").write_text("{}")
    ReferenceBank(VECTORS).save(folder / "references.safetensors")
    write_manifest(folder, model=MODEL, graphs={"encoder": ENTRY}, provenance={"commit": "abc"})
    return folder


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "bundle")


@pytest.fixture
def archive(folder, tmp_path):
    pack(folder, tmp_path / "a.semise")
    return tmp_path / "a.semise"


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_bundle_opens_as_folder_and_as_file(kind, request):
    with Bundle.open(request.getfixturevalue(kind)) as bundle:
        assert bundle.name == "toy"
        assert bundle.model == MODEL
        assert bundle.manifest.provenance == {"commit": "abc"}
        assert set(bundle.manifest.files) == {"encoder.onnx", "golden/expected.json", "references.safetensors"}
        assert bundle.read("golden/expected.json") == b"{}"
        assert bundle.references().mode == "median"
        np.testing.assert_array_equal(bundle.references().vectors, VECTORS)
        graph = bundle.graph("encoder")
        assert graph.read() == onnx.parser.parse_model(GRAPH).SerializeToString()
        assert graph.inputs == ENTRY.inputs


def test_what_was_unpacked_goes_with_the_bundle_and_the_file_stays(archive):
    bundle = Bundle.open(archive)
    scratch = bundle.folder
    assert scratch != archive
    assert scratch.stat().st_mode & 0o077 == 0
    bundle.close()
    bundle.close()
    assert not scratch.exists()
    assert archive.exists()


def test_a_dropped_bundle_removes_what_it_unpacked(archive):
    scratch = Bundle.open(archive).folder
    assert not scratch.exists()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_leaves_its_parents_files(archive):
    with Bundle.open(archive) as bundle:
        child = os.fork()
        if child == 0:  # pragma: no cover
            bundle.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert bundle.read("golden/expected.json") == b"{}"


def test_nothing_is_left_of_an_archive_that_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(BundleError, match="damaged"):
        Bundle.open(archive)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("name", ["encoder.onnx", "golden/expected.json", "references.safetensors"])
def test_one_flipped_bit_anywhere_is_found(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"expected {name} as the manifest describes it"):
        Bundle.open(folder)


def test_a_missing_file_is_named(folder):
    (folder / "golden" / "expected.json").unlink()
    with pytest.raises(BundleError, match=r"expected golden/expected\.json in the bundle, found it missing"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("extra.json", "found also extra.json"),
        ("golden/deep/extra.png", "found also golden/deep/extra.png"),
        ("model.engine", "engines are built on this machine only"),
        ("model.pkl", "pickle"),
        ("encoder.onnx.data", "expected files of"),
        (".DS_Store", "plain relative file names"),
    ],
)
def test_an_extra_file_is_refused(folder, name, message):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(BundleError, match=message):
        Bundle.open(folder)


def test_a_link_is_refused_even_to_the_same_content(folder, tmp_path):
    (folder / "encoder.onnx").rename(tmp_path / "encoder.onnx")
    (folder / "encoder.onnx").symlink_to(tmp_path / "encoder.onnx")
    with pytest.raises(BundleError, match="found a link"):
        Bundle.open(folder)


def test_a_linked_folder_inside_is_refused_but_the_bundle_itself_may_be_one(folder, tmp_path):
    (tmp_path / "latest").symlink_to(folder)
    assert Bundle.open(tmp_path / "latest").name == "toy"
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="found a link"):
        Bundle.open(folder)


def test_a_change_after_opening_is_found_when_the_file_is_read(folder):
    bundle = Bundle.open(folder)
    with (folder / "encoder.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match="altered"):
        bundle.graph("encoder").read()


def test_a_graph_with_data_outside_of_itself_is_refused(folder, tmp_path):
    weights = onnx.numpy_helper.from_array(np.ones((3, 3), np.float32), "weights")
    model = onnx.parser.parse_model(GRAPH)
    model.graph.initializer.append(weights)
    onnx.save(model, tmp_path / "out.onnx", save_as_external_data=True, location="secret.onnx", size_threshold=0)
    shutil.copy(tmp_path / "out.onnx", folder / "encoder.onnx")
    (folder / MANIFEST).unlink()
    write_manifest(folder, model=MODEL, graphs={"encoder": ENTRY})
    with pytest.raises(BundleError, match="has external data"):
        Bundle.open(folder).graph("encoder").read()


def test_what_is_not_there_is_a_bundle_error_with_the_way_out(folder, tmp_path):
    with pytest.raises(BundleError, match="semise export RUN"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"expected manifest\.json in"):
        Bundle.open(tmp_path)
    (tmp_path / "junk.semise").write_bytes(b"junk")
    with pytest.raises(BundleError, match="found a damaged file"):
        Bundle.open(tmp_path / "junk.semise")
    bundle = Bundle.open(folder)
    with pytest.raises(BundleError, match=r"expected weights\.safetensors in bundle toy, found none"):
        _ = bundle.weights
    with pytest.raises(BundleError, match="expected graph unet in fp32 in bundle toy, found encoder"):
        bundle.graph("unet")
    with pytest.raises(BundleError, match="expected graph encoder in int8"):
        bundle.graph("encoder", "int8")


def test_a_path_out_of_the_manifest_is_never_joined(folder):
    with pytest.raises(BundleError, match="found none"):
        Bundle.open(folder).path("../secret.json")


def test_a_huge_manifest_is_not_parsed(folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(BundleError, match="at most 100 bytes"):
        Bundle.open(folder)


def test_other_precisions_stand_beside_fp32(folder):
    shutil.copy(folder / "encoder.onnx", folder / "encoder_fp16.onnx")
    half = GraphEntry(file="encoder_fp16.onnx", precision="fp16", inputs=ENTRY.inputs, outputs=ENTRY.outputs)
    write_manifest(folder, model=MODEL, graphs={"encoder": ENTRY, "encoder_fp16": half})
    assert Bundle.open(folder).graph("encoder", "fp16").path.name == "encoder_fp16.onnx"


def test_no_manifest_is_written_over_what_no_bundle_holds(tmp_path):
    folder = fill(tmp_path / "bundle")
    before = (folder / MANIFEST).read_bytes()
    (folder / "weights.pt").write_bytes(b"x")
    with pytest.raises(BundleError, match="pickle"):
        write_manifest(folder, model=MODEL, graphs={"encoder": ENTRY})
    (folder / "weights.pt").unlink()
    with pytest.raises(BundleError, match="missing encoder"):
        write_manifest(folder, model=MODEL, graphs={})
    assert (folder / MANIFEST).read_bytes() == before


def test_packing_is_deterministic_and_refuses_what_is_unsound(folder, tmp_path):
    for name in ("one.semise", "two.semise"):
        pack(folder, tmp_path / name)
    assert (tmp_path / "one.semise").read_bytes() == (tmp_path / "two.semise").read_bytes()
    with pytest.raises(BundleError, match=r"ends in \.semise"):
        pack(folder, tmp_path / "one.zip")
    (folder / "extra.json").write_text("{}")
    with pytest.raises(BundleError, match="found also"):
        pack(folder, tmp_path / "three.semise")
    assert not (tmp_path / "three.semise").exists()


def test_a_run_folder_opens_for_its_weights(tmp_path):
    checkpoint = tmp_path / "run" / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.json").write_text(json.dumps(MODEL.to_json()))
    with pytest.raises(BundleError, match=r"expected .*model\.safetensors, found it missing"):
        open_run(tmp_path / "run")
    (checkpoint / "model.safetensors").write_bytes(b"")
    ReferenceBank(VECTORS).save(checkpoint / "references.safetensors")
    run = open_run(tmp_path / "run")
    assert is_run(tmp_path / "run")
    assert (run.name, run.model, run.references().mode) == ("toy", MODEL, "median")
    assert run.weights == checkpoint / "model.safetensors"
    with pytest.raises(BundleError, match="semise export"):
        Bundle.open(tmp_path / "run")
    with pytest.raises(BundleError, match="expected a finished run"):
        open_run(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"name": 1}'])
def test_a_damaged_run_is_a_bundle_error(tmp_path, content):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model.json").write_text(content)
    with pytest.raises(BundleError, match=r"expected .*model\.json .*, found .*: train again"):
        open_run(tmp_path)
