"""A run folder made without training, exported for real, and what the gate says of damaged graphs."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from semise_export import assemble
from semise_export.assemble import export_run
from semise_export.gate.answers import Answers
from semise_export.gate.golden import PICTURES
from semise_export.gate.parity import ParityRow, check_backend, gate_backends, torch_answers
from semise_export.graphs.onnx import graph_entry
from semise_export.limits import LIMITS, ParityThresholds
from semise_export.run import TrainedRun
from semise_sdk.bundle import MANIFEST, Bundle, write_manifest
from semise_sdk.errors import BackendError, BundleError, ConfigError, DataError, ParityError
from semise_sdk.images.preprocess import to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.models.encoder import create_body, feature_dim, input_scaling
from semise_sdk.models.network import EncoderGraph, SemiSeNetwork, UnetGraph
from semise_sdk.predictor import Predictor
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig
from semise_sdk.system.progress import SilentReporter
from semise_sdk.workflows.verify import replay

LABELS = ("healthy", "mild", "severe")
SPEC = InputSpec(height=64, width=64)
IMAGES = 36

Damage = Callable[[onnx.ModelProto], None]


def draw(index: int) -> NDArray[np.uint8]:
    """Returns one of many plain pictures of different size, pattern and colour."""
    generator = np.random.default_rng(index)
    height, width = (int(side) for side in generator.integers(40, 120, 2))
    down, across = np.mgrid[:height, :width]
    waves = [np.sin(across / (4 + index % 7) + channel) * np.cos(down / (3 + index % 5)) for channel in range(3)]
    noise = generator.normal(0, 10 + 25 * (index % 3), (height, width, 3))
    picture: NDArray[np.uint8] = (128 + 100 * np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)
    return picture


def make_network(pixels: torch.Tensor) -> SemiSeNetwork:
    """Returns a random network whose severities, grades and masks differ from image to image."""
    torch.manual_seed(0)
    body = create_body("test_resnet")
    mean, std = input_scaling(body)
    config = NetworkConfig(
        encoder="test_resnet",
        feature_dim=feature_dim(body),
        vector_dim=32,
        mean=mean,
        std=std,
        classes=len(LABELS),
        classifier_hidden=(16, 16),
        decoder_channels=(16, 16, 8, 8, 8),
    )
    network = SemiSeNetwork(config, body).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # one pass in training mode is then all it takes to learn the pictures' statistics
    with torch.no_grad():
        network.unet(pixels.float().permute(0, 3, 1, 2), network.encoder(pixels).pyramid)
        network.eval()
        torch.nn.init.normal_(network.severity.last.weight, std=0.2)
        embedding = network.encoder(pixels).embedding
        network.projection.bias -= network.projection(embedding).mean(0)
        last = network.classifier[-1]
        logits = network.classifier(embedding)
        last.bias -= logits.mean(0)
        last.weight /= logits.std(0)[:, None]
        last.bias /= logits.std(0)
        network.unet.mask.bias -= UnetGraph(network)(pixels).mask_logits.median()
    return network.eval()


def write_run(root: Path) -> Path:
    """Writes images, manifest and a finished run folder below ``root``; returns the run."""
    run, rows = root / "run", []
    (root / "images").mkdir(parents=True)
    (run / "checkpoint").mkdir(parents=True)
    for index in range(IMAGES):
        name, level = f"images/{index:02d}.png", index % 3
        Image.fromarray(draw(index)).save(root / name)
        rows.append((name, level, LABELS[level], f"p{index}", ("train", "val", "test")[index // 12]))
    write_rows(root / "labels.csv", ("image", "severity", "label", "group"), [row[:4] for row in rows])
    write_rows(run / "split.csv", ("image", "severity", "label", "group", "split"), rows)
    config = {"name": "tiny", "method": "semise", "seed": 7, "data": {"manifest": str(root / "labels.csv")}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.jsonl").write_text("")
    write_checkpoint(run / "checkpoint", [root / row[0] for row in rows])
    return run


def write_rows(path: Path, head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])


def write_checkpoint(folder: Path, images: list[Path]) -> None:
    pixels = torch.from_numpy(np.stack([to_canvas(read_image(image), SPEC).pixels for image in images]))
    network = make_network(pixels)
    with torch.no_grad():
        vectors = EncoderGraph(network)(pixels[:12:3]).reference_vector.numpy()
    ReferenceBank(vectors).save(folder / "references.safetensors")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / "model.safetensors")
    (folder / "calibration.json").write_text("{}\n")
    model = ModelInfo(name="tiny", spec=SPEC, labels=LABELS, network=network.config)
    (folder / "model.json").write_text(json.dumps(model.to_json()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    """The run's bundle, exported for real; tests that change it copy it first."""
    return export_run(run)


@pytest.fixture(scope="module")
def images(run: Path) -> list[Path]:
    return TrainedRun.open(run).gate_images(12)


@pytest.fixture(scope="module")
def reference(run: Path, images: list[Path]) -> Answers:
    return torch_answers(run, images, reporter=SilentReporter())


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture
def graphs_of(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Damage]], None]:
    """Lets ``export_run`` write the graphs of the fixture's bundle, damaged, instead of exporting anew."""

    def install(damages: Mapping[str, Damage]) -> None:
        def export_graphs(_network: SemiSeNetwork, _spec: InputSpec, folder: Path) -> tuple[str, ...]:
            names = tuple(path.name for path in sorted(bundle.glob("*.onnx")))
            for name in names:
                shutil.copyfile(bundle / name, folder / name)
            damage_graphs(folder, damages)
            return names

        monkeypatch.setattr(assemble, "export_graphs", export_graphs)

    return install


def damage_graphs(folder: Path, damages: Mapping[str, Damage]) -> None:
    for name, damage in damages.items():
        model = onnx.load(folder / name)
        damage(model)
        onnx.save(model, folder / name)


def check_damaged(
    copy: Path, damages: Mapping[str, Damage], images: list[Path], reference: Answers, backend: str = "onnxruntime"
) -> ParityRow:
    damage_graphs(copy, damages)
    described = json.loads((copy / MANIFEST).read_text())
    graphs = {path.stem: graph_entry(path) for path in copy.glob("*.onnx")}
    write_manifest(copy, model=ModelInfo.from_json(described["model"]), graphs=graphs)
    return check_backend(
        copy, images, backend=backend, reference=reference, thresholds=ParityThresholds(), reporter=SilentReporter()
    )


def change(name: str, new: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Damage:
    """Returns a damage to the one weight whose name ends in ``name``."""

    def damage(model: onnx.ModelProto) -> None:
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith(name)]
        values = new(onnx.numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    return damage


def flip_block(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    weight[:8, :8] *= -1
    return weight


def swap_first_two(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows[[1, 0, 2]]


def freeze_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2


def mix_rows(model: onnx.ModelProto) -> None:
    """Takes the mean of the batch away from every embedding, as a BatchNorm left in training mode does."""
    graph = model.graph
    (node,) = [node for node in graph.node if "embedding" in node.output]
    node.output[list(node.output).index("embedding")] = "pooled"
    axes = onnx.numpy_helper.from_array(np.array([0], np.int64), "batch_axis")
    half = onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half")
    graph.initializer.extend([axes, half])
    position = list(graph.node).index(node) + 1
    added = [
        onnx.helper.make_node("ReduceMean", ["pooled", "batch_axis"], ["batch_mean"], keepdims=1),
        onnx.helper.make_node("Mul", ["batch_mean", "half"], ["half_mean"]),
        onnx.helper.make_node("Sub", ["pooled", "half_mean"], ["embedding"]),
    ]
    for offset, new in enumerate(added):
        graph.node.insert(position + offset, new)


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_fixture_can_show_a_damage(reference: Answers) -> None:
    assert np.diff(np.sort(reference.severity)).min() > 1e-4
    assert np.ptp(reference.severity) > 0.3
    assert len(set(reference.grades)) == 3
    assert 0.1 < np.mean([mask.unpack().mean() for mask in reference.masks]) < 0.9


def test_a_bundle_holds_what_the_architecture_lists_and_nothing_else(bundle: Path, run: Path) -> None:
    assert bundle == run / "bundle"
    golden = {f"golden/{name}" for name in (*PICTURES, "expected.json")}
    graphs = {"encoder.onnx", "classifier.onnx", "unet.onnx"}
    rest = {"manifest.json", "weights.safetensors", "references.safetensors", "MODEL_CARD.md"}
    rest |= {"calibration.json", "calibration.safetensors"}
    assert set(hashes(bundle)) == golden | graphs | rest
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []
    assert (bundle / "weights.safetensors").read_bytes() == (run / "checkpoint" / "model.safetensors").read_bytes()


def test_a_bundle_is_calibrated_on_images_that_nothing_was_trained_on(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        calibration = opened.calibration()
    assert calibration is not None
    assert calibration.source.startswith("part val of the run's split, which the heads and any temperature were chosen")
    assert not calibration.is_calibrated  # a dozen images
    card = (bundle / "MODEL_CARD.md").read_text()
    assert f"- gates: not calibrated: {calibration.images} images" in card


def test_every_backend_passed_on_the_held_out_images(bundle: Path) -> None:
    rows = Bundle.open(bundle).manifest.parity
    assert [row["backend"].partition(":")[0] for row in rows] == list(gate_backends(None))
    for row in rows:
        assert (row["passed"], row["images"], row["precision"]) == (True, 24, "fp32")
        assert (row["kendall_tau"], row["rank_displacement"], row["class_flips"]) == (1.0, 0, 0)
        assert row["dice"] > 0.999
        assert row["severity_error"] < 1e-5
        assert row["batch_independence"]["batches"] == [1, 2, 3, 16]
        assert row["batch_independence"]["severity_error"] < 1e-5


def test_provenance_says_where_the_model_comes_from(bundle: Path, run: Path) -> None:
    provenance = Bundle.open(bundle).manifest.provenance
    training, export = provenance["training"], provenance["export"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert training["config"] == {**config, "data": {**config["data"], "manifest": "labels.csv"}}
    assert str(run.parent) not in json.dumps(provenance)
    manifest = (run.parent / "labels.csv").read_bytes()
    assert training["data_manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    assert training["images"]["val"] == {"healthy": 4, "mild": 4, "severe": 4}
    assert (export["opset"], export["exporter"]) == (18, "torch.onnx.export(dynamo=True)")
    assert export["parity_thresholds"] == {"fp32": ParityThresholds().to_json()}
    assert provenance["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_the_graphs_share_the_encoders_weights(bundle: Path) -> None:
    weights = {}
    for name in ("encoder.onnx", "unet.onnx"):
        tensors = onnx.load(bundle / name).graph.initializer
        weights[name] = {onnx.numpy_helper.to_array(t).tobytes() for t in tensors if ".unet." not in t.name}
    big = {tensor for tensor in weights["encoder.onnx"] if len(tensor) > 1000}
    assert len(big) > 10
    assert big <= weights["unet.onnx"]


def test_the_model_card_states_facts(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "Research use only. Not for diagnostic use." in card
    assert "| mild | 4 | 4 | 4 |" in card
    assert "| seed | 7 |" in card
    assert "Not measured" in card
    assert "| onnxruntime:CPUExecutionProvider | fp32 | 1.000000 | 0 | 0 | 1.000000 |" in card


def test_golden_pictures_replay_on_every_backend(bundle: Path) -> None:
    for backend in (*gate_backends(None), "pytorch"):
        report = replay(bundle, backend=backend)
        assert report.passed
        assert report.pictures == len(PICTURES)
        assert set(report.errors) == {"severity", "probabilities", "area_fraction", "embedding"}


def test_golden_answers_tell_the_pictures_apart(bundle: Path) -> None:
    answers = json.loads((bundle / "golden" / "expected.json").read_text())["answers"]
    severities = [answer["severity"] for answer in answers]
    assert len(set(severities)) == len(severities) == len(PICTURES)
    assert all(len(answer["embedding"]) == 8 for answer in answers)
    with Predictor.open(bundle, backend="onnxruntime") as predictor:
        found = [row.severity for row in predictor.iter_severity([bundle / "golden" / name for name in PICTURES])]
    np.testing.assert_allclose(found, severities, atol=1e-5)


def test_a_damaged_graph_does_not_replay(copy: Path, images: list[Path], reference: Answers) -> None:
    check_damaged(copy, {"unet.onnx": change("projection.weight", flip_block)}, images, reference)
    report = replay(copy, backend="onnxruntime")
    assert {difference.quantity for difference in report.differences} == {"severity"}
    with pytest.raises(ParityError, match="the golden files replay otherwise on onnxruntime"):
        report.require_agreement()


def test_golden_pictures_are_of_every_kind_that_decides(bundle: Path) -> None:
    records = {name: read_image(bundle / "golden" / name) for name in PICTURES}
    assert {(record.pixels.ndim, record.bits) for record in records.values()} == {(3, 8), (2, 16)}
    assert (records["wide.png"].height, records["wide.png"].width) == (37, 151)


def test_progress_is_announced_as_it_comes(run: Path, images: list[Path]) -> None:
    class CountingReporter(SilentReporter):
        def __init__(self) -> None:
            self.counts: list[list[int]] = []

        def start(self, label: str, total: int) -> None:
            self.counts.append([total, 0])

        def step(self, note: str) -> None:
            self.counts[-1][1] += 1

    reporter = CountingReporter()
    torch_answers(run, images, reporter=reporter)
    assert reporter.counts == [[24, 24]]


def test_an_untouched_copy_passes(copy: Path, images: list[Path], reference: Answers) -> None:
    row = check_damaged(copy, {}, images, reference)
    assert row.passed
    assert row.agreement.images == len(images)


BOTH = ("encoder.onnx", "unet.onnx")


@pytest.mark.parametrize(
    ("damages", "said"),
    [
        (dict.fromkeys(BOTH, change("projection.weight", flip_block)), "severity error"),
        (dict.fromkeys(BOTH, change("encoder.mean", lambda mean: mean + 20)), "embedding error"),
        ({"encoder.onnx": change("projection.weight", flip_block)}, "between encoder.onnx and unet.onnx"),
        ({"classifier.onnx": change("classifier.5.weight", swap_first_two)}, "class flips"),
        ({"unet.onnx": change("unet.mask.bias", lambda bias: bias + 0.5)}, "Dice"),
        (dict.fromkeys(BOTH, mix_rows), "between batches of 1, 2, 3, 16"),
    ],
    ids=["flipped-block", "wrong-mean", "two-encoders", "swapped-grades", "shifted-mask", "rows-mixed"],
)
def test_the_gate_sees_a_damage(
    damages: Mapping[str, Damage], said: str, copy: Path, images: list[Path], reference: Answers
) -> None:
    row = check_damaged(copy, damages, images, reference)
    assert not row.passed
    assert any(said in reason for reason in row.reasons), row.reasons


def test_a_reference_vector_of_its_own_is_compared(copy: Path, images: list[Path], reference: Answers) -> None:
    def turn_round(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if "reference_vector" in node.output]
        node.op_type = "Neg"

    row = check_damaged(copy, {"encoder.onnx": turn_round}, images, reference)
    assert [reason for reason in row.reasons if "reference vector" in reason] == list(row.reasons) != []


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_frozen_batch_dimension_is_refused(backend: str, copy: Path, images: list[Path], reference: Answers) -> None:
    if backend not in gate_backends(None):
        pytest.skip(f"needs {backend}")
    with pytest.raises(ParityError, match=f"{backend} cannot run the exported graphs"):
        check_damaged(copy, dict.fromkeys(BOTH, freeze_batch), images, reference, backend)


def test_a_failing_export_leaves_the_old_bundle_as_it_was(
    run: Path, bundle: Path, graphs_of: Callable[[Mapping[str, Damage]], None]
) -> None:
    before = hashes(run)
    graphs_of(dict.fromkeys(BOTH, change("projection.weight", flip_block)))
    with pytest.raises(
        ParityError, match=r"onnxruntime:\w+ fp32 does not agree with torch: .* is (above|below)"
    ) as error:
        export_run(run, backends=["onnxruntime"], max_images=6)
    assert error.value.exit_code == 5
    assert hashes(run) == before


def test_exporting_again_gives_the_same_bundle_and_replaces_the_old(
    run: Path, copy: Path, graphs_of: Callable[[Mapping[str, Damage]], None], tmp_path: Path
) -> None:
    graphs_of({})
    out = tmp_path / "bundle"
    (out / "stale.md").write_text("of the old bundle")
    assert export_run(run, out=out, backends=["onnxruntime"], max_images=6, packed=True) == out
    again, first = hashes(out), hashes(run / "bundle")
    for name in ("manifest.json", "MODEL_CARD.md"):  # they hold the time and the figures of this export
        assert again.pop(name) != first.pop(name)
    assert again == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.semise"]
    with Bundle.open(tmp_path / "bundle.semise") as packed:
        assert packed.manifest.files == Bundle.open(out).manifest.files


def test_a_threshold_that_nothing_meets_fails_the_export(
    run: Path, graphs_of: Callable[[Mapping[str, Damage]], None], tmp_path: Path
) -> None:
    graphs_of({})
    with pytest.raises(ParityError, match=r"Kendall tau of the ranking 1 is below 1\.5"):
        export_run(
            run,
            out=tmp_path / "b",
            limits={**LIMITS, "fp32": ParityThresholds(kendall_tau=1.5)},
            backends=["onnxruntime"],
            max_images=4,
        )
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_never_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("x")
    with pytest.raises(ConfigError, match=r"a bundle, found 'thesis\.md' in "):
        export_run(run, out=tmp_path)
    with pytest.raises(ConfigError, match="expected --out to be a folder"):
        export_run(run, out=tmp_path / "thesis.md")
    assert (tmp_path / "thesis.md").read_text() == "x"


def test_missing_images_are_said_before_anything_is_exported(run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run, tmp_path / "run"))
    config = yaml.safe_load((moved / "config.yaml").read_text())
    config["data"]["manifest"] = str(tmp_path / "gone" / "labels.csv")
    (moved / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(DataError, match="found 24 of 24 missing") as error:
        export_run(moved)
    assert len(error.value.problems) == 24


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a finished run"):
        export_run(tmp_path)


def test_an_unknown_backend_is_refused(run: Path) -> None:
    with pytest.raises(BackendError, match="found 'tensorflow'"):
        export_run(run, backends=["tensorflow"])


def test_the_gate_needs_another_engine_than_torch() -> None:
    with pytest.raises(BackendError, match="found 'pytorch'"):
        gate_backends(["pytorch"])
