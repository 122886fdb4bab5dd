"""``semise calibrate`` and what ``info`` and ``rank`` say of its bundle."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from semise_sdk.cli.app import run
from semise_sdk.demo.phantoms import draw_phantom


def answer(capsys, *arguments):
    code = run(list(map(str, arguments)))
    captured = capsys.readouterr()
    return code, captured.out, " ".join(captured.err.split())


def manifest_of(path, site, rows, head="image,severity,group"):
    """Writes a manifest of some of the site's images, ``{image}`` standing for the next one's path."""
    images = sorted((site.parent / "images").iterdir())
    path.write_text(
        "\n".join([head, *(row.format(image=images[index]) for index, row in enumerate(rows))]) + "\n",
        encoding="utf-8",
    )
    return path


def test_it_prints_what_the_new_bundle_claims(capsys, tiny_bundle, site, tmp_path):
    out = tmp_path / "new"
    code, text, _ = answer(
        capsys, "calibrate", tiny_bundle, site, "--alpha", "0.2", "--out", out, "--backend", "onnxruntime", "--json"
    )
    found = json.loads(text)
    assert code == 0
    assert (found["bundle"], found["calibrated"], found["images"], found["alpha"]) == (str(out), True, 150, 0.2)
    assert found["coverage"]["low"] < found["coverage"]["value"] < found["coverage"]["high"]
    assert found["quality"]["side"]["abstain_high"] is None
    assert set(found["coverage_of_grade"]) == {"healthy", "mild", "moderate", "severe", "critical"}
    code, text, _ = answer(capsys, "info", out)
    assert code == 0
    assert "aim 80 %, hold" in text
    assert "150 images of" in text
    assert json.loads(answer(capsys, "info", out, "--json")[1])["calibration"]["gates"] == "quality and distance"


def test_the_table_names_each_grade_and_where_the_bundle_went(capsys, tiny_bundle, site, tmp_path):
    code, text, err = answer(capsys, "calibrate", tiny_bundle, site, "--out", tmp_path / "new")
    assert code == 0
    assert "sets hold moderate" in text
    assert "distance gate" in text
    text = " ".join(text.split())
    assert "quality gate: side review below 49.6; abstain below 38.4" in text  # of 64: e^-0.25 and e^-0.5 of 65, less 1
    assert "quality gate: white review above" in text
    assert "wrote " in err


def test_a_signed_bundle_is_checked_and_the_new_one_is_said_to_be_unsigned(capsys, tiny_bundle, site, tmp_path):
    signed, key, other = tmp_path / "signed", tmp_path / "hospital", tmp_path / "other"
    shutil.copytree(tiny_bundle, signed)
    for made in (key, other):
        run(["keygen", str(made), "-q"])
    run(["sign", str(signed), "--key", str(key), "-q"])
    few = manifest_of(tmp_path / "few.csv", site, [f"{{image}},{index % 3},p{index}" for index in range(4)])
    options = ("calibrate", signed, few, "--out", tmp_path / "new", "--public-key")
    code, _, err = answer(capsys, *options, f"{other}.pub")
    assert (code, "found a signature that names ed25519:" in err, (tmp_path / "new").exists()) == (2, True, False)
    code, _, err = answer(capsys, *options, f"{key}.pub")
    assert code == 0
    assert f"semise sign {tmp_path / 'new'} --key KEY" in err
    assert not (tmp_path / "new" / "signature.json").exists()
    assert "signature" not in answer(capsys, "calibrate", tiny_bundle, few, "--out", tmp_path / "third")[2]


def test_few_images_are_said_to_be_few(capsys, tiny_bundle, site, tmp_path):
    few = manifest_of(tmp_path / "few.csv", site, [f"{{image}},{index % 3},p{index}" for index in range(12)])
    code, text, err = answer(capsys, "calibrate", tiny_bundle, few, "--out", tmp_path / "new")
    assert code == 0
    assert "not calibrated: 12 images of 12 groups, at least 100 images of 10 groups are needed" in err
    assert "each image counts as a patient of its own" in err
    pairs = manifest_of(tmp_path / "pairs.csv", site, [f"{{image}},{index % 3},p{index // 2}" for index in range(4)])
    err = answer(capsys, "calibrate", tiny_bundle, pairs, "--out", tmp_path / "pairs")[2]
    assert "patient of its own" not in err
    assert "not calibrated" in text


def test_nothing_is_ever_replaced(capsys, tiny_bundle, site, tmp_path):
    assert answer(capsys, "calibrate", tiny_bundle, site, "--out", tmp_path)[0] == 2
    code, _, err = answer(capsys, "calibrate", tiny_bundle, site, "--out", tiny_bundle)
    assert code == 2
    assert "expected a new place for the calibrated bundle" in err


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["{image},0,a,calibration", "{image},1,a,test"], "found 1 partly in calibration (first: a)"),
        (["{image},0,a,train", "{image},1,b,test"], "expected images of split calibration in"),
    ],
)
def test_a_group_in_two_splits_and_no_split_to_take_are_refused(capsys, tiny_bundle, site, tmp_path, rows, words):
    data = manifest_of(tmp_path / "data.csv", site, rows, head="image,severity,group,split")
    code, _, err = answer(capsys, "calibrate", tiny_bundle, data, "--out", tmp_path / "new")
    assert code == 2
    assert words in err
    assert not (tmp_path / "new").exists()


def test_training_images_are_refused(capsys, tiny_bundle, phantoms, tmp_path):
    code, _, err = answer(capsys, "calibrate", tiny_bundle, phantoms, "--out", tmp_path / "new")
    assert code == 2
    assert "expected images that the model was not trained on, found" in err


def test_a_wrong_alpha_and_other_grades_are_refused(capsys, tiny_bundle, site, tmp_path):
    code, _, err = answer(capsys, "calibrate", tiny_bundle, site, "--alpha", "0.9", "--out", tmp_path / "new")
    assert code == 2
    assert "expected an alpha of 0.01 to 0.5, found 0.9" in err
    data = manifest_of(
        tmp_path / "d.csv", site, ["{image},0,fine,a", "{image},1,bad,b"], head="image,severity,label,group"
    )
    assert answer(capsys, "calibrate", tiny_bundle, data, "--out", tmp_path / "new")[0] == 2


def test_what_needs_a_human_stands_above_the_ranking(capsys, calibrated_bundle, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        Image.fromarray(draw_phantom(index, seed=300 + index, size=64).image).save(images / f"p{index}.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(images / "zblack.png")
    (images / "a.png").write_bytes(b"nothing")
    code, text, err = answer(capsys, "rank", images, "--bundle", calibrated_bundle)
    assert code == 3  # one file cannot be read
    rows = list(csv.DictReader(io.StringIO(text)))
    scored = [row for row in rows if row["rank"]]
    first, last = rows[0], rows[-1]
    assert (first["file"], first["status"], first["rank"], first["severity"]) == ("zblack.png", "abstain", "", "")
    assert (last["file"], last["status"]) == ("a.png", "error")
    assert [row["rank"] for row in scored] == [str(place + 1) for place in range(len(scored))]
    assert all(row["percentile"] and row["grade_set"] and row["p_mild"] for row in scored)
    assert "1 failed, " in err
    assert "not scored and for a human" in err
    document = json.loads(answer(capsys, "rank", images, "--bundle", calibrated_bundle, "--json")[1])
    assert document["grade_sets"].startswith("aim 90 %, hold ")
    (images / "a.png").unlink()
    assert answer(capsys, "rank", images, "--bundle", calibrated_bundle, "-q")[0] == 0  # refusing is an answer


def test_info_of_a_bundle_without_calibration_says_how_to_add_it(capsys, tiny_bundle, tmp_path):
    import shutil

    from semise_sdk.bundle import Bundle, write_manifest

    plain = tmp_path / "plain"
    shutil.copytree(tiny_bundle, plain)
    (plain / "calibration.json").unlink()
    with Bundle.open(tiny_bundle) as opened:
        write_manifest(plain, model=opened.model, graphs=opened.manifest.graphs)
    assert "semise calibrate BUNDLE DATA adds them" in " ".join(answer(capsys, "info", plain)[1].split())


def test_a_calibrated_bundle_still_replays(capsys, calibrated_bundle):
    code, _, err = answer(capsys, "verify", calibrated_bundle)
    assert code == 0, err


def test_a_run_keeps_the_band_and_how_sure_each_row_is(capsys, calibrated_bundle, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        Image.fromarray(draw_phantom(index, seed=300 + index, size=64).image).save(images / f"p{index}.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(images / "zblack.png")
    command = ("rank", images, "--bundle", calibrated_bundle, "-q")
    plain = answer(capsys, *command)[1]
    assert next(csv.DictReader(io.StringIO(plain)))["file"] == "zblack.png"
    kept = (*command, "--run", tmp_path / "run", "--phi", "keep")
    assert answer(capsys, *kept)[1] == plain
    assert answer(capsys, "merge", tmp_path / "run", "--images", images, "-q")[1] == plain
    code, _, err = answer(capsys, *kept, "--decode", "expected-maee")
    assert code == 2
    assert "expected the --decode that the run was started with (argmax), found another (expected-maee)" in err
