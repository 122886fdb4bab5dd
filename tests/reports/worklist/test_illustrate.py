import logging
from collections import Counter

import numpy as np
import onnx.parser
import pytest
from PIL import Image

from semise_export.graphs.onnx import graph_entry
from semise_sdk.bundle import write_manifest
from semise_sdk.images.preprocess import display_pixels
from semise_sdk.images.readers import read_image
from semise_sdk.images.record import NamedImage
from semise_sdk.predictor import Predictor
from semise_sdk.reports.worklist import Illustrator, Places
from semise_sdk.reports.worklist import illustrate as module
from semise_sdk.reports.worklist.pictures import NO_PICTURES, draw
from semise_sdk.results import RankedImage, Severity
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

# Severity is the angle of the mean colour to blue; the mask is where red is above 100.
GRAPH = """<ir_version: 8, opset_import: ["" : 18]> {name} (uint8[N,16,16,3] pixels) => ({mask} float[N,3] embedding,
    float[N,3] severity_vector, float[N,3] reference_vector, float[N,1,1,3] severity_map_vectors)
    <int64[2] sides = {{1, 2}}, int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] axis = {{3}},
     float middle = {{100}}> {{
    floats = Cast<to = 1>(pixels)
    embedding = ReduceMean<keepdims = 0>(floats, sides)
    severity_vector = Identity(embedding)
    reference_vector = Identity(embedding)
    severity_map_vectors = ReduceMean<keepdims = 1>(floats, sides)
    {body} }}"""
MASK = """red = Slice(floats, zero, one, axis)
    red_plane = Squeeze(red, axis)
    mask_logits = Sub(red_plane, middle)"""
NETWORK = NetworkConfig(
    encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0, decoder_channels=(8,)
)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'semise-sdk[cpu]'")
    folder = tmp_path_factory.mktemp("toy")
    graphs = {}
    for name, mask, body in (("encoder", "", ""), ("unet", "float[N,16,16] mask_logits,", MASK)):
        model = onnx.parser.parse_model(GRAPH.format(name=name, mask=mask, body=body))
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        graphs[name] = graph_entry(folder / f"{name}.onnx")
    ReferenceBank(np.array([[0, 0, 2], [9, 0, 0]], np.float32)).save(folder / "references.safetensors")
    info = ModelInfo(name="toy", spec=InputSpec(height=16, width=16), labels=("blue", "red"), network=NETWORK)
    write_manifest(folder, model=info, graphs=graphs)
    with Predictor.open(folder, backend="onnxruntime", device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for place in range(5):
        pixels = np.random.default_rng(place).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return folder


def row_of(file: str, severity: float | None = 0.5, status: str = "ok", reason: str = "") -> RankedImage:
    return RankedImage(rank=1, file=file, severity=severity, grade=None, status=status, reason=reason)


def test_each_row_gets_the_pictures_of_its_own_image_in_order(predictor, images):
    rows = [row_of(f"{place}.png") for place in (3, 1, 4, 0, 2)]
    bank = predictor.reference_bank(images / "0.png")
    drawn = list(Illustrator(predictor, lambda row: images / row.file, bank=bank)(rows))
    for row, found in zip(rows, drawn, strict=True):
        record = read_image(images / row.file)
        (analysis,) = predictor.analyze(images / row.file, reference=bank)
        assert found == draw(display_pixels(record, predictor.model.spec), analysis)
        assert found.mask
        assert found.severity_map
        assert found.reference == analysis.nearest_reference == 0


def test_rows_that_have_no_image_keep_their_place(predictor, images, caplog):
    rows = [row_of("0.png"), row_of("torn", None, "error"), row_of("gone.png"), row_of("unknown"), row_of("1.png")]

    def place(row):
        return None if row.file == "unknown" else images / row.file

    with caplog.at_level(logging.WARNING):
        drawn = list(Illustrator(predictor, place, bank=predictor.reference_bank())(rows))
    assert [found == NO_PICTURES for found in drawn] == [False, True, True, True, False]
    assert "no picture in the worklist" in caplog.text


def test_an_image_that_is_too_large_to_draw_costs_its_picture_only(predictor, images):
    def display(path):
        if path.name == "1.png":
            raise MemoryError
        return predictor.display(path)

    rows = [row_of("0.png"), row_of("1.png"), row_of("2.png")]
    place = lambda row: images / row.file  # noqa: E731
    drawn = list(Illustrator(predictor, place, bank=predictor.reference_bank(), display=display)(rows))
    assert [bool(found.image) for found in drawn] == [True, False, True]


def test_beyond_the_budget_rows_have_thumbnails_and_are_not_analyzed(predictor, images, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 2)
    place = lambda row: images / row.file  # noqa: E731
    bank = predictor.reference_bank()
    rows = [row_of(f"{place}.png") for place in range(5)]
    weights = [found.detail_bytes for found in Illustrator(predictor, place, bank=bank)(rows)]
    analyzed = Counter()
    original = predictor.iter_analyze

    def counting(found, **options):
        analyzed.update(image.file for image in found)
        return original(found, **options)

    monkeypatch.setattr(predictor, "iter_analyze", counting)
    illustrator = Illustrator(predictor, place, bank=bank, budget=weights[0] + 1)
    for _ in range(2):  # a budget is a page's, so that a second page has one of its own
        drawn = list(illustrator(rows))
        assert [bool(found.image) for found in drawn] == [True, False, False, False, False]
        assert all(found.thumbnail for found in drawn)
    assert analyzed == {"0.png": 2, "1.png": 2}


def test_a_budget_of_nothing_is_thumbnails(predictor, images):
    drawn = Illustrator(predictor, lambda row: images / row.file, bank=predictor.reference_bank(), budget=0)
    assert [(bool(f.thumbnail), f.detail_bytes) for f in drawn([row_of("0.png")])] == [(True, 0)]


def test_a_page_that_is_left_early_leaves_no_thread_behind(predictor, images):
    import threading

    before = {thread.name for thread in threading.enumerate()}
    drawing = Illustrator(predictor, lambda row: images / row.file, bank=predictor.reference_bank())
    stream = drawing([row_of(f"{place}.png") for place in range(5)])
    next(stream)
    stream.close()
    assert not {t.name for t in threading.enumerate() if t.name.startswith("semise-worklist")} - before


def test_places_tell_two_images_of_one_name_apart_by_their_severity(tmp_path):
    places = Places()
    for folder, severity in (("a", 0.2), ("b", 0.7)):
        places.note(NamedImage("x.png", tmp_path / folder / "x.png"), Severity(file="x.png", severity=severity))
    assert places(row_of("x.png", 0.7)) == tmp_path / "b" / "x.png"
    assert places(row_of("x.png", 0.2)) == tmp_path / "a" / "x.png"
    assert places(row_of("x.png", 0.3)) is None


def test_places_go_round_images_of_one_name_and_severity(tmp_path):
    places = Places()
    paths = [tmp_path / folder / "x.png" for folder in "ab"]
    for path in paths:
        places.note(NamedImage("x.png", path), Severity(file="x.png", status="error", reason="truncated: no"))
    failed = row_of("x.png", None, "error", "truncated: no")
    assert [places(failed) for _ in range(3)] == [*paths, paths[0]]


def test_places_tell_two_unscored_images_of_one_name_apart(tmp_path):
    """Rows are drawn from the last page to the first, and of failed ones nothing is: no order may tell them apart."""
    places = Places()
    outcomes = (("a", "error", "truncated: no"), ("b", "abstain", "blurred: no"), ("c", "abstain", "constant: no"))
    for folder, status, reason in outcomes:
        answer = Severity(file="x.png", status=status, reason=reason)
        places.note(NamedImage("x.png", tmp_path / folder / "x.png"), answer)
    for folder, status, reason in reversed(outcomes):
        assert places(row_of("x.png", None, status, reason)) == tmp_path / folder / "x.png"


def test_places_know_what_is_there_no_more(tmp_path):
    places = Places()
    places.note(None, Severity(file="x.png", severity=0.2))
    assert places(row_of("x.png", 0.2)) is None
