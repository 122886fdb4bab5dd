"""The predictor on a hand-written bundle whose every answer can be worked out on paper."""

import io
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from PIL import Image

from semise_export.graphs.onnx import graph_entry
from semise_sdk.bundle import Bundle, pack, write_manifest
from semise_sdk.errors import BackendError, BundleError, DataError, ReferenceImageError
from semise_sdk.images.record import NamedImage
from semise_sdk.inference.graphs import Graphs
from semise_sdk.predictor import Predictor
from semise_sdk.severity.ranks import ranked
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

SIDE = 16
# Every vector is the mean colour; the map looks at each quarter; the grade leans to red; the mask is where red is.
BODY = """
    floats = Cast<to = 1>(pixels)
    embedding = ReduceMean<keepdims = 0>(floats, sides)
    severity_vector = Identity(embedding)
    reference_vector = Identity(embedding)
    planes = Transpose<perm = [0, 3, 1, 2]>(floats)
    quarters = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(planes)
    severity_map_vectors = Transpose<perm = [0, 2, 3, 1]>(quarters)
"""
ENCODER_OUTPUTS = (
    "float[N,3] embedding, float[N,3] severity_vector, float[N,3] reference_vector, float[N,2,2,3] severity_map_vectors"
)
HEAD = '<ir_version: 8, opset_import: ["" : 18]>'
TEXTS = {
    "encoder": f"""{HEAD} encoder (uint8[N,16,16,3] pixels) => ({ENCODER_OUTPUTS})
        <int64[2] sides = {{1, 2}}> {{{BODY}}}""",
    "classifier": f"""{HEAD} classifier (float[N,3] embedding) => (float[N,2] logits)
        <float[3,2] weights = {{0, 0.02, 0, 0, 0.02, 0}}> {{ logits = MatMul(embedding, weights) }}""",
    "unet": f"""{HEAD} unet (uint8[N,16,16,3] pixels) => (float[N,16,16] mask_logits, {ENCODER_OUTPUTS})
        <int64[2] sides = {{1, 2}}, int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] axis = {{3}},
         float middle = {{100}}> {{
        {BODY}
        red = Slice(floats, zero, one, axis)
        red_plane = Squeeze(red, axis)
        mask_logits = Sub(red_plane, middle)
    }}""",
}  # fmt: skip
MODEL = ModelInfo(
    name="colour",
    spec=InputSpec(height=SIDE, width=SIDE, fit="stretch"),
    labels=("blue", "red"),
    network=NetworkConfig(
        encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=2, decoder_channels=(8,)
    ),
)
RED, BLUE, MAGENTA, GREEN = (200, 0, 0), (0, 0, 100), (90, 0, 90), (0, 50, 0)
# cosine distance to pure blue
EXPECTED = {"a_red.png": 1.0, "b_blue.png": 0.0, "c_magenta.png": 1 - np.sqrt(0.5), "sub/d_green.png": 1.0}


def save(path: Path, colour: tuple[int, ...], size: tuple[int, int] = (24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def make_bundle(folder: Path, names: tuple[str, ...] = ("encoder", "classifier", "unet")) -> Path:
    folder.mkdir()
    graphs = {}
    for name in names:
        model = onnx.parser.parse_model(TEXTS[name])
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        graphs[name] = graph_entry(folder / f"{name}.onnx")
    ReferenceBank(np.array([[0, 0, 2]], np.float32)).save(folder / "references.safetensors")
    write_manifest(folder, model=MODEL, graphs=graphs)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("toy") / "bundle")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, colour in zip(EXPECTED, (RED, BLUE, MAGENTA, GREEN), strict=True):
        save(folder / name, colour)
    (folder / "e_broken.png").write_bytes((folder / "a_red.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def predictor(bundle, request) -> Iterator[Predictor]:
    with Predictor.open(bundle, backend=request.param, workers=3) as opened:
        yield opened


@pytest.fixture
def fresh(bundle) -> Iterator[Predictor]:
    with Predictor.open(bundle, backend="onnxruntime", threads=2, workers=3) as opened:
        yield opened


def png(colour: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (24, 20), colour).save(stream, "PNG")
    return stream.getvalue()


def test_severity_is_the_cosine_distance_to_the_banks_direction(predictor, folder):
    ranking = predictor.rank(folder)
    assert [(row.rank, row.file) for row in ranking.rows] == [
        (1, "a_red.png"),
        (2, "sub/d_green.png"),
        (3, "c_magenta.png"),
        (4, "b_blue.png"),
        (None, "e_broken.png"),
    ]
    for row in ranking.rows[:-1]:
        assert row.severity == round(EXPECTED[row.file], 6)
    assert ranking.reference == "bundle"
    assert ranking.backend == predictor.backend
    assert ranking.backend in ("onnxruntime:CPUExecutionProvider", "openvino:CPU")


def test_a_file_that_cannot_be_read_is_one_row_and_its_neighbours_are_unaffected(predictor, folder):
    *_, last = predictor.rank(folder).rows
    assert (last.rank, last.severity, last.grade, last.status) == (None, None, None, "error")
    assert last.reason.startswith("truncated: ")
    for answers in (predictor.classify(folder), predictor.segment(folder), predictor.embed(folder)):
        assert [answer.status for answer in answers] == ["ok", "ok", "ok", "error", "ok"]
        assert answers[3].file == "e_broken.png"
    assert [answer.status for answer in predictor.analyze(folder)] == ["ok", "ok", "ok", "error", "ok"]


def test_an_image_without_a_direction_is_one_failed_row(predictor):
    black, red = predictor.iter_severity([np.zeros((8, 8, 3), np.uint8), png(RED)])
    assert (black.status, black.severity) == ("error", None)
    assert black.reason.startswith("no_answer: ")
    assert red.severity == 1.0


def test_a_missing_file_among_others_is_one_row(predictor, folder):
    answers = predictor.classify([folder / "a_red.png", folder / "gone.png", folder / "b_blue.png"])
    assert [answer.status for answer in answers] == ["ok", "error", "ok"]
    assert answers[1].reason.startswith("not_found: ")
    with pytest.raises(DataError, match="found nothing at"):
        predictor.classify(folder / "gone.png")


def test_grades_are_the_softmax_of_the_classifier(predictor, folder):
    red, blue, magenta, *_ = predictor.classify(folder)
    assert (red.label, blue.label) == ("red", "blue")
    assert red.probabilities == pytest.approx((1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4))), abs=1e-6)
    assert magenta.probabilities == pytest.approx((0.5, 0.5), abs=1e-6)
    assert [row.grade for row in predictor.rank(folder).rows][:1] == ["red"]


def test_masks_have_the_sources_size_and_find_what_is_red(predictor):
    pixels = np.zeros((40, 30, 3), np.uint8)
    pixels[:, 15:] = RED
    pixels[0, 0] = 255
    (answer,) = predictor.segment(pixels)
    assert answer.mask is not None
    assert answer.mask.shape == (40, 30)
    assert set(np.unique(answer.mask)) == {0, 255}
    assert answer.area_fraction == pytest.approx(0.5, abs=0.05)
    assert (answer.mask[:, 18:] == 255).all()
    assert (answer.mask[3:, :12] == 0).all()


def test_an_analysis_holds_all_of_it(predictor, folder):
    red, blue, *_ = predictor.analyze(folder)
    assert (red.severity, red.grade, red.area_fraction) == (1.0, "red", 1.0)
    assert red.mask is not None
    assert red.severity_map is not None
    assert red.mask.shape == red.severity_map.shape == (20, 24)
    np.testing.assert_allclose(red.severity_map, 1.0, atol=1e-6)
    assert blue.severity_map is not None
    np.testing.assert_allclose(blue.severity_map, 0.0, atol=1e-6)
    assert blue.area_fraction == 0.0


def test_an_analysis_leaves_out_what_is_not_asked_for(predictor, folder):
    (red, *_) = predictor.iter_analyze([folder / "a_red.png"], masks=False, maps=False)
    assert red.severity == 1.0
    assert red.mask is red.severity_map is red.area_fraction is None


def test_a_severity_map_shows_where_the_severity_is(predictor):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[...] = BLUE
    pixels[:16, :16] = RED
    (answer,) = predictor.analyze(pixels)
    assert answer.severity_map is not None
    assert answer.severity_map[1, 1] == pytest.approx(1.0, abs=0.02)
    assert answer.severity_map[-2, -2] == pytest.approx(0.0, abs=0.02)


def test_embeddings_are_the_encoders(predictor):
    (answer,) = predictor.embed(png(MAGENTA))
    assert answer.embedding is not None
    assert answer.embedding.dtype == np.float32
    np.testing.assert_allclose(answer.embedding, MAGENTA, rtol=1e-6)


def test_path_bytes_and_array_give_the_same(predictor, folder):
    path = folder / "c_magenta.png"
    with Image.open(path) as image:
        array = np.asarray(image)
    answers = list(predictor.iter_severity([path, path.read_bytes(), array, NamedImage("x", path)]))
    assert len({answer.severity for answer in answers}) == 1
    assert [answer.file for answer in answers] == [str(path), "bytes[1]", "array[2]", "x"]


@pytest.mark.parametrize(
    "reference",
    ["a_red.png", ["a_red.png"], ["a_red.png", "a_red.png"], "sub"],
    ids=["file", "list", "two", "folder"],
)
def test_severity_against_other_references(predictor, folder, reference):
    given = folder / reference if isinstance(reference, str) else [folder / name for name in reference]
    ranking = predictor.rank(folder, reference=given)
    severities = {row.file: row.severity for row in ranking.rows}
    if reference == "sub":
        assert severities["sub/d_green.png"] == 0.0
        assert severities["a_red.png"] == 1.0
        assert ranking.reference == str(given)
    else:
        assert severities["a_red.png"] == 0.0
        assert severities["b_blue.png"] == 1.0
        assert [row.file for row in ranking.rows if row.status == "ok"][-1] == "a_red.png"


def test_bytes_arrays_and_banks_are_references_too(predictor, folder):
    array = np.full((8, 8, 3), RED, np.uint8)
    bank = predictor.reference_bank(png(RED))
    expected = predictor.rank(folder, reference=folder / "a_red.png").rows
    for reference in (png(RED), array, bank, iter([png(RED)])):
        assert predictor.rank(folder, reference=reference).rows == expected
    assert predictor.rank(folder, reference=bank).reference == "bank of 1"
    assert predictor.reference_bank(bank) is bank


def test_an_unusable_reference_is_said_by_name(predictor, folder, tmp_path):
    with pytest.raises(ReferenceImageError, match=r"found e_broken\.png unusable: truncated"):
        predictor.rank(folder, reference=folder / "e_broken.png")
    with pytest.raises(ReferenceImageError, match="e_broken"):
        predictor.rank(folder, reference=folder)
    with pytest.raises(ReferenceImageError, match="expected at least one healthy reference image"):
        predictor.rank(folder, reference=tmp_path)
    with pytest.raises(ReferenceImageError, match="no_answer"):
        predictor.rank(folder, reference=np.zeros((8, 8), np.uint8))
    with pytest.raises(ReferenceImageError, match="at least one"):
        predictor.rank(folder, reference=[])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_the_batch_size_changes_nothing(bundle, folder, predictor, batch_size):
    name = predictor.backend.split(":")[0]
    with Predictor.open(bundle, backend=name, batch_size=batch_size) as other:
        assert other.rank(folder).rows == predictor.rank(folder).rows
        assert other.classify(folder) == predictor.classify(folder)


def test_intervals_and_ties_are_the_same_by_every_way_to_them(bundle, folder, predictor):
    references = [folder / "b_blue.png", folder / "c_magenta.png"]
    rows = predictor.rank(folder, reference=references).rows
    assert all(row.severity_low <= row.severity <= row.severity_high for row in rows[:-1])
    assert rows[0].severity_low == rows[0].severity_high == 1.0  # green is at a right angle to every resample
    assert rows[1].severity_low < rows[1].severity_high
    assert (rows[-1].severity_low, rows[-1].severity_high, rows[-1].tie) == (None, None, None)
    # from magenta alone, red and blue lie equally far, so that of the bank's two images one does not tell them apart
    assert [(row.file, row.tie) for row in rows[1:-1]] == [("a_red.png", 2), ("b_blue.png", 2), ("c_magenta.png", 4)]
    assert ranked(answer.to_severity() for answer in predictor.iter_analyze(folder, reference=references)) == rows
    with Predictor.open(bundle, backend="onnxruntime", batch_size=1) as other:
        assert other.rank(folder, reference=references).rows == rows


def test_streams_take_their_input_lazily(predictor):
    taken = []

    def source():
        for index in itertools.count():
            taken.append(index)
            yield png(RED)

    stream = predictor.iter_severity(source())
    assert next(stream).severity == 1.0
    assert len(taken) < 200
    stream.close()


def test_nothing_in_nothing_out(predictor, tmp_path):
    assert predictor.rank(tmp_path).rows == ()
    assert predictor.classify([]) == []


def test_sixteen_threads_get_exactly_what_one_gets(predictor, folder):
    images = [folder / name for name in EXPECTED] * 5 + [folder / "e_broken.png"]
    rotations = [images[shift:] + images[:shift] for shift in range(16)]
    expected = [predictor.rank(rotation, reference=folder / "c_magenta.png").rows for rotation in rotations]
    masks = [answer.mask for answer in predictor.segment(images)]
    wrong: list[str] = []

    def work(shift: int) -> None:
        for _ in range(3):
            if predictor.rank(rotations[shift], reference=folder / "c_magenta.png").rows != expected[shift]:
                wrong.append(f"rank {shift}")
            found = [answer.mask for answer in predictor.segment(images)]
            if not all(np.array_equal(one, other) for one, other in zip(found, masks, strict=True)):
                wrong.append(f"segment {shift}")

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_only_the_graphs_that_are_needed_are_loaded(fresh, folder):
    assert fresh._graphs.any_opened() is None
    fresh.embed(folder)
    assert set(fresh._graphs._opened) == {"encoder"}
    fresh.rank(folder)
    assert set(fresh._graphs._opened) == {"encoder", "classifier"}
    fresh.segment(folder)
    assert set(fresh._graphs._opened) == {"encoder", "classifier", "unet"}


def test_closing_leaves_no_thread_and_no_file(bundle, folder, tmp_path):
    pack(bundle, tmp_path / "toy.semise")
    before = set(threading.enumerate())
    predictor = Predictor.open(tmp_path / "toy.semise", backend="onnxruntime")
    unpacked = predictor._source.folder
    assert predictor.rank(folder).rows[0].file == "a_red.png"
    predictor.close()
    predictor.close()
    assert set(threading.enumerate()) == before
    assert not unpacked.exists()
    with pytest.raises(BackendError, match="found it closed"):
        predictor.rank(folder)


def test_closing_during_a_stream_ends_it_with_a_clean_error(fresh):
    stream = fresh.iter_severity(png(RED) for _ in itertools.count())
    assert next(stream).severity == 1.0
    fresh.close()
    with pytest.raises(BackendError, match="found it closed"):
        list(itertools.islice(stream, 100_000))


def test_closing_while_other_threads_work_never_hangs(bundle, folder):
    predictor = Predictor.open(bundle, backend="onnxruntime")
    outcomes: list[str] = []

    def work() -> None:
        try:
            while True:
                predictor.rank(folder)
        except BackendError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    predictor.close()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(outcomes) == 8
    assert all("found it closed" in outcome for outcome in outcomes)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_refused_with_a_clear_error(fresh, folder):
    fresh.rank(folder)
    child = os.fork()
    if child == 0:  # pragma: no cover
        code = 1
        try:
            fresh.rank(folder)
        except BackendError as error:
            code = 0 if "open the predictor again" in str(error) else 2
        fresh.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fresh.rank(folder).rows[0].file == "a_red.png"


def test_a_model_without_a_part_says_how_to_get_it(tmp_path, folder):
    plain = ModelInfo(
        name="plain",
        spec=MODEL.spec,
        labels=MODEL.labels,
        network=NetworkConfig(encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0),
    )
    source = make_bundle(tmp_path / "bundle")
    for name in ("classifier.onnx", "unet.onnx"):
        (source / name).unlink()
    entry = Bundle.open(make_bundle(tmp_path / "whole")).manifest.graphs["encoder"]
    write_manifest(source, model=plain, graphs={"encoder": entry})
    with Predictor.open(source, backend="onnxruntime") as predictor:
        with pytest.raises(BundleError, match="expected a model with a classifier"):
            predictor.iter_classify(folder)
        with pytest.raises(BundleError, match="expected a model with a U-Net"):
            predictor.iter_segment(folder)
        assert predictor.rank(folder).rows[0].grade is None
        (analysis, *_) = predictor.analyze(folder)
        assert (analysis.grade, analysis.probabilities, analysis.mask) == (None, (), None)
        assert analysis.severity_map is not None


def test_what_cannot_be_used_is_refused_when_opening(bundle):
    with pytest.raises(BackendError, match="expected backend auto"):
        Predictor.open(bundle, backend="tflite")
    with pytest.raises(BackendError, match="expected device auto"):
        Predictor.open(bundle, device="tpu")
    with pytest.raises(BackendError, match="device cpu for OpenVINO"):
        Predictor.open(bundle, backend="openvino", device="cuda")
    with pytest.raises(ValueError, match="at least 1"):
        Predictor.open(bundle, batch_size=0)


def test_the_pytorch_backend_needs_weights_in_the_bundle(bundle, folder):
    with Predictor.open(bundle, backend="pytorch") as predictor, pytest.raises(BackendError, match="expected weights"):
        predictor.rank(folder)


class FakeBackend:
    """Answers with the first pixel; counts how many rows it saw."""

    name = "fake"
    provider = "none"
    concurrency = 2
    batch_size = 4

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, inputs):
        colours = inputs["pixels"][:, 0, 0].astype(np.float32) if "pixels" in inputs else inputs["embedding"]
        self.rows.append(len(colours))
        if "embedding" in inputs:
            return {"logits": colours[:, :2]}
        places = np.repeat(np.repeat(colours[:, None, None], 2, axis=1), 2, axis=2)
        return {
            "embedding": colours,
            "severity_vector": colours,
            "reference_vector": colours,
            "severity_map_vectors": places,
        }

    def close(self) -> None:
        self.rows.append(-1)


def test_any_backend_can_be_handed_in(bundle):
    backend = FakeBackend()
    with Predictor(Bundle.open(bundle), Graphs(lambda name: backend), workers=2) as predictor:
        assert predictor.backend == "fake:none"
        rows = predictor.rank([np.full((4, 4, 3), BLUE, np.uint8)] * 10).rows
        assert [row.severity for row in rows] == [0.0] * 10
    assert max(backend.rows) == 4
    assert backend.rows[-1] == -1


def test_numbers_that_are_not_finite_fail_their_own_row_only(bundle):
    class Sick(FakeBackend):
        def run(self, inputs):
            outputs = super().run(inputs)
            for values in outputs.values():
                values[inputs.get("pixels", values).reshape(len(values), -1).max(axis=1) == 7] = np.nan
            return outputs

    sevens = np.full((4, 4, 3), 7, np.uint8)
    blue = np.full((4, 4, 3), BLUE, np.uint8)
    with Predictor(Bundle.open(bundle), Graphs(lambda name: Sick()), workers=2) as predictor:
        answers = list(predictor.iter_severity([blue, sevens, blue]))
    assert [answer.status for answer in answers] == ["ok", "error", "ok"]
    assert answers[1].reason.startswith("no_answer: ")


@pytest.mark.real_images
def test_a_real_folder_has_a_row_per_file_and_the_reference_is_at_zero(predictor, packs):
    images = packs / "busi" / "images"
    ranking = predictor.rank(images, reference=images / "normal_002.jpg")
    assert sorted(row.file for row in ranking.rows) == sorted(path.name for path in images.iterdir())
    assert [row.rank for row in ranking.rows] == list(range(1, 781))
    severities = {row.file: row.severity for row in ranking.rows}
    assert severities["normal_002.jpg"] == 0.0
    assert list(severities.values()) == sorted(severities.values(), reverse=True)
    assert max(severities.values()) > 0


@pytest.mark.real_images
def test_odd_and_damaged_files_have_a_row_each(predictor, packs):
    folder = packs / "robustness" / "pillow_tests"
    answers = list(predictor.iter_analyze(folder))
    assert len(answers) == sum(1 for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    for answer in answers:
        assert (answer.status == "ok") == (answer.reason == "")
        if answer.status == "ok":
            assert answer.mask is not None
            assert answer.severity is not None
            assert 0 <= answer.severity <= 2
