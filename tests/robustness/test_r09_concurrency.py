"""R9: many threads on one predictor, several processes, a fork, and a close in the middle of everything."""

import csv
import io
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from semise_export.graphs.onnx import graph_entry
from semise_sdk.bundle import write_manifest
from semise_sdk.errors import BackendError
from semise_sdk.predictor import Predictor
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

THREADS = 16
DEADLOCK_S = 120
SIDE, WIDTH = 48, 32


def convolutional_encoder(generator: np.random.Generator) -> onnx.ModelProto:
    """Returns a real, small encoder: two strided convolutions, whose sums an engine may split as it likes."""

    def weights(name, *shape):
        values = generator.normal(scale=1 / np.sqrt(np.prod(shape[1:])), size=shape)
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "w3"], ["severity_vector"]),
        helper.make_node("Identity", ["severity_vector"], ["reference_vector"]),
        helper.make_node("Transpose", ["r2"], ["severity_map_vectors"], perm=[0, 2, 3, 1]),
    ]
    vector = ["N", WIDTH]
    outputs = {
        "embedding": vector,
        "severity_vector": vector,
        "reference_vector": vector,
        "severity_map_vectors": ["N", 12, 12, WIDTH],
    }
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [weights("w1", 16, 3, 3, 3), weights("w2", WIDTH, 16, 3, 3), weights("w3", WIDTH, WIDTH)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("convolutional") / "bundle"
    folder.mkdir()
    generator = np.random.default_rng(9)
    (folder / "encoder.onnx").write_bytes(convolutional_encoder(generator).SerializeToString())
    healthy = generator.normal(size=(20, WIDTH)) + 1
    ReferenceBank(healthy.astype(np.float32)).save(folder / "references.safetensors")
    network = NetworkConfig(
        encoder="none", feature_dim=WIDTH, vector_dim=WIDTH, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0
    )
    spec = InputSpec(height=SIDE, width=SIDE)
    write_manifest(
        folder,
        model=ModelInfo(name="convolutional", spec=spec, labels=("a",), network=network),
        graphs={"encoder": graph_entry(folder / "encoder.onnx")},
    )
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Forty noisy pictures of many sizes, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(40):
        height, width = generator.integers(10, 90, size=2)
        pixels = generator.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(params=["onnxruntime", "openvino"])
def predictor(bundle, request):
    with Predictor.open(bundle, backend=request.param, workers=4) as opened:
        yield opened


def sources(folder: Path) -> list[object]:
    """Every image as a path, as bytes or as an array."""
    paths = sorted(folder.iterdir())
    turns = (
        lambda path: path,
        lambda path: path.read_bytes(),
        lambda path: np.asarray(Image.open(path)) if path.name != "broken.png" else path,
    )
    return [turns[index % 3](path) for index, path in enumerate(paths)]


def predicted(predictor: Predictor, image: object, turn: int) -> object:
    """One prediction, by one of the ways to make it, as what can be compared bit for bit."""
    if turn % 3 == 0:
        return next(predictor.iter_severity([image]))
    if turn % 3 == 1:
        (found,) = predictor.iter_analyze([image])
        return found.to_severity(), None if found.severity_map is None else found.severity_map.tobytes()
    (found,) = predictor.iter_embed([image])
    return found.status, found.reason, None if found.embedding is None else found.embedding.tobytes()


@pytest.mark.timeout(300)
def test_sixteen_threads_get_bit_for_bit_what_one_gets(predictor, images, amount, figure):
    count = amount(15, 500)
    given = sources(images)
    serial = {
        (index, turn): predicted(predictor, given[index], turn) for index in range(len(given)) for turn in range(3)
    }

    def work(thread: int) -> int:
        generator = random.Random(thread)  # noqa: S311
        chosen = [(generator.randrange(len(given)), generator.randrange(3)) for _ in range(count)]
        return sum(predicted(predictor, given[index], turn) != serial[index, turn] for index, turn in chosen)

    with ThreadPoolExecutor(THREADS) as pool:
        different = sum(pool.map(work, range(THREADS), timeout=DEADLOCK_S))
    assert different == 0
    figure(f"{predictor.backend}: of {THREADS} x {count} predictions, different from the serial ones", different)


def use_until_closed(predictor: Predictor, images: Path, thread: int, started: threading.Event) -> str:
    """Uses a predictor in one of four ways until it is closed; returns how it ended."""
    ways = (
        lambda: predictor.rank(images),
        lambda: list(predictor.iter_analyze(images)),
        lambda: predictor.rank(images, reference=images / "00.png"),
        lambda: predictor.timeline([]),
    )
    try:
        while True:
            ways[thread % len(ways)]()
            started.set()
    except BackendError as error:
        return "closed" if "found it closed" in str(error) else str(error)


@pytest.mark.timeout(300)
def test_close_in_the_middle_of_everything_ends_every_stream(bundle, images, amount, figure):
    rounds, generator = amount(4, 40), random.Random(9)  # noqa: S311
    longest = 0.0
    for _ in range(rounds):
        predictor, started = Predictor.open(bundle, backend="onnxruntime", workers=3), threading.Event()
        half_way = predictor.iter_severity(images)  # a stream that nobody pulls while the predictor closes
        next(half_way)
        with ThreadPoolExecutor(8) as pool:
            ends = [pool.submit(use_until_closed, predictor, images, thread, started) for thread in range(8)]
            assert started.wait(DEADLOCK_S)
            time.sleep(generator.uniform(0, 0.1))
            began = time.perf_counter()
            predictor.close()
            outcomes = [end.result(timeout=DEADLOCK_S) for end in ends]
            longest = max(longest, time.perf_counter() - began)
        assert outcomes == ["closed"] * 8
        with pytest.raises(BackendError, match="found it closed"):
            list(half_way)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("semise-")]
    figure("closes during a run", rounds)
    figure("longest that a close and the end of 8 streams took, seconds", round(longest, 2))


@pytest.mark.timeout(300)
def test_processes_at_once_write_the_same_bytes(bundle, images, amount, figure):
    count = amount(2, 4)
    command = [
        sys.executable, "-c", "from semise_sdk.cli.app import main; main()", "rank", str(images),
        "--bundle", str(bundle), "--backend", "onnxruntime", "--threads", "1", "-q",
    ]  # fmt: skip
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(count)]
    ends = [(*process.communicate(timeout=DEADLOCK_S), process.returncode) for process in running]
    outputs = {output for output, _, _ in ends}
    assert [(error, code) for _, error, code in ends] == [(b"", 3)] * count
    assert len(outputs) == 1
    (text,) = outputs
    assert len(list(csv.DictReader(io.StringIO(text.decode(), newline="")))) == 41
    figure(f"outputs of {count} processes at once, other than the first one's", len(outputs) - 1)


def forked(work) -> int:
    """Returns the exit code of a fork that does ``work``; -1 where it hangs."""
    child = os.fork()
    if child == 0:  # pragma: no cover
        code = 1
        try:
            work()
        except BackendError as error:
            code = 0 if "open the predictor again in the new process" in str(error) else 2
        finally:
            os._exit(code)
    for _ in range(2_000):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.timeout(300)
def test_a_fork_is_refused_in_a_sentence_even_while_its_parent_works(bundle, images, amount, figure):
    predictor = Predictor.open(bundle, backend="onnxruntime", workers=3)
    path = images / "00.png"
    ways = (
        lambda: predictor.rank(images),
        lambda: list(predictor.iter_severity([path])),
        lambda: predictor.analyze(path),
        lambda: predictor.embed(path),
        lambda: predictor.reference_bank(path),
        lambda: predictor.compare_images(path, path),
        lambda: predictor.timeline([]),
    )
    started = threading.Event()
    worker = threading.Thread(target=use_until_closed, args=(predictor, images, 0, started))
    worker.start()
    started.wait(DEADLOCK_S)
    codes = [forked(way) for way in ways for _ in range(amount(1, 10))]
    assert predictor.rank(images).rows  # the parent is none the worse
    predictor.close()
    worker.join(DEADLOCK_S)
    assert codes == [0] * len(codes)
    figure("forks, each refused in a sentence", len(codes))
