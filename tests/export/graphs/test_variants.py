"""A bundle in every precision, end to end: written, gated, replayed, kept, and refused where a variant is damaged."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from semise_export import assemble
from semise_export.assemble import export_run
from semise_export.gate.parity import check_backend, gate_backends, torch_answers
from semise_export.graphs import variants
from semise_export.graphs.onnx import graph_entry
from semise_export.graphs.quantize import first_layer, layer_names, parts_of, unquantized_layers
from semise_export.graphs.variants import canvases
from semise_export.limits import LIMITS, ParityThresholds
from semise_export.run import TrainedRun
from semise_sdk.bundle import Bundle, write_manifest
from semise_sdk.errors import BackendError, DataError, ParityError
from semise_sdk.predictor import Predictor
from semise_sdk.spec import PRECISIONS
from semise_sdk.system.progress import SilentReporter
from semise_sdk.workflows.verify import replay, replay_all

NAMES = ("encoder", "classifier", "unet")
BOTH = ("encoder", "unet")
RUNS_IN = [
    ("onnxruntime", "fp32"), ("openvino", "fp32"),
    ("onnxruntime", "fp16"), ("openvino", "fp16"),
    ("openvino", "bf16"),
    ("onnxruntime", "int8"), ("openvino", "int8"),
]  # fmt: skip

Damage = Callable[[onnx.ModelProto], None]


@pytest.fixture(autouse=True)
def _both_runtimes():
    if gate_backends(None) != ("onnxruntime", "openvino"):
        pytest.skip("needs onnxruntime and openvino, and no GPU")


@pytest.fixture(scope="module")
def images(tiny_run) -> list[Path]:
    return TrainedRun.open(tiny_run).gate_images(8)


@pytest.fixture(scope="module")
def reference(tiny_run, images):
    return torch_answers(tiny_run, images, reporter=SilentReporter())


@pytest.fixture
def quickly(every_precision, monkeypatch) -> None:
    """Lets ``export_run`` take the fp32 graphs of the fixture's bundle instead of exporting anew."""

    def export_graphs(_network, _spec, folder: Path) -> tuple[str, ...]:
        for name in NAMES:
            shutil.copyfile(every_precision / f"{name}.onnx", folder / f"{name}.onnx")
        return tuple(f"{name}.onnx" for name in NAMES)

    monkeypatch.setattr(assemble, "export_graphs", export_graphs)


def openvino_has_bf16() -> bool:
    """Returns whether OpenVINO computes in bf16 on this CPU; without the instructions it may compute in fp32."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_manifest_names_a_graph_of_each_kind_in_each_precision(every_precision):
    with Bundle.open(every_precision) as bundle:
        graphs = bundle.manifest.graphs
        assert bundle.precisions == PRECISIONS
    expected = {name if p == "fp32" else f"{name}_{p}": (name, p) for p in PRECISIONS for name in NAMES}
    assert {key: graph.precision for key, graph in graphs.items()} == {key: p for key, (_, p) in expected.items()}
    for key, (name, precision) in expected.items():
        # bf16 is a way to compute the fp32 graphs
        assert graphs[key].file == (f"{name}.onnx" if precision in ("fp32", "bf16") else f"{key}.onnx")
        assert (graphs[key].inputs, graphs[key].outputs) == (graphs[name].inputs, graphs[name].outputs)


def test_the_folder_holds_no_more_than_the_manifest_says(every_precision):
    with Bundle.open(every_precision) as bundle:
        listed = set(bundle.manifest.files)
    assert set(hashes(every_precision)) == listed | {"manifest.json"}
    golden = {name for name in listed if name.startswith("golden/expected")}
    assert golden == {"golden/expected.json", *(f"golden/expected_{p}.json" for p in ("fp16", "bf16", "int8"))}
    sizes = {name: (every_precision / name).stat().st_size for name in listed}
    assert sizes["unet_fp16.onnx"] < 0.6 * sizes["unet.onnx"]
    assert sizes["unet_int8.onnx"] < 0.5 * sizes["unet.onnx"]


def test_every_backend_passed_the_gate_in_every_precision_it_computes_in(every_precision, limits):
    with Bundle.open(every_precision) as bundle:
        rows, export = bundle.manifest.parity, bundle.manifest.provenance["export"]
    assert [(row["backend"].partition(":")[0], row["precision"]) for row in rows] == RUNS_IN
    for row in rows:
        assert (row["passed"], row["reasons"], row["images"]) == (True, [], 24)
        assert row["batch_independence"]["batches"] == [1, 2, 3, 16]
        assert row["batch_independence"]["graph_error"] <= limits[row["precision"]].batch_error
        assert row["task_c_index_torch"] == rows[0]["task_c_index_torch"]
    errors = {(row["backend"].partition(":")[0], row["precision"]): row["severity_error"] for row in rows}
    for backend in ("onnxruntime", "openvino"):  # each really computed in fewer bits
        assert errors[backend, "fp32"] < errors[backend, "fp16"] < errors[backend, "int8"]
    assert export["parity_thresholds"] == {p: limits[p].to_json() for p in PRECISIONS}


def test_openvino_computes_bf16_in_fewer_bits(every_precision):
    if not openvino_has_bf16():
        pytest.skip("needs a CPU with bf16")
    with Bundle.open(every_precision) as bundle:
        rows = bundle.manifest.parity
    errors = {row["precision"]: row["severity_error"] for row in rows if row["backend"].startswith("openvino")}
    assert errors["fp32"] < errors["bf16"]


def test_fp16_and_fp32_passed_the_default_limits(limits):
    assert (limits["fp32"], limits["fp16"]) == (LIMITS["fp32"], LIMITS["fp16"])


def test_the_manifest_says_how_int8_came_about(every_precision, tiny_run):
    with Bundle.open(every_precision) as bundle:
        notes = bundle.manifest.provenance["export"]["precisions"]
        versions = bundle.manifest.provenance["versions"]
    assert set(notes) == {"int8"}
    run = TrainedRun.open(tiny_run)
    assert notes["int8"]["calibration_images"] == len(run.images("train"))
    assert notes["int8"]["validation_images"] == len(run.images("val"))
    assert "nncf" in notes["int8"]["quantiser"]
    assert "nncf" in versions
    assert 0 <= notes["int8"]["limit_used_on_validation"] <= 0.8
    graph = onnx.load(every_precision / "unet_int8.onnx")
    kept = notes["int8"]["parts_in_fp32"]
    original = onnx.load(every_precision / "unet.onnx")
    assert kept[0] == first_layer(original)
    assert set(notes["int8"]["multiplications_in_8_bits"]) == {"unet", "encoder"}
    assert all(0.3 < share < 1 for share in notes["int8"]["multiplications_in_8_bits"].values())
    assert set(kept) <= set(parts_of(original))
    assert set(kept) & set(layer_names(original)) == set(unquantized_layers(graph))
    assert len(kept) < len(layer_names(original)) / 2


@pytest.mark.parametrize(("backend", "precision"), RUNS_IN)
def test_images_are_ranked_in_every_precision(every_precision, images, reference, limits, backend, precision):
    with Predictor.open(every_precision, backend=backend, precision=precision) as predictor:
        ranking = predictor.rank(images)
    assert ranking.precision == precision
    assert ranking.backend.startswith(f"{backend}:")
    found = {row.file: row.severity for row in ranking.rows}
    severities = [found[str(image)] if str(image) in found else found[image.name] for image in images]
    np.testing.assert_allclose(severities, reference.severity, atol=limits[precision].severity_error)
    assert max(severities) > min(severities)


def test_bf16_on_onnxruntime_is_refused_in_one_sentence(every_precision, images):
    with (
        pytest.raises(BackendError, match=r"expected precision fp32, fp16, int8 .* found bf16: choose") as error,
        Predictor.open(every_precision, backend="onnxruntime", precision="bf16") as predictor,
    ):
        predictor.rank(images)
    assert "\n" not in str(error.value)


def test_an_export_in_a_precision_that_no_chosen_backend_computes_in_is_one_sentence(tiny_run, quickly, tmp_path):
    with pytest.raises(BackendError, match="expected a backend that computes in bf16, found onnxruntime: pip install"):
        export_run(tiny_run, out=tmp_path / "b", precisions=["bf16"], backends=["onnxruntime"], max_images=4)
    assert list(tmp_path.iterdir()) == []


def test_golden_pictures_replay_in_every_precision(every_precision):
    reports, _ = replay_all(every_precision)
    assert all(report.passed for report in reports), [report.differences for report in reports]
    ran = {(report.backend.partition(":")[0], report.precision) for report in reports}
    assert ran == {*RUNS_IN, ("pytorch", "fp32")}


def test_golden_answers_of_a_variant_are_its_own(every_precision):
    answers = {
        p: json.loads((every_precision / "golden" / name).read_text())
        for p, name in {"fp32": "expected.json", "int8": "expected_int8.json"}.items()
    }
    assert answers["int8"]["answered_by"] == "onnxruntime, int8"
    assert answers["int8"]["answers"] != answers["fp32"]["answers"]
    for quantity, tolerance in answers["fp32"]["tolerance"].items():
        assert answers["int8"]["tolerance"][quantity] >= 9 * tolerance
        assert answers["int8"]["tolerance"][quantity] < 1


def test_a_damaged_variant_does_not_replay(every_precision, tmp_path):
    folder = damaged(every_precision, tmp_path, "fp16", dict.fromkeys(BOTH, flip_block))
    report = replay(folder, backend="onnxruntime", precision="fp16")
    assert "severity" in {difference.quantity for difference in report.differences}
    with pytest.raises(ParityError, match="replay otherwise on onnxruntime:CPUExecutionProvider in fp16"):
        report.require_agreement()
    assert replay(folder, backend="onnxruntime").passed


def test_a_second_export_keeps_the_precisions_that_stand_there(every_precision, tiny_run, quickly, tmp_path):
    out = Path(shutil.copytree(every_precision, tmp_path / "bundle"))
    with Bundle.open(every_precision) as bundle:
        graphs = {key: graph for key, graph in bundle.manifest.graphs.items() if graph.precision in ("fp32", "fp16")}
        write_manifest(out, model=bundle.model, graphs=graphs)
    export_run(tiny_run, out=out, precisions=["bf16"], backends=["openvino"], max_images=2)
    with Bundle.open(out) as bundle:
        assert bundle.precisions == ("fp32", "fp16", "bf16")
        assert [row["precision"] for row in bundle.manifest.parity] == ["fp32", "fp16", "bf16"]
    assert not list(out.glob("*int8*"))


def test_a_second_export_drops_the_precisions_of_other_weights(tiny_run, quickly, tmp_path):
    run, out = Path(shutil.copytree(tiny_run, tmp_path / "run")), tmp_path / "bundle"
    export_run(run, out=out, precisions=["fp16"], backends=["onnxruntime"], max_images=4)
    weights = run / "checkpoint" / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"trained": "again"})  # another file of the same answers
    export_run(run, out=out, backends=["onnxruntime"], max_images=4)
    with Bundle.open(out) as bundle:
        assert bundle.precisions == ("fp32",)
    assert not list(out.glob("*fp16*"))


def test_a_failing_variant_leaves_the_old_bundle_as_it_was(tiny_run, quickly, tmp_path):
    out = tmp_path / "bundle"
    export_run(tiny_run, out=out, backends=["onnxruntime"], max_images=4)
    before = hashes(tmp_path)
    impossible = LIMITS | {"fp16": ParityThresholds(kendall_tau=1.5)}
    with pytest.raises(
        ParityError, match=r"onnxruntime:\w+ fp16 does not agree with torch: .* is below 1\.5.*; nothing was written"
    ) as error:
        export_run(tiny_run, out=out, precisions=["fp16"], limits=impossible, backends=["onnxruntime"], max_images=4)
    assert error.value.exit_code == 5
    assert hashes(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def flip_block(model: onnx.ModelProto) -> None:
    """Turns the sign of a block of the projection's weights, wherever its precision keeps them."""
    tensor = next(t for t in model.graph.initializer if ".projection.weight" in t.name and len(t.dims) == 2)
    values = numpy_helper.to_array(tensor).copy()
    values[:16, :48] *= -1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def shift_mean(model: onnx.ModelProto) -> None:
    (tensor,) = [t for t in model.graph.initializer if t.name.endswith("encoder.mean")]
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((values + 40).astype(values.dtype), tensor.name))


def freeze_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2


def damaged(bundle: Path, place: Path, precision: str, damages: dict[str, Damage]) -> Path:
    """Returns a copy of the bundle with graphs of one precision damaged, and a manifest that says nothing of it."""
    folder = Path(shutil.copytree(bundle, place / "damaged"))
    with Bundle.open(bundle) as opened:
        graphs, model = dict(opened.manifest.graphs), opened.model
    for name, damage in damages.items():
        path = folder / f"{name}_{precision}.onnx"
        graph = onnx.load(path)
        damage(graph)
        onnx.save(graph, path)
        graphs[path.stem] = graph_entry(path, precision=precision)
    write_manifest(folder, model=model, graphs=graphs)
    return folder


@pytest.fixture(params=["fp16", "int8"])
def gate(request, every_precision, images, reference, limits, tmp_path):
    """Returns what the gate says of a variant with damaged encoders, or without damage."""

    def run(*damages: Damage, backend: str = "onnxruntime"):
        folder = damaged(every_precision, tmp_path, request.param, {n: d for d in damages for n in BOTH})
        return check_backend(
            folder,
            images,
            backend=backend,
            precision=request.param,
            reference=reference,
            thresholds=limits[request.param],
            reporter=SilentReporter(),
        )

    return run


def test_a_flipped_weight_block_of_a_variant_is_refused(gate):
    reasons = gate(flip_block).reasons
    assert any("ranking" in reason or "severity error" in reason for reason in reasons), reasons


def test_a_wrong_mean_of_a_variant_is_refused(gate):
    reasons = gate(shift_mean).reasons
    assert any("embedding error" in reason or "ranking" in reason for reason in reasons), reasons


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_frozen_batch_dimension_of_a_variant_is_refused(gate, backend):
    with pytest.raises(ParityError, match=f"{backend} cannot run the exported graphs: .*; nothing was written"):
        gate(freeze_batch, backend=backend)


def test_without_damage_the_variant_passes(gate):
    assert gate().reasons == ()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_block, r"onnxruntime:\w+ fp16 does not agree with torch"),
        (shift_mean, r"onnxruntime:\w+ fp16 does not agree with torch"),
        (freeze_batch, r"_fp16\.onnx: expected \w+ \[batch, fixed sizes\], found \[2, "),
    ],
    ids=["flipped-block", "wrong-mean", "frozen-batch"],
)
def test_an_export_whose_variant_came_out_damaged_writes_nothing(
    tiny_run, quickly, tmp_path, monkeypatch, damage, said
):
    half_graph = variants.half_graph

    def damaged_half(content: bytes, name: str) -> bytes:
        model = onnx.load_from_string(half_graph(content, name))
        if "classifier" not in name:
            damage(model)
        return model.SerializeToString()

    monkeypatch.setattr(variants, "half_graph", damaged_half)
    with pytest.raises(ParityError, match=said) as error:
        export_run(tiny_run, out=tmp_path / "b", precisions=["fp16"], backends=["onnxruntime"], max_images=8)
    assert error.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def fewest(used_by_count: dict[int, float], most: int) -> tuple[tuple[int, float], list[int]]:
    """Returns what the search finds where so many parts in fp32 use up so much of the limit, and what it tried."""
    tried = []

    def attempt(count: int) -> tuple[int, float]:
        tried.append(count)
        return count, used_by_count[count]

    count, found = variants._fewest(attempt, most)
    assert found[0] == count
    return found, tried


@pytest.mark.parametrize("needed", range(1, 20))
def test_the_fewest_parts_that_are_within_the_limit_are_found_in_few_attempts(needed):
    found, tried = fewest({count: 0.7 if count >= needed else 3.0 for count in range(1, 21)}, 20)
    assert found == (needed, 0.7)
    assert len(tried) <= 5
    assert 20 not in tried  # that graph would be fp32


def test_int8_keeps_a_part_of_the_limit_for_images_it_has_not_seen():
    assert fewest({1: 0.81, 2: 0.8, 3: 0.1, 4: 0.0}, 4)[0] == (2, 0.8)


def test_an_encoder_that_bears_no_int8_is_one_sentence():
    with pytest.raises(ParityError, match="found none with fewer than 9 parts in fp32: use fp16 or bf16") as error:
        fewest(dict.fromkeys(range(1, 10), 2.0), 9)
    assert "\n" not in str(error.value)


def test_training_images_that_are_gone_are_one_sentence(tiny_run, tmp_path):
    spec = TrainedRun.open(tiny_run).model.spec
    with pytest.raises(DataError, match="found none: train with both"):
        canvases([], spec)
    with pytest.raises(DataError, match=r"found .*gone\.png missing: make the data available"):
        canvases([tmp_path / "gone.png"], spec)
