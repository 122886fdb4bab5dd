"""The three backends on one real, tiny SemiSe network: the same answers under the same names."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from semise_export.graphs.onnx import export_graphs, graph_entry
from semise_sdk.backends import Backend, Graph, open_graph
from semise_sdk.backends.pytorch import PyTorchBackend
from semise_sdk.bundle import write_manifest
from semise_sdk.errors import BackendError, BundleError
from semise_sdk.models.network import (
    EncoderOutputs,
    UnetOutputs,
)
from semise_sdk.predictor import Predictor
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo

SIZE = 64
BACKENDS = ("onnxruntime", "openvino", "pytorch")
OUTPUTS = {"encoder": EncoderOutputs._fields, "classifier": ("logits",), "unet": UnetOutputs._fields}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory, random_network) -> dict[str, Graph]:
    """The three graphs of one network, as ONNX and as weights."""
    folder = tmp_path_factory.mktemp("graphs")
    network = random_network("test_efficientnet")
    for parameter in network.parameters():  # what starts at zero would hide a mistake
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / "w.safetensors")
    export_graphs(network, InputSpec(height=SIZE, width=SIZE), folder)
    return {
        name: Graph(
            name=name,
            content=(folder / f"{name}.onnx").read_bytes,
            outputs=outputs,
            network=network.config,
            weights=folder / "w.safetensors",
        )
        for name, outputs in OUTPUTS.items()
    }


@pytest.fixture(scope="module")
def opened(graphs) -> Iterator[dict[tuple[str, str], Backend]]:
    found = {
        (backend, name): open_graph(graph, backend=backend, device="cpu")
        for backend in BACKENDS
        for name, graph in graphs.items()
    }
    yield found
    for backend in found.values():
        backend.close()


def batch(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("rows", [1, 2, 3, 16])
@pytest.mark.parametrize("name", ["encoder", "unet"])
def test_all_backends_agree(opened, name, rows):
    reference = opened["pytorch", name].run({"pixels": batch(rows)})
    assert set(reference) == set(OUTPUTS[name])
    for backend in ("onnxruntime", "openvino"):
        outputs = opened[backend, name].run({"pixels": batch(rows)})
        assert set(outputs) == set(reference)
        for key, expected in reference.items():
            assert outputs[key].shape == expected.shape
            assert outputs[key].dtype == np.float32
            scale = np.abs(expected).max()
            np.testing.assert_allclose(outputs[key], expected, atol=1e-4 * scale, rtol=1e-4, err_msg=f"{backend} {key}")


def test_the_classifier_agrees_and_takes_the_encoders_embedding(opened):
    for backend in BACKENDS:
        embedding = opened[backend, "encoder"].run({"pixels": batch(4)})["embedding"]
        logits = opened[backend, "classifier"].run({"embedding": embedding})["logits"]
        expected = opened["pytorch", "classifier"].run({"embedding": embedding})["logits"]
        assert logits.shape == (4, 3)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_the_outputs_have_the_shapes_that_the_graphs_promise(opened):
    outputs = opened["onnxruntime", "unet"].run({"pixels": batch(2)})
    assert outputs["mask_logits"].shape == (2, SIZE, SIZE)
    assert outputs["severity_vector"].shape == (2, 32)
    assert outputs["severity_map_vectors"].shape == (2, 2, 2, 32)
    np.testing.assert_array_equal(outputs["severity_vector"], outputs["reference_vector"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_does_not_depend_on_its_batch(opened, backend):
    encoder = opened[backend, "encoder"]
    whole = encoder.run({"pixels": batch(16)})
    for rows in (1, 2, 5):
        part = encoder.run({"pixels": batch(16)[3 : 3 + rows]})
        for key, values in part.items():
            np.testing.assert_allclose(values, whole[key][3 : 3 + rows], rtol=1e-5, atol=1e-5 * np.abs(values).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_sixteen_threads_get_what_one_gets(opened, backend):
    encoder = opened[backend, "encoder"]
    serial = [encoder.run({"pixels": batch(rows)})["severity_vector"] for rows in range(1, 5)]
    wrong: list[int] = []

    def work() -> None:
        for rows in range(1, 5):
            found = encoder.run({"pixels": batch(rows)})["severity_vector"]
            if not np.array_equal(found, serial[rows - 1]):
                wrong.append(rows)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_graphs_of_the_same_weights_share_one_network(graphs):
    encoder = open_graph(graphs["encoder"], backend="pytorch", device="cpu")
    unet = open_graph(graphs["unet"], backend="pytorch", device="cpu")
    assert isinstance(encoder, PyTorchBackend)
    assert isinstance(unet, PyTorchBackend)
    assert encoder._module is not None
    assert unet._module is not None
    assert encoder._module.network is unet._module.network
    encoder.close()
    assert len(unet.run({"pixels": batch(1)})["embedding"]) == 1


def test_torch_refuses_what_does_not_fit_and_what_is_closed(graphs):
    backend = open_graph(graphs["encoder"], backend="pytorch", device="cpu")
    with pytest.raises(BackendError, match="expected pixels as uint8"):
        backend.run({"pixels": batch(1).astype(np.float32)})
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="found it closed"):
        backend.run({"pixels": batch(1)})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_torch_does_not_replace_a_gpu_by_the_cpu(graphs):
    with pytest.raises(BackendError, match="expected a GPU that torch can use, found none"):
        open_graph(graphs["encoder"], backend="pytorch", device="cuda")


def test_torch_without_weights_or_with_damaged_ones_says_so(graphs, tmp_path):
    with pytest.raises(BackendError, match="expected weights for backend pytorch"):
        open_graph(Graph(name="encoder", content=graphs["encoder"].content), backend="pytorch")
    damaged = tmp_path / "w.safetensors"
    damaged.write_bytes(b"junk")
    with pytest.raises(BundleError, match="weights"):
        open_graph(
            Graph(name="encoder", network=graphs["encoder"].network, weights=damaged), backend="pytorch", device="cpu"
        )


def test_torchs_threads_are_set_only_when_asked_for(graphs):
    before = torch.get_num_threads()
    try:
        open_graph(graphs["classifier"], backend="pytorch", device="cpu").close()
        assert torch.get_num_threads() == before
        open_graph(graphs["classifier"], backend="pytorch", device="cpu", threads=1).close()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(graphs, tmp_path_factory) -> Path:
    """The same network as a run folder, and as the bundle in it."""
    root = tmp_path_factory.mktemp("run")
    config, weights = graphs["encoder"].network, graphs["encoder"].weights
    model = ModelInfo(
        name="tiny", spec=InputSpec(height=SIZE, width=SIZE), labels=("none", "some", "much"), network=config
    )
    bank = ReferenceBank(np.random.default_rng(1).normal(size=(4, 32)).astype(np.float32))
    for folder, name in ((root / "checkpoint", "model.safetensors"), (root / "bundle", "weights.safetensors")):
        folder.mkdir()
        shutil.copy(weights, folder / name)
        bank.save(folder / "references.safetensors")
    (root / "checkpoint" / "model.json").write_text(json.dumps(model.to_json()))
    entries = {}
    for name, graph in graphs.items():
        (root / "bundle" / f"{name}.onnx").write_bytes(graph.content())
        entries[name] = graph_entry(root / "bundle" / f"{name}.onnx")
    write_manifest(root / "bundle", model=model, graphs=entries)
    return root


def test_a_run_folder_and_its_bundle_answer_alike_on_every_backend(run):
    images = [image[: 30 + 8 * index] for index, image in enumerate(batch(6))]
    with Predictor.open(run) as predictor:
        assert predictor.backend == "pytorch:cpu"
        expected = predictor.analyze(images)
        own = predictor.rank(images, reference=images[2]).rows[-1]
        assert (own.file, own.severity) == ("array[2]", 0.0)
    for backend in BACKENDS:
        with Predictor.open(run / "bundle", backend=backend, device="cpu") as predictor:
            for found, wanted in zip(predictor.analyze(images), expected, strict=True):
                assert found.severity == pytest.approx(wanted.severity, abs=1e-5)
                assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)
                assert found.grade == wanted.grade
                assert np.mean(found.mask != wanted.mask) < 0.01
                np.testing.assert_allclose(found.severity_map, wanted.severity_map, atol=1e-4)
            own = predictor.rank(images, reference=images[2]).rows[-1]
            assert (own.file, own.severity) == ("array[2]", 0.0)


def test_a_run_folder_is_for_the_pytorch_backend_only(run):
    with pytest.raises(BackendError, match="expected backend pytorch for run folder"):
        Predictor.open(run, backend="onnxruntime")


def test_weights_that_were_altered_after_the_bundle_was_opened_are_refused(run, tmp_path):
    bundle = shutil.copytree(run / "bundle", tmp_path / "bundle")
    weights = bundle / "weights.safetensors"
    with Predictor.open(bundle, backend="pytorch", device="cpu") as predictor:
        before, content = weights.stat(), bytearray(weights.read_bytes())
        content[-1] ^= 1  # another number, and still a sound file
        weights.write_bytes(content)
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(BundleError, match=r"expected weights.safetensors as the manifest describes it"):
            predictor.embed(batch(1)[0])
