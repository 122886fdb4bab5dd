"""``semise compare-images`` on colours: red lies farther from the blue references than violet does."""

import json

import pytest
from PIL import Image

from semise_sdk.cli.app import run
from semise_sdk.predictor import Predictor
from semise_sdk.privacy import make_key

COLOURS = {"red.png": (200, 0, 0), "violet.png": (120, 0, 120), "cyan.png": (20, 80, 120), "rose.png": (80, 20, 120)}


@pytest.fixture
def project(colour_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISE_BUNDLE", str(colour_bundle))
    for name, colour in COLOURS.items():
        Image.new("RGB", (24, 20), colour).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def answer(capsys, *arguments):
    code = run(["compare-images", *arguments, "--backend", "onnxruntime"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_table_and_a_sentence(capsys, project):
    code, out, err = answer(capsys, "violet.png", "red.png")
    assert code == 0
    assert "The second is the more severe by 0." in out
    assert "the references decide it (so in 100 % of their resamples)." in out
    assert "red.png" in out
    assert "Research use only" in err


def test_json_says_the_same_as_the_predictor(capsys, project, colour_bundle):
    code, out, _ = answer(capsys, "red.png", "violet.png", "--json", "-q")
    document = json.loads(out)
    with Predictor.open(colour_bundle, backend="onnxruntime") as predictor:
        comparison = predictor.compare_images("red.png", "violet.png")
        assert comparison.first in predictor.iter_severity(["red.png"])
    assert code == 0
    assert document["more_severe"] == comparison.more_severe == "first"
    change = document["difference"]
    assert change["value"] == comparison.difference.value == comparison.first.severity - comparison.second.severity
    assert change["low"] < change["value"] < change["high"]
    assert change["is_decided"] is True
    assert (document["first"]["grade"], document["reference"]) == ("red", "bundle")


def test_two_that_the_references_do_not_tell_apart(capsys, project):
    code, out, _ = answer(capsys, "cyan.png", "rose.png")
    assert code == 0
    assert "the references leave it open (so in " in out


def test_names_are_left_out_or_those_of_a_ranking(capsys, project):
    code, out, _ = answer(capsys, "red.png", "broken.png", "--reference", "rose.png", "--phi", "drop", "--json")
    document = json.loads(out)
    assert code == 3
    assert [document[place]["file"] for place in ("first", "second")] == ["image-000001", "image-000002"]
    assert document["second"]["reason"].startswith("not_an_image: what was found is left out")
    assert not [name for name in ("red.png", "rose", "broken") if name in out]
    make_key(project / "site.key")
    key = ("--phi", "hash", "--phi-key", "site.key")
    _, out, _ = answer(capsys, "red.png", "violet.png", "--json", *key)
    assert run(["rank", "red.png", "violet.png", "--format", "json", *key]) == 0
    ranked = json.loads(capsys.readouterr().out)["rows"]
    assert [json.loads(out)[place]["file"] for place in ("first", "second")] == [row["file"] for row in ranked]


def test_two_files_of_one_name_have_two_pseudonyms(capsys, project):
    for folder, name in (("first", "red.png"), ("second", "violet.png")):
        (project / folder).mkdir()
        (project / name).rename(project / folder / "x.png")
    make_key(project / "site.key")
    key = ("--phi", "hash", "--phi-key", "site.key")
    code, out, _ = answer(capsys, "first/x.png", "second/x.png", "--json", *key)
    document = json.loads(out)
    assert code == 0
    assert document["first"]["file"] != document["second"]["file"]
    assert run(["rank", "first/x.png", "second/x.png", "--format", "json", *key]) == 0
    ranked = {row["file"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert ranked == {document[place]["file"] for place in ("first", "second")}


def test_one_reference_gives_no_interval(capsys, project):
    code, out, _ = answer(capsys, "red.png", "violet.png", "--reference", "rose.png")
    assert code == 0
    assert "one healthy reference cannot say how sure that is" in out


def test_the_order_of_bytes_and_arrays(colour_bundle, project):
    with Predictor.open(colour_bundle, backend="onnxruntime") as predictor:
        comparison = predictor.compare_images((project / "red.png").read_bytes(), project / "violet.png")
    assert comparison.more_severe == "first"
    assert [comparison.first.file, comparison.second.file] == ["bytes[0]", str(project / "violet.png")]


@pytest.mark.parametrize("broken", ["broken.png", "."])
def test_an_image_that_cannot_be_read_is_exit_code_3_with_both_rows(capsys, project, broken):
    code, out, _ = answer(capsys, "red.png", broken, "--json")
    document = json.loads(out)
    assert code == 3
    assert document["first"]["status"] == "ok"
    assert document["second"]["status"] == "error"
    assert document["second"]["reason"].startswith(("not_an_image: ", "not_a_file: "))
    assert document["difference"] is None
    code, out, _ = answer(capsys, broken, "red.png")
    assert (code, "They cannot be compared" in out) == (3, True)


def test_what_is_not_there_is_said_before_a_model_is_loaded(capsys, project):
    code, out, err = answer(capsys, "red.png", "gone.png", "--bundle", "no-bundle")
    assert (code, out) == (2, "")
    assert "found nothing at 'gone.png'" in err


def test_a_file_holds_the_document(capsys, project):
    code, out, _ = answer(capsys, "red.png", "violet.png", "--out", "deep/pair.json")
    assert (code, out) == (0, "")
    assert json.loads((project / "deep" / "pair.json").read_text())["more_severe"] == "first"
