"""A tiny run and its bundle, made once for the tests that need a whole model, and a machine that is always the same."""

import importlib
import os
import shutil
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

PACKS = Path(__file__).resolve().parents[1].parent / "shared" / "data"

TINY = {
    "name": "tiny",
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 48},
    "heads": {"vector_dim": 32},
    "phase1": {"epochs": 2, "batch_size": 20},
    "phase2": {"epochs": 2, "batch_size": 20},
    "classifier": {"epochs": 5, "augmented_views": 1},
    "unet": {"epochs": 2, "decoder_channels": [16, 16, 8, 8, 8]},
    "runtime": {"precision": "fp32", "threads": 1},
}

TERMINAL = ("COLUMNS", "LINES", "TERMINAL_WIDTH", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")


def pytest_configure() -> None:
    """Takes the terminal and the number of cores out of what the tests see; a worker of pytest-xdist does the same."""
    for name in TERMINAL:
        os.environ.pop(name, None)
        os.unsetenv(name)  # readline, which pytest imports, sets them where os.environ does not see it
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    importlib.import_module("semise_sdk.cli.console")  # a console keeps the COLUMNS that it is made with


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="session")
def make_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Returns what makes a folder once for all workers of a run: the second to ask waits, and gets the same folder."""
    from semise_sdk.system.locks import claimed

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        work, made = root / "shared" / name, root / "shared" / f"{name}.made"
        while not made.exists():
            with claimed(work) as is_mine:
                if is_mine and not made.exists():
                    shutil.rmtree(work, ignore_errors=True)  # of a worker that failed
                    work.mkdir()
                    make(work)
                    made.touch()
            time.sleep(0.05)
        return work

    return once


_COLOUR_OUTPUTS = """float[N,3] embedding, float[N,3] severity_vector, float[N,3] reference_vector,
    float[N,2,2,3] severity_map_vectors"""
_COLOUR_BODY = """
    floats = Cast<to = 1>(pixels)
    embedding = ReduceMean<keepdims = 0>(floats, sides)
    severity_vector = Identity(embedding)
    reference_vector = Identity(embedding)
    planes = Transpose<perm = [0, 3, 1, 2]>(floats)
    quarters = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(planes)
    severity_map_vectors = Transpose<perm = [0, 2, 3, 1]>(quarters)
"""
MASKED_COLOUR_GRAPHS = {
    "encoder": f"""encoder (uint8[N,16,16,3] pixels) => ({_COLOUR_OUTPUTS})
        <int64[2] sides = {{1, 2}}> {{{_COLOUR_BODY}}}""",
    "classifier": """classifier (float[N,3] embedding) => (float[N,2] logits)
        <float[3,2] weights = {0, 0.02, 0, 0, 0.02, 0}> { logits = Gemm(embedding, weights) }""",
    "unet": f"""unet (uint8[N,16,16,3] pixels) => (float[N,16,16] mask_logits, {_COLOUR_OUTPUTS})
        <int64[2] sides = {{1, 2}}, int64 red = {{0}}, float middle = {{100}}> {{
        {_COLOUR_BODY}
        reds = Gather<axis = 3>(floats, red)
        mask_logits = Sub(reds, middle)
    }}""",
}


@pytest.fixture(scope="session")
def write_colour_bundle():
    """Returns what writes a hand-made bundle into a folder: severity is how far the mean colour is from blue."""
    import numpy as np
    import onnx.parser

    from semise_export.graphs.onnx import graph_entry
    from semise_sdk.bundle import write_manifest
    from semise_sdk.severity.reference_bank import ReferenceBank
    from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

    def build(folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, text in MASKED_COLOUR_GRAPHS.items():
            graph = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
            (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
        ReferenceBank(np.array([[0, 0, 2]], np.float32)).save(folder / "references.safetensors")
        network = NetworkConfig(
            encoder="none",
            feature_dim=3,
            vector_dim=3,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            classes=2,
            decoder_channels=(8,),
        )
        model = ModelInfo(
            name="colour",
            spec=InputSpec(height=16, width=16, fit="stretch"),
            labels=("blue", "red"),
            network=network,
        )
        graphs = {name: graph_entry(folder / f"{name}.onnx") for name in MASKED_COLOUR_GRAPHS}
        write_manifest(folder, model=model, graphs=graphs)
        return folder

    return build


@pytest.fixture(scope="session")
def packs() -> Path:
    """The real image packs; skips where the checkout has none beside it."""
    if not PACKS.is_dir():
        pytest.skip("needs the image packs at ../shared/data")
    return PACKS


@pytest.fixture(scope="session")
def phantoms(make_once) -> Path:
    """The manifest of 80 phantom images with masks and a few unlabeled ones."""
    from semise_sdk.demo.phantoms import write_phantoms

    return make_once("phantoms", lambda folder: write_phantoms(folder, count=80, seed=3, size=64)) / "data.csv"


@pytest.fixture(scope="session")
def random_network():
    """Returns a network of random weights with three grades and a U-Net, in eval mode."""
    import torch

    from semise_sdk.models.encoder import create_body, feature_dim, input_scaling
    from semise_sdk.models.network import SemiSeNetwork
    from semise_sdk.spec import NetworkConfig

    def build(encoder: str = "test_resnet", *, classifier_hidden: tuple[int, int] = (16, 8)):
        torch.manual_seed(0)
        body = create_body(encoder)
        mean, std = input_scaling(body)
        config = NetworkConfig(
            encoder=encoder,
            feature_dim=feature_dim(body),
            vector_dim=32,
            mean=mean,
            std=std,
            classes=3,
            classifier_hidden=classifier_hidden,
            decoder_channels=(16, 16, 8, 8, 8),
        )
        return SemiSeNetwork(config, body).eval()

    return build


@pytest.fixture(scope="session")
def tiny_config():
    """Returns the configuration of a run of a few seconds, with overrides."""
    from semise_training.config import merge
    from semise_training.recipe import build_config

    def build(manifest: Path, **overrides):
        return build_config("recommended", merge(merge(TINY, {"data": {"manifest": manifest}}), overrides))

    return build


@pytest.fixture(scope="session")
def tiny_run(phantoms, tiny_config, make_once) -> Path:
    """A finished run folder, trained for real for a few seconds."""
    from semise_sdk.system.progress import SilentReporter
    from semise_training.run.train import train

    return (
        make_once("tiny", lambda folder: train(tiny_config(phantoms), folder / "run", reporter=SilentReporter()))
        / "run"
    )


COLOUR_HEAD = '<ir_version: 8, opset_import: ["" : 18]>'
# Every vector is the mean colour, and the grade leans to red.
COLOUR_GRAPHS = {
    "encoder": f"""{COLOUR_HEAD} encoder (uint8[N,16,16,3] pixels) => (
        float[N,3] embedding, float[N,3] severity_vector, float[N,3] reference_vector,
        float[N,1,1,3] severity_map_vectors) <int64[2] sides = {{1, 2}}> {{
        floats = Cast<to = 1>(pixels)
        embedding = ReduceMean<keepdims = 0>(floats, sides)
        severity_vector = Identity(embedding)
        reference_vector = Identity(embedding)
        severity_map_vectors = ReduceMean<keepdims = 1>(floats, sides)
    }}""",
    "classifier": f"""{COLOUR_HEAD} classifier (float[N,3] embedding) => (float[N,2] logits)
        <float[3,2] weights = {{0, 0.02, 0, 0, 0.02, 0}}> {{ logits = MatMul(embedding, weights) }}""",
}


@pytest.fixture(scope="session")
def colour_bundle(tmp_path_factory) -> Path:
    """A bundle whose severity is the angle of an image's mean colour to a bank of eight blues: no training, no time."""
    import numpy as np
    import onnx.parser

    from semise_export.graphs.onnx import graph_entry
    from semise_sdk.bundle import write_manifest
    from semise_sdk.severity.reference_bank import ReferenceBank
    from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

    folder = tmp_path_factory.mktemp("colour") / "bundle"
    folder.mkdir()
    graphs = {}
    for name, text in COLOUR_GRAPHS.items():
        model = onnx.parser.parse_model(text)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        graphs[name] = graph_entry(folder / f"{name}.onnx")
    scatter = np.random.default_rng(0).normal(scale=0.1, size=(8, 3)).astype(np.float32)
    ReferenceBank(np.float32([0, 0, 1]) + np.abs(scatter)).save(folder / "references.safetensors")
    network = NetworkConfig(encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=2)
    spec = InputSpec(height=16, width=16, fit="stretch")
    write_manifest(
        folder, model=ModelInfo(name="colour", spec=spec, labels=("blue", "red"), network=network), graphs=graphs
    )
    return folder


@pytest.fixture(scope="session")
def lenient_bundle(tmp_path_factory) -> Path:
    """As ``colour_bundle``, but it takes every image: any DICOM class, and any intensity as it is found."""
    import numpy as np
    import onnx.parser

    from semise_export.graphs.onnx import graph_entry
    from semise_sdk.bundle import write_manifest
    from semise_sdk.severity.reference_bank import ReferenceBank
    from semise_sdk.spec import DicomPolicy, InputSpec, ModelInfo, NetworkConfig

    folder = tmp_path_factory.mktemp("colour") / "bundle"
    folder.mkdir()
    text = """<ir_version: 8, opset_import: ["" : 18]> encoder (uint8[N,32,32,3] pixels) => (float[N,3] embedding,
        float[N,3] severity_vector, float[N,3] reference_vector, float[N,1,1,3] severity_map_vectors)
        <int64[2] sides = {1, 2}, float[3] one = {1, 1, 1}> {
        floats = Cast<to = 1>(pixels)
        means = ReduceMean<keepdims = 0>(floats, sides)
        embedding = Add(means, one)
        severity_vector = Identity(embedding)
        reference_vector = Identity(embedding)
        severity_map_vectors = ReduceMean<keepdims = 1>(floats, sides) }"""
    model = onnx.parser.parse_model(text)
    (folder / "encoder.onnx").write_bytes(model.SerializeToString())
    ReferenceBank(np.array([[0, 0, 2]], np.float32)).save(folder / "references.safetensors")
    network = NetworkConfig(
        encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0, decoder_channels=()
    )
    spec = InputSpec(height=32, width=32, intensity="percentile(0,100)", dicom=DicomPolicy(sop_classes=("any",)))
    info = ModelInfo(name="colour", spec=spec, labels=("blue", "red"), network=network)
    write_manifest(folder, model=info, graphs={"encoder": graph_entry(folder / "encoder.onnx")})
    return folder


@pytest.fixture(scope="session")
def dicom():
    """Returns a function from pixels, or encoded frames, and further tags to the bytes of a DICOM file."""
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

    def build(
        pixels: np.ndarray,
        *,
        frames: list[bytes] | None = None,
        syntax: str = ExplicitVRLittleEndian,
        sop_class: str = SECONDARY_CAPTURE,
        **tags: object,
    ) -> bytes:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.1"
        samples = 3 if pixels.ndim > 2 and pixels.shape[-1] == 3 else 1
        shape = pixels.shape[:-1] if samples == 3 else pixels.shape
        dataset.Rows, dataset.Columns = shape[-2:]
        if len(shape) == 3:
            dataset.NumberOfFrames = shape[0]
        dataset.SamplesPerPixel = samples
        dataset.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
        if samples == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        for name, value in tags.items():
            setattr(dataset, name, value)
        if "HighBit" not in tags:
            dataset.HighBit = dataset.BitsStored - 1
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        if "PixelData" not in tags:
            dataset.PixelData = data + b"\0" * (len(data) % 2) if frames is None else encapsulate(frames)
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
        dataset["PixelData"].is_undefined_length = frames is not None
        stream = BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    return build


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, which ``make integration`` installs.

    Of a module, not of the session: while it runs, no other test of the process could use asyncio.
    """
    from playwright import sync_api as playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.fail("needs Chromium: apt-get install chromium, or make integration")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run, make_once) -> Path:
    """The tiny run's bundle in fp32, calibrated on too few images to claim anything; tests that change it copy it."""
    from semise_export.assemble import export_run

    def export(folder: Path) -> None:
        export_run(tiny_run, out=folder / "bundle", backends=["onnxruntime"])

    return make_once("tiny-bundle", export) / "bundle"


@pytest.fixture(scope="session")
def site(make_once) -> Path:
    """The manifest of 150 other phantom images, as a site would calibrate on."""
    from semise_sdk.demo.phantoms import write_phantoms

    return make_once("site", lambda folder: write_phantoms(folder, count=150, seed=11, size=64)) / "data.csv"


@pytest.fixture(scope="session")
def calibrated_bundle(tiny_bundle, site, make_once) -> Path:
    """The tiny bundle, calibrated on the site's images: gates, grade sets and percentiles."""
    from semise_sdk.cli.app import run

    def calibrate(folder: Path) -> None:
        out = str(folder / "bundle")
        assert run(["calibrate", str(tiny_bundle), str(site), "--out", out, "--backend", "onnxruntime", "-q"]) == 0

    return make_once("calibrated", calibrate) / "bundle"
