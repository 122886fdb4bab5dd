"""R3: mutated ONNX files in a bundle. A hash refuses all of them before any parser; without one, the policy many."""

import json
import random
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnx.parser
import pytest

from semise_export.graphs.onnx import graph_entry
from semise_sdk.bundle import MANIFEST, Bundle, write_manifest
from semise_sdk.bundle.graph_lint.policy import check_policy
from semise_sdk.bundle.integrity import hash_file
from semise_sdk.errors import BundleError

NAMES = ("encoder", "classifier", "unet")


def mutated(content: bytes, seed: int) -> bytes:
    """Returns the content with one to eight bits flipped, a piece cut out, or a piece written twice."""
    rng = random.Random(seed)  # noqa: S311  # a seed that gives the same mutation again
    data = bytearray(content)
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 40))
    match rng.randrange(8):
        case 0:
            del data[start:end]
        case 1:
            data[start:start] = data[start:end]
        case 2:
            data[start:end] = rng.randbytes(end - start)
        case _:
            for _ in range(rng.choice((1, 1, 1, 2, 8))):
                # half of them in what describes the graph, which is small beside its weights
                place = rng.randrange(min(len(data), 4000)) if rng.random() < 0.5 else rng.randrange(len(data))
                data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def convolutional() -> onnx.ModelProto:
    """Returns an encoder of three convolutions with random weights, in the operators of an exported one."""
    rng = np.random.default_rng(0)
    weights = {"w0": (16, 3, 3, 3), "w1": (32, 16, 3, 3), "w2": (3, 32, 1, 1), "g": (3, 3)}
    arrays = {name: rng.normal(scale=0.2, size=shape).astype(np.float32) for name, shape in weights.items()}
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        encoder (uint8[N,16,16,3] pixels) => (float[N,3] embedding, float[N,3] severity_vector,
            float[N,3] reference_vector, float[N,4,4,3] severity_map_vectors)
        <int64[2] sides = {2, 3}, float scale = {255}> {
            floats = Cast<to = 1>(pixels)
            planes = Transpose<perm = [0, 3, 1, 2]>(floats)
            x = Div(planes, scale)
            a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x, w0)
            b = Relu(a)
            c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(b, w1)
            d = Relu(c)
            e = Conv<kernel_shape = [1, 1]>(d, w2)
            embedding = ReduceMean<keepdims = 0>(e, sides)
            severity_vector = Gemm<transB = 1>(embedding, g)
            reference_vector = Identity(severity_vector)
            severity_map_vectors = Transpose<perm = [0, 2, 3, 1]>(e)
        }"""
    )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


@pytest.fixture(scope="module")
def bundle(write_colour_bundle, tmp_path_factory):
    folder = write_colour_bundle(tmp_path_factory.mktemp("mutated") / "bundle")
    manifest = Bundle.open(folder).manifest
    (folder / "encoder.onnx").write_bytes(convolutional().SerializeToString())
    graphs = {**manifest.graphs, "encoder": graph_entry(folder / "encoder.onnx")}
    write_manifest(folder, model=manifest.model, graphs=graphs)
    return folder


def test_every_mutated_graph_is_refused_before_it_is_parsed(bundle, amount, figure, monkeypatch, tmp_path):
    count, refused, parsed = amount(60, 2000), 0, []
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    monkeypatch.setattr(
        "semise_sdk.bundle.graph_file.check_policy", lambda *given, **named: parsed.append(named["name"])
    )
    for seed in range(count):
        path = folder / f"{NAMES[seed % 3]}.onnx"
        honest = path.read_bytes()
        damaged = mutated(honest, seed)
        if damaged == honest:
            count -= 1
            continue
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="altered or damaged"):
            Bundle.open(folder)
        refused += 1
        path.write_bytes(honest)
    figure("mutated graphs refused by their hash, before any parser", f"{refused} of {count}")
    assert (refused, parsed) == (count, [])


# Runs in a process of its own, as an engine may end it; it says after each graph what became of it.
ENGINE = textwrap.dedent("""
    import sys, json, pathlib, resource
    import numpy as np
    from semise_sdk.predictor import Predictor
    from semise_sdk.errors import SemiseError
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    for line in sys.stdin:
        folder = line.strip()
        try:
            with Predictor.open(folder, backend="onnxruntime", run_seconds=20) as predictor:
                (answer,) = predictor.analyze([image])
            said = "no answer" if answer.status == "error" else "answered"
        except SemiseError as error:
            said = type(error).__name__
        print(said, flush=True)
""")


def with_graph(bundle, name: str, content: bytes, target) -> None:
    """Writes a bundle whose manifest vouches for a graph, as an attacker without a key can."""
    target.mkdir()
    for path in bundle.iterdir():
        (target / path.name).write_bytes(content if path.name == f"{name}.onnx" else path.read_bytes())
    manifest = json.loads((target / MANIFEST).read_text())
    manifest["files"][f"{name}.onnx"] = hash_file(target / f"{name}.onnx")
    (target / MANIFEST).write_text(json.dumps(manifest))


def test_what_a_forged_manifest_vouches_for_meets_the_policy_and_then_the_engine(bundle, amount, figure, tmp_path):
    """With the hashes written anew only the policy stands before the engine: neither it nor the engine may crash."""
    count, passed, outcomes = amount(150, 2000), [], {}
    graphs = {name: (bundle / f"{name}.onnx").read_bytes() for name in NAMES}
    entries = Bundle.open(bundle).manifest.graphs
    for seed in range(count):
        name = NAMES[seed % 3]
        content = mutated(graphs[name], seed)
        try:
            check_policy(content, inputs=entries[name].inputs, outputs=entries[name].outputs, name=name)
            passed.append((seed, name, content))
        except BundleError:
            outcomes["refused by the policy"] = outcomes.get("refused by the policy", 0) + 1
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", ENGINE], text=True, **pipes) as child:
        for seed, name, content in passed[: amount(25, 2000)]:
            with_graph(bundle, name, content, tmp_path / str(seed))
            child.stdin.write(f"{tmp_path / str(seed)}\n")
            child.stdin.flush()
            said = child.stdout.readline().strip()
            assert said, f"the process died of mutation {seed} of {name}"
            outcomes[said] = outcomes.get(said, 0) + 1
        child.stdin.close()
        assert child.wait(60) == 0
    figure("graphs behind a forged manifest", count)
    figure("what became of them", outcomes)
    figure("deaths of the process", 0)
    assert set(outcomes) <= {"refused by the policy", "BackendError", "BundleError", "answered", "no answer"}
