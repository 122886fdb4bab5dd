"""The commands rank, classify, segment, analyze, embed, info and doctor on a hand-written bundle."""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from PIL import Image

from semise_export.graphs.onnx import graph_entry
from semise_sdk.bundle import Bundle, pack, write_manifest
from semise_sdk.cli.app import run
from semise_sdk.cli.commands import bundles
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

# Every vector is the mean colour; the grade leans to red; the mask is where red is above 100.
BODY = """floats = Cast<to = 1>(pixels)
    embedding = ReduceMean<keepdims = 0>(floats, sides)
    severity_vector = Identity(embedding)
    reference_vector = Identity(embedding)
    severity_map_vectors = ReduceMean<keepdims = 1>(floats, sides)"""
OUTPUTS = "float[N,3] embedding, float[N,3] severity_vector, float[N,3] reference_vector, "
OUTPUTS += "float[N,1,1,3] severity_map_vectors"
HEAD = '<ir_version: 8, opset_import: ["" : 18]>'
TEXTS = {
    "encoder": f"{HEAD} encoder (uint8[N,16,16,3] pixels) => ({OUTPUTS}) <int64[2] sides = {{1, 2}}> {{ {BODY} }}",
    "classifier": f"""{HEAD} classifier (float[N,3] embedding) => (float[N,2] logits)
        <float[3,2] weights = {{0, 0.02, 0, 0, 0.02, 0}}> {{ logits = MatMul(embedding, weights) }}""",
    "unet": f"""{HEAD} unet (uint8[N,16,16,3] pixels) => (float[N,16,16] mask_logits, {OUTPUTS})
        <int64[2] sides = {{1, 2}}, int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] axis = {{3}},
         float middle = {{100}}> {{ {BODY}
        red = Slice(floats, zero, one, axis)
        red_plane = Squeeze(red, axis)
        mask_logits = Sub(red_plane, middle) }}""",
}
MODEL = ModelInfo(
    name="colour",
    spec=InputSpec(height=16, width=16, fit="stretch"),
    labels=("blue", "red"),
    network=NetworkConfig(
        encoder="none", feature_dim=3, vector_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=2, decoder_channels=(8,)
    ),
)
RED, BLUE, MAGENTA = (200, 0, 0), (0, 0, 100), (90, 0, 90)
BROKEN = "unreadable.png"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "bundle"
    folder.mkdir()
    graphs = {}
    for name, text in TEXTS.items():
        model = onnx.parser.parse_model(text)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        graphs[name] = graph_entry(folder / f"{name}.onnx")
    ReferenceBank(np.array([[0, 0, 2]], np.float32)).save(folder / "references.safetensors")
    write_manifest(folder, model=MODEL, graphs=graphs, provenance={"commit": "abc"})
    return folder


@pytest.fixture
def project(bundle, tmp_path, monkeypatch):
    """A working folder with images in it, and the bundle in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISE_BUNDLE", str(bundle))
    for name, colour in (("red.png", RED), ("blue.png", BLUE), ("sub/magenta.png", MAGENTA)):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 20), colour).save(path)
    return tmp_path


def answer(capsys, *arguments: str) -> tuple[int, str, str]:
    code = run([*arguments, "--backend", "onnxruntime"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


RANKING = """rank,file,severity,grade,status,reason,severity_low,severity_high,tie,p_blue,p_red,grade_set,percentile
1,red.png,1.000000,red,ok,,,,,0.017986,0.982014,,
2,sub/magenta.png,0.292893,blue,ok,,,,,0.500000,0.500000,,
3,blue.png,0.000000,blue,ok,,,,,0.880797,0.119203,,
"""


def test_rank_prints_csv_and_talks_on_standard_error(capsys, project):
    code, out, err = answer(capsys, "rank", "images")
    assert (code, out) == (0, RANKING)
    assert "Research use only" in err
    assert "3 images, 0 failed" in err


def test_a_report_is_written_beside_the_ranking(capsys, project):
    (project / "images" / "torn.png").write_bytes(b"no image")
    code, out, err = answer(capsys, "rank", "images", "--report", "report/worklist.html")
    assert code == 3
    assert len(rows(out)) == 4
    text = (project / "report" / "worklist.html").read_text(encoding="utf-8")
    assert "worklist: report/worklist.html, 1 page of 0.0 MB in all" in err
    assert text.count(' data-i="') == 4
    assert text.index("torn.png") < text.index("red.png")
    assert text.count('<script type="application/json">') == 3


def test_a_report_goes_with_maps_and_without_a_word(capsys, project):
    code, _, err = answer(capsys, "rank", "images", "--maps", "maps", "--report", "worklist.html", "--quiet")
    assert (code, err) == (0, "")
    assert (project / "worklist.html").read_text(encoding="utf-8").count("data:image/webp") == 12


def test_images_of_one_name_keep_their_own_pictures_in_a_report(capsys, project):
    for folder, colour in (("one", RED), ("two", BLUE)):
        (project / folder).mkdir()
        Image.new("RGB", (24, 20), colour).save(project / folder / "same.png")
    assert answer(capsys, "rank", "one", "two", "--report", "worklist.html")[0] == 0
    sources = re.findall('<img src="data:image/webp;base64,([^"]*)"', (project / "worklist.html").read_text())
    shown = [Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB").getpixel((5, 5)) for source in sources]
    assert [colour.index(max(colour)) for colour in shown] == [0, 2]


def references_in(path: Path) -> list[str]:
    found = re.search('<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(found[1])["references"]


def test_a_report_shows_the_references_that_were_given(capsys, project):
    code, _, _ = answer(capsys, "rank", "images", "--reference", "images", "--report", "worklist.html")
    assert code == 0
    text = (project / "worklist.html").read_text(encoding="utf-8")
    assert len(references_in(project / "worklist.html")) == 3
    near = [json.loads(found)["reference"] for found in re.findall('"application/json">(.*?)</script>', text)]
    assert sorted(near) == [0, 1, 2]  # each image is its own nearest reference


def test_a_report_shows_the_references_that_the_bundle_carries(capsys, project, bundle):
    carrying = project / "carrying"
    shutil.copytree(bundle, carrying)
    assert answer(capsys, "rank", "images", "--report", "without.html", "--bundle", str(carrying))[0] == 0
    assert references_in(project / "without.html") == []
    with Bundle.open(carrying) as opened:
        graphs = opened.manifest.graphs
    (carrying / "references").mkdir()
    Image.new("L", (20, 20), 70).save(carrying / "references" / "0000.png")
    write_manifest(carrying, model=MODEL, graphs=graphs)
    assert answer(capsys, "rank", "images", "--report", "with.html", "--bundle", str(carrying))[0] == 0
    assert [source[:22] for source in references_in(project / "with.html")] == ["data:image/webp;base64"]


@pytest.mark.parametrize("report", ["worklist.csv", "folder.html", "out.html"])
def test_a_report_that_cannot_be_is_refused_before_anything_is_ranked(capsys, project, report):
    (project / "folder.html").mkdir()
    code, out, err = answer(capsys, "rank", "images", "--out", "out.html", "--report", report)
    assert (code, out) == (2, "")
    assert err.startswith("semise: expected ")
    assert "Research use" not in err
    assert not (project / "out.html").exists()


def test_a_report_needs_a_package_and_says_which(capsys, project, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, _, err = answer(capsys, "rank", "images", "--report", "worklist.html")
    assert code == 2
    assert "pip install 'semise-sdk[report]'" in err


def write_dicom(path: Path, pixels: np.ndarray, sop_class: str, **tags: object) -> None:
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    from pydicom.dataset import Dataset, FileMetaDataset

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "2.25.1"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


def test_dicom_ranks_as_its_picture_does_and_what_it_cannot_show_is_a_row(capsys, project):
    photograph, ct, radiograph = (f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("77.1.4", "2", "1"))
    red = np.full((20, 24, 3), RED, np.uint8)
    write_dicom(project / "images" / "photo.dcm", red, photograph, PatientName="CANARY")
    write_dicom(project / "images" / "scan", red[..., 0], ct)
    deep = np.zeros((20, 24), np.uint16)
    write_dicom(project / "images" / "windowed", deep, radiograph, WindowCenter=500, WindowWidth=300)
    code, out, err = answer(capsys, "rank", "images")
    assert code == 3
    found = {row["file"]: row for row in rows(out)}
    assert len(found) == 6
    assert found["photo.dcm"]["severity"] == found["red.png"]["severity"] == "1.000000"
    assert found["scan"]["reason"].startswith("unsupported_sop_class: 'scan': expected an image of the kinds")
    assert found["windowed"]["reason"].startswith("no_full_range: 'windowed': expected grey values that the header")
    assert "CANARY" not in out + err


def test_quiet_says_nothing(capsys, project):
    assert answer(capsys, "rank", "images", "--quiet") == (0, RANKING, "")


def test_a_failed_file_is_a_row_and_exit_code_3(capsys, project):
    (project / "images" / BROKEN).write_bytes(b"no image")
    code, out, _ = answer(capsys, "rank", "images")
    assert code == 3
    assert out.startswith(RANKING)
    (last,) = rows(out)[3:]
    assert (last["rank"], last["file"], last["severity"], last["status"]) == ("", BROKEN, "", "error")
    assert last["reason"].startswith("not_an_image: ")


@pytest.mark.parametrize("reference", ["images/red.png", "images/sub"])
def test_rank_measures_from_a_file_or_a_folder(capsys, project, reference):
    code, out, _ = answer(capsys, "rank", "images", "--reference", reference)
    by_file = {row["file"]: row["severity"] for row in rows(out)}
    assert code == 0
    assert by_file["red.png" if reference.endswith("png") else "sub/magenta.png"] == "0.000000"
    assert rows(out)[-1]["severity"] == "0.000000"


def test_json_is_one_document_and_the_suffix_of_out_names_the_layout(capsys, project):
    document = json.loads(answer(capsys, "rank", "images", "--json", "-q")[1])
    assert {key: document[key] for key in ("bundle", "backend", "reference")} == {
        "bundle": "colour",
        "backend": "onnxruntime:CPUExecutionProvider",
        "reference": "bundle",
    }
    code, out, _ = answer(capsys, "rank", "images", "--out", "deep/ranking.json")
    assert (code, out) == (0, "")
    assert json.loads((project / "deep" / "ranking.json").read_text()) == document
    answer(capsys, "rank", "images", "--out", "ranking.jsonl")
    assert [json.loads(line) for line in (project / "ranking.jsonl").read_text().splitlines()] == document["rows"]
    answer(capsys, "rank", "images", "--out", "ranking.txt", "--format", "jsonl")
    assert (project / "ranking.txt").read_text() == (project / "ranking.jsonl").read_text()


def test_rank_draws_maps(capsys, project):
    code, out, _ = answer(capsys, "rank", "images", "--maps", "maps")
    assert (code, out) == (0, RANKING)
    with Image.open(project / "maps" / "sub" / "magenta.png") as image:
        assert image.size == (24, 20)
    with Image.open(project / "maps" / "blue.png") as image:
        assert image.getpixel((5, 5)) == BLUE  # no severity, nothing drawn
    with Image.open(project / "maps" / "red.png") as image:
        assert image.getpixel((5, 5)) != RED
        assert "not a localisation" in image.info["Description"]


def test_files_are_decoded_apart_unless_they_are_trusted(capsys, project, monkeypatch):
    from semise_sdk.images import reading
    from semise_sdk.images.isolation import process, reader

    def refuse(*_, **__):
        raise AssertionError("decoded in this process")

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_image", refuse)
        patched.setattr(reader, "read_image", refuse)
        assert run(["rank", "images", "--maps", "maps"]) == 0
        apart = capsys.readouterr().out
    assert len(list((project / "maps").rglob("*.png"))) == 3
    monkeypatch.setattr(process, "_started", refuse)
    assert run(["rank", "images", "--maps", "maps", "--no-isolate"]) == 0
    assert capsys.readouterr().out == apart


def test_files_given_alone_go_by_name_and_as_typed_where_names_collide(capsys, project):
    Image.new("RGB", (24, 20), RED).save(project / "images" / "sub" / "red.png")
    files = [row["file"] for row in rows(answer(capsys, "rank", "images/red.png", "images/blue.png", "-q")[1])]
    assert files == ["red.png", "blue.png"]
    given = ("images/red.png", "images/sub/red.png", "images/blue.png")
    files = [row["file"] for row in rows(answer(capsys, "rank", *given, "-q")[1])]
    assert files == ["images/red.png", "images/sub/red.png", "blue.png"]


def test_classify(capsys, project):
    code, out, _ = answer(capsys, "classify", "images")
    assert code == 0
    assert out.splitlines()[0] == "file,label,p_blue,p_red,status,reason,grade_set"
    red = next(row for row in rows(out) if row["file"] == "red.png")
    assert red == {
        "file": "red.png", "label": "red", "p_blue": "0.017986", "p_red": "0.982014", "status": "ok", "reason": "",
        "grade_set": "",
    }  # fmt: skip


def test_a_grade_may_be_decided_by_the_least_expected_error(capsys, project):
    usual = answer(capsys, "rank", "images", "--quiet")
    assert answer(capsys, "rank", "images", "--quiet", "--decode", "expected-maee") == usual  # of two grades, the same
    code, out, err = answer(capsys, "classify", "images", "--decode", "expected_maee")
    assert (code, out) == (2, "")
    assert "expected --decode argmax or expected-maee, found 'expected_maee'" in err


def test_segment_writes_masks_at_the_sources_size(capsys, project):
    Image.new("RGB", (12, 30), RED).save(project / "images" / "red.jpg")
    (project / "images" / BROKEN).write_bytes(b"no image")
    code, out, _ = answer(capsys, "segment", "images", "--overlays", "overlays")
    assert code == 3
    assert out.splitlines()[0] == "file,mask,area_fraction,status,reason"
    masks = {row["file"]: row["mask"] for row in rows(out)}
    assert masks == {
        "blue.png": "masks/blue.png",
        "red.jpg": "masks/red.png",
        "red.png": "masks/red_png.png",
        "sub/magenta.png": "masks/sub/magenta.png",
        BROKEN: "",
    }
    with Image.open(project / "masks" / "red.png") as mask:
        assert (mask.size, mask.mode, mask.getextrema()) == ((12, 30), "L", (255, 255))
    with Image.open(project / "masks" / "red_png.png") as mask:
        assert mask.size == (24, 20)
    with Image.open(project / "masks" / "blue.png") as mask:
        assert mask.getextrema() == (0, 0)
    assert (project / "overlays" / "sub" / "magenta.png").is_file()
    assert {row["file"]: row["area_fraction"] for row in rows(out)}["blue.png"] == "0.000000"


def test_masks_never_replace_the_images(capsys, project):
    before = (project / "images" / "red.png").read_bytes()
    code, _, err = answer(capsys, "segment", "images", "--masks", "images")
    assert code == 2
    assert "expected a folder for drawings outside of the images" in err
    assert (project / "images" / "red.png").read_bytes() == before


def test_analyze_prints_json_lines_and_draws_what_is_asked_for(capsys, project):
    code, out, _ = answer(capsys, "analyze", "images", "--maps", "maps", "--masks", "masks")
    assert code == 0
    found = {row["file"]: row for row in map(json.loads, out.splitlines())}
    assert found["red.png"] == {
        "file": "red.png", "severity": 1.0, "grade": "red", "p_blue": 0.017986, "p_red": 0.982014,
        "mask": "masks/red.png", "area_fraction": 1.0, "map": "maps/red.png", "status": "ok", "reason": "",
        "severity_low": None, "severity_high": None,
        "grade_set": [], "percentile": None,
    }  # fmt: skip
    assert (project / "maps" / "sub" / "magenta.png").is_file()
    assert json.loads(answer(capsys, "analyze", "images", "-q")[1].splitlines()[0])["map"] is None


def test_embed_as_csv_and_as_npz(capsys, project):
    (project / "images" / BROKEN).write_bytes(b"no image")
    code, out, _ = answer(capsys, "embed", "images")
    assert code == 3
    assert out.splitlines()[:2] == ["file,e0,e1,e2,status,reason", "blue.png,0,0,100,ok,"]
    assert answer(capsys, "embed", "images", "--out", "vectors.npz")[:2] == (3, "")
    with np.load(project / "vectors.npz", allow_pickle=False) as data:
        assert data["files"].tolist() == ["blue.png", "red.png", "sub/magenta.png", BROKEN]
        np.testing.assert_array_equal(data["embeddings"][:3], [BLUE, RED, MAGENTA])
        assert np.isnan(data["embeddings"][3]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rank", "nowhere"), "found nothing at 'nowhere'"),
        (("rank", "empty"), "expected images in empty, found none"),
        (("rank", "images", "--reference", "nowhere.png"), "found nothing at 'nowhere.png'"),
        (("rank", "images", "--reference", "empty"), "expected at least one healthy reference image in empty"),
        (("rank", "images", "--bundle", "nowhere"), "expected a bundle, found nothing at nowhere"),
        (("rank", "images", "--bundle", "images"), "expected manifest.json in images"),
        (
            ("rank", "images", "--device", "tpu"),
            "expected device auto, cpu, cuda, tensorrt, tensorrt_rtx, or cuda:N for GPU N, found 'tpu'",
        ),
        (("rank", "images", "--format", "xml"), "expected --format csv, json, jsonl, found 'xml'"),
        (("rank", "images", "--format", "csv", "--json"), "expected --json or another --format, found --json and"),
        (("rank", "images", "--batch-size", "0"), "batch-size"),
        (
            ("rank", "images", "--phi-key", "site.key"),
            "expected --phi hash with --phi-key, found --phi keep: leave the key out, or hash",
        ),
        (("segment", "images", "--phi-key", "k", "--phi", "keep"), "expected --phi hash with --phi-key"),
        (
            ("embed", "images", "--out", "vectors.npz", "--json"),
            "expected no --format and no --json with --out FILE.npz, found --json: keep one, or name another file",
        ),
        (("embed", "images", "--out", "vectors.npz", "--format", "csv"), "found --format csv"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(capsys, project, arguments, message):
    (project / "empty").mkdir()
    code, out, err = answer(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_key_in_the_environment_asks_for_nothing(capsys, project, monkeypatch):
    monkeypatch.setenv("SEMISE_PHI_KEY", "site.key")
    assert answer(capsys, "rank", "images", "-q") == (0, RANKING, "")


def test_without_any_bundle_it_says_how_to_get_one(capsys, project, monkeypatch):
    monkeypatch.delenv("SEMISE_BUNDLE")
    code, _, err = answer(capsys, "rank", "images")
    assert code == 2
    assert "give --bundle PATH, set SEMISE_BUNDLE, or make one" in err


def test_the_newest_bundle_of_the_project_is_taken(capsys, project, bundle, monkeypatch):
    monkeypatch.delenv("SEMISE_BUNDLE")
    (project / "runs" / "first").mkdir(parents=True)
    (project / "runs" / "first" / "bundle").symlink_to(bundle)
    assert answer(capsys, "rank", "images", "-q") == (0, RANKING, "")


def test_a_packed_bundle_is_as_good(capsys, project, bundle):
    pack(bundle, project / "toy.semise")
    assert answer(capsys, "rank", "images", "--bundle", "toy.semise", "-q") == (0, RANKING, "")


def test_a_result_that_cannot_be_written_is_exit_code_74(capsys, project):
    code, _, err = answer(capsys, "rank", "images", "--out", "images/red.png/ranking.csv")
    assert code == 74
    assert "could not write" in err


def test_in_a_process_of_its_own_the_output_is_bytes_of_utf8_with_unix_line_ends(project):
    odd = os.fsdecode(b"ra\xff\r\n=n.png")
    (project / "images" / "red.png").rename(project / "images" / odd)
    code = "import sys; from semise_sdk.cli.app import main; main()"
    command = [sys.executable, "-c", code, "rank", "images", "--backend", "onnxruntime"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines(keepends=True)[0] == RANKING.splitlines(keepends=True)[0].encode()
    assert b'1,"ra\\udcff\r\n\'=n.png",1.000000,red,ok,,,,,0.017986,0.982014,,\n' in done.stdout


def test_a_reader_that_leaves_early_is_no_error(project):
    code = "import sys; from semise_sdk.cli.app import main; main()"
    command = f"{sys.executable} -c '{code}' rank images --backend onnxruntime -q | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stderr == b""


def test_info_prints_a_bundle(capsys, project, bundle):
    assert run(["info", str(bundle)]) == 0
    printed = capsys.readouterr().out
    for text in ("colour", "blue < red", "16 x 16, stretch", "Research use only", "mask_logits: float32", "abc"):
        assert text in printed
    assert run(["info", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["format"] == "semise-bundle"
    assert data["model"]["labels"] == ["blue", "red"]


def test_info_refuses_what_is_damaged(capsys, project, bundle):
    assert run(["info", str(project)]) == 2
    assert "expected manifest.json" in capsys.readouterr().err


def test_doctor_lists_every_backend(capsys):
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in report["backends"]] == ["onnxruntime", "openvino", "tensorrt", "pytorch"]
    for entry in report["backends"]:
        assert entry["available"] == (entry["install"] == "")
    assert report["cores"] >= 1
    assert [kind["package"] for kind in report["images"]] == ["pydicom", "pylibjpeg-openjpeg", "pyjpegls"]
    for kind in report["images"]:
        assert kind["install"] == ("" if kind["version"] else "pip install 'semise-sdk[dicom]'")
    assert run(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "DICOM in JPEG 2000" in printed
    assert "onnxruntime" in printed
    assert report["python"] in printed


def test_doctor_gives_the_command_for_what_is_missing_and_names_conflicts(capsys, monkeypatch):
    missing = bundles.Availability(
        name="openvino", version=None, devices=(), reason="not installed here", pip="pip install 'semise-sdk[openvino]'"
    )
    monkeypatch.setattr(bundles, "available", lambda: (missing,))
    monkeypatch.setattr(bundles, "conflicts", lambda: ("a and b overwrite each other's files",))
    monkeypatch.setattr(bundles, "has_nvidia_gpu", lambda: True)
    assert run(["doctor", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["backends"][0]["install"] == "pip install 'semise-sdk[openvino]'"
    assert report["problems"][0] == "a and b overwrite each other's files"
    assert "NVIDIA GPU is present" in report["problems"][1]
    assert run(["doctor"]) == 2
    assert "problem: a and b overwrite" in capsys.readouterr().out
