"""rank and classify with --run, merge and verify-run as a hospital's script calls them."""

import csv
import io
import json
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from semise_sdk.cli.app import run
from semise_sdk.errors import ImageReadError
from semise_sdk.privacy import make_key

CANARY = "DOE_JANE"


class _Still(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 24, tzinfo=tz)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Two pages that are compared are of one minute."""
    monkeypatch.setattr("semise_sdk.reports.worklist.page.datetime", _Still)


@pytest.fixture
def project(colour_bundle, tmp_path, monkeypatch):
    """A working folder with images in it, one of them broken, and the bundle in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISE_BUNDLE", str(colour_bundle))
    for number in range(12):
        path = tmp_path / "images" / f"ward_{number % 2}" / f"{CANARY}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (20 * number, 0, 200 - 10 * number)).save(path)
    (tmp_path / "images" / f"{CANARY}_broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return tmp_path


def answer(capsys, *arguments: str) -> tuple[int, str, str]:
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _key(project) -> str:
    """Returns the file of a key that parts share."""
    path = project / "shared.key"
    if not path.exists():
        make_key(path)
    return str(path)


def ranking(capsys, *arguments: str) -> tuple[int, str, str]:
    return answer(capsys, "rank", "images", "--backend", "onnxruntime", *arguments)


def test_a_run_prints_what_the_command_prints_without_it(capsys, project):
    plain = ranking(capsys, "-q")
    assert plain[0] == 3
    assert ranking(capsys, "-q", "--run", "run") == plain
    assert ranking(capsys, "-q", "--run", "run") == plain
    code, out, err = ranking(capsys, "--run", "run")
    assert (code, out) == plain[:2]
    assert "13 images, 1 failed" in err
    assert "audit trail ends with" in err


def test_the_page_of_a_run_is_that_of_the_command_without_it(capsys, project):
    for name in ("elsewhere", "plain", "of_run"):
        (project / name).mkdir()
    Image.new("RGB", (20, 16), (90, 90, 90)).save(project / "elsewhere" / f"{CANARY}_0.png")  # of another folder
    places = ("rank", "images", "images/ward_0", "elsewhere", "--backend", "onnxruntime", "-q")
    plain = answer(capsys, *places, "--report", "plain/page.html")
    assert plain[0] == 3
    assert answer(capsys, *places, "--run", "run", "--report", "of_run/page.html") == plain
    assert (project / "of_run/page.html").read_text() == (project / "plain/page.html").read_text()
    (project / "of_run/page.html").unlink()
    # Every row is there already.
    code, out, err = answer(capsys, *places[:-1], "--run", "run", "--report", "of_run/page.html")
    assert (code, out) == plain[:2]
    assert (project / "of_run/page.html").read_text() == (project / "plain/page.html").read_text()
    assert CANARY not in err


def test_a_page_of_a_run_says_nothing_of_an_image_that_went(capsys, caplog, project, monkeypatch):
    ranking(capsys, "-q", "--run", "run")
    monkeypatch.setattr("semise_sdk.predictor.Predictor.display", _gone)
    code, _, err = ranking(capsys, "--run", "run", "--report", "run.html")
    assert code == 3
    assert "no picture in the worklist: unreadable" in caplog.text
    assert CANARY not in err + caplog.text
    assert CANARY in (project / "run.html").read_text()


def _gone(_, image):
    raise ImageReadError("unreadable", f"expected an image, found none: {image}")


def test_classify_keeps_a_run_too(capsys, project):
    plain = answer(capsys, "classify", "images", "-q")
    assert answer(capsys, "classify", "images", "-q", "--run", "run") == plain
    with sqlite3.connect("run/journal.sqlite") as connection:
        (labels,) = connection.execute("SELECT count(DISTINCT grade) FROM journal WHERE status = 'ok'").fetchone()
    connection.close()
    assert labels == 2
    code, _, err = ranking(capsys, "--run", "run")
    assert code == 2
    assert "the command that the run was started with (classify), found another (rank)" in err


def test_parts_merge_to_the_ranking(capsys, project):
    _, whole, _ = ranking(capsys, "-q")
    for part in ("1/3", "2/3", "3/3"):
        ranking(capsys, "-q", "--run", f"run{part[0]}", "--part", part)
    code, out, err = answer(capsys, "merge", "run1", "run2", "run3", "--images", "images")
    assert (code, out) == (3, whole)
    assert "13 images, 1 failed, of 3 parts" in err
    code, out, _ = answer(capsys, "merge", "run1", "run2", "run3", "--json", "-q")
    assert code == 3
    assert CANARY not in out
    document = json.loads(out)
    assert document["reference"] == "bundle"
    assert document["backend"] == "onnxruntime:CPUExecutionProvider"
    assert [row["rank"] for row in document["rows"]] == [*range(1, 13), None]
    code, _, err = answer(capsys, "merge", "run1", "run2")
    assert code == 2
    assert "expected the parts 1/3, 2/3, 3/3, each once, found 1/3, 2/3" in err


def test_parts_merge_to_the_page_of_the_whole(capsys, project, colour_bundle):
    (project / "elsewhere").mkdir()
    Image.new("RGB", (20, 16), (90, 90, 90)).save(project / "elsewhere" / f"{CANARY}_0.png")  # of another folder
    images = ("images", "images/ward_0", "elsewhere")
    plain = answer(capsys, "rank", *images, "--backend", "onnxruntime", "-q", "--report", "page.html")
    whole = (project / "page.html").read_text()
    (project / "page.html").unlink()
    for part in ("1/2", "2/2"):
        place = ("--run", f"run{part[0]}", "--part", part)
        answer(capsys, "rank", *images, "--backend", "onnxruntime", "-q", "--phi-key", _key(project), *place)
    named = [word for image in images for word in ("--images", image)]
    merge = ("merge", "run1", "run2", *named, "--phi-key", _key(project), "--backend", "onnxruntime")
    code, out, err = answer(capsys, *merge, "--report", "page.html")
    assert (code, out) == plain[:2]
    assert (project / "page.html").read_text() == whole
    assert "worklist: page.html, 1 page of" in err
    assert CANARY not in err


def test_a_merged_page_is_drawn_with_what_the_run_was_answered_from(capsys, project, calibrated_bundle):
    ranking(capsys, "-q", "--run", "run")
    merge = ("merge", "run", "--images", "images", "-q", "--report", "page.html")
    for other, what in (
        (("--bundle", str(calibrated_bundle)), "bundle"),
        (("--reference", f"images/ward_0/{CANARY}_0.png"), "reference"),
    ):
        code, out, err = answer(capsys, *merge, *other)
        assert (code, out) == (2, "")
        assert f"expected the {what} that the run was answered with, found another: give --{what}" in err
        assert not (project / "page.html").exists()


def test_a_merged_page_is_measured_from_the_given_reference_on_any_engine(capsys, project):
    pytest.importorskip("openvino")
    reference = f"images/ward_1/{CANARY}_3.png"
    ranking(capsys, "-q", "--run", "run", "--reference", reference)
    Path("copy.png").write_bytes(Path(reference).read_bytes())  # its content counts
    merge = ("merge", "run", "--images", "images", "-q", "--report", "page.html", "--backend", "openvino")
    assert answer(capsys, *merge, "--reference", "copy.png")[0] == 3
    assert Path("page.html").is_file()


def test_a_merged_page_shows_what_was_ranked_and_nothing_else(capsys, project):
    ranking(capsys, "-q", "--run", "run")
    merge = ("merge", "run", "--images", "images", "--report", "page.html")
    assert answer(capsys, *merge)[0] == 3
    pictures = Path("page.html").read_text().count("data:image/webp")
    other = Path(f"images/ward_0/{CANARY}_0.png")
    other.write_bytes(Path(f"images/ward_0/{CANARY}_2.png").read_bytes())  # another patient under the same name
    _, _, err = answer(capsys, *merge)
    assert "rows without a picture, as their files hold something else than was ranked: 1" in err
    assert Path("page.html").read_text().count("data:image/webp") < pictures


def test_a_run_says_how_many_images_are_not_what_they_were(capsys, project):
    ranking(capsys, "-q", "--run", "run")
    assert "answered again" not in ranking(capsys, "--run", "run")[2]
    other = Path(f"images/ward_0/{CANARY}_0.png")
    other.write_bytes(Path(f"images/ward_0/{CANARY}_2.png").read_bytes())
    code, _, err = ranking(capsys, "--run", "run")
    assert code == 3
    assert "answered again, as they held something else than before: 1 of the images" in err
    assert CANARY not in err


@pytest.mark.parametrize("phi", ["hash", "drop"])
def test_merge_tells_no_names_where_the_site_wants_none(capsys, project, monkeypatch, phi):
    ranking(capsys, "-q", "--run", "run", "--phi", "drop")
    ranking(capsys, "-q", "--run", "named", "--phi", "keep")
    monkeypatch.setenv("SEMISE_PHI", phi)
    for named in (("--images", "images"), ("--images", "images", "--report", "page.html")):
        code, out, err = answer(capsys, "merge", "run", *named)
        assert (code, out) == (2, "")
        assert f"expected no --phi {phi} with --images" in err
    code, out, err = answer(capsys, "merge", "named")
    assert (code, out) == (2, "")
    assert f"expected runs that were started with --phi {phi}, found keep, which names more" in err
    code, out, err = answer(capsys, "merge", "run")
    assert code == 3
    assert CANARY not in out + err


def test_a_merged_page_needs_the_images(capsys, project):
    ranking(capsys, "-q", "--run", "run")
    code, _, err = answer(capsys, "merge", "run", "--report", "page.html")
    assert code == 2
    assert "expected --images with --report, found none: a page shows the images that were ranked" in err


def test_calibrated_parts_merge_to_all_that_the_ranking_says(calibrated_bundle, site, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISE_BUNDLE", str(calibrated_bundle))
    (tmp_path / "images").mkdir()
    for path in sorted((site.parent / "images").iterdir())[:8]:
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "images" / "flat.png")
    decode = ("--decode", "expected-maee")
    code, whole, _ = ranking(capsys, "-q", "--json", *decode)
    for part in ("1/2", "2/2"):
        ranking(capsys, "-q", "--run", f"run{part[0]}", "--part", part, *decode)
    found = answer(capsys, "merge", "run1", "run2", "--images", "images", "--json")
    assert found[:2] == (code, whole)
    assert "9 images, 0 failed, 1 not scored and for a human" in found[2]
    assert "of 2 parts" in found[2]
    document = json.loads(whole)
    assert document["grade_sets"].startswith("aim 90 %")
    assert document["rows"][0]["file"] == "flat.png"
    code, _, err = ranking(capsys, "-q", "--run", "run1", "--part", "1/2")
    assert code == 2
    assert "(expected-maee), found another (argmax)" in err


def test_merge_says_which_rows_keep_their_pseudonym(capsys, project):
    ranking(capsys, "-q", "--run", "run")
    (project / "images" / "ward_0" / f"{CANARY}_0.png").unlink()
    code, out, err = answer(capsys, "merge", "run", "--images", "images", "--out", "all.csv")
    assert (code, out) == (3, "")
    assert "1 rows keep their pseudonym" in err
    assert (project / "all.csv").read_text().count("p-") == 1


def test_merge_takes_rankings_alone(capsys, project):
    answer(capsys, "classify", "images", "-q", "--run", "run")
    code, _, err = answer(capsys, "merge", "run")
    assert code == 2
    assert "expected parts of semise rank, found classify" in err


def test_a_run_is_verified(capsys, project, colour_bundle):
    _, _, err = ranking(capsys, "--run", "run")
    head = err.partition("ends with ")[2].partition(":")[0]
    code, out, _ = answer(capsys, "verify-run", "run", "images", "--bundle", str(colour_bundle), "--head", head)
    assert code == 0
    assert head in out
    code, out, _ = answer(capsys, "verify-run", "run", "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["intact"], document["finished"], document["head"]) == (True, True, head)
    assert [check["check"] for check in document["checks"]] == ["trail", "journal", "bundle"]
    (project / "images" / "ward_0" / f"{CANARY}_0.png").write_bytes(b"another")
    code, out, _ = answer(capsys, "verify-run", "run", "images")
    assert code == 5
    assert "found 1 changed" in " ".join(out.split())
    assert answer(capsys, "verify-run", "run", "--head", "0" * 64)[0] == 5
    assert answer(capsys, "verify-run", "images")[0] == 2


def test_an_unfinished_run_is_exit_code_3(capsys, project):
    ranking(capsys, "-q", "--run", "run")
    with sqlite3.connect("run/journal.sqlite") as connection:
        connection.execute("UPDATE trail SET is_finished = 0")
    connection.close()
    code, out, _ = answer(capsys, "verify-run", "run")
    assert code == 3
    assert "give the run's command again" in out


def test_a_run_that_keeps_names_remembers_where_its_images_are(capsys, project):
    ranking(capsys, "-q", "--run", "run", "--phi", "keep")
    code, out, _ = answer(capsys, "verify-run", "run", "--json")
    assert code == 0
    assert [check["found"] for check in json.loads(out)["checks"] if check["check"] == "inputs"] == ["13 as they were"]


def test_a_run_goes_on_under_the_policy_that_it_was_started_with(capsys, project):
    plain = ranking(capsys, "-q", "--run", "run", "--phi", "keep")
    assert ranking(capsys, "-q", "--run", "run") == plain
    code, _, err = ranking(capsys, "--run", "run", "--phi", "hash")
    assert code == 2
    assert "--phi that the run was started with (keep), found another (hash)" in err


def test_results_are_named_as_asked(capsys, project):
    make_key(project / "site.key")
    _, plain, _ = ranking(capsys, "-q")
    code, out, err = ranking(capsys, "--phi", "drop")
    assert code == 3
    assert CANARY not in out + err
    assert {row["file"] for row in csv.DictReader(io.StringIO(out))} == {f"image-{n:06d}" for n in range(1, 14)}
    assert [row["severity"] for row in csv.DictReader(io.StringIO(out))] == [
        row["severity"] for row in csv.DictReader(io.StringIO(plain))
    ]
    hashed = ranking(capsys, "-q", "--phi", "hash", "--phi-key", "site.key")
    assert CANARY not in hashed[1]
    assert ranking(capsys, "-q", "--run", "run", "--phi", "hash", "--phi-key", "site.key") == hashed
    code, out, err = answer(capsys, "classify", "images", "--phi", "drop")
    assert CANARY not in out + err
    assert "image-000013" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--part", "1/2"), "expected --run with --part, found none"),
        (("--phi", "hash"), "expected --phi-key with --phi hash"),
        (("--phi", "hush"), "expected --phi keep, hash, drop, found otherwise"),
        (("--run", "run", "--maps", "maps"), "expected no --run with --maps, found otherwise: draw them"),
        (("--run", "run", "--phi", "keep", "--maps", "maps"), "expected no --run with --maps, found both"),
        (("--run", "run", "--part", "1/2", "--report", "maps/page.html"), "expected no --part with --report"),
        (("--run", "run", "--phi", "drop", "--report", "maps/page.html"), "expected no --phi drop with --report"),
        (("--phi", "drop", "--report", "maps/page.html"), "expected no --phi drop with --report"),
        (("--run", "run", "--phi", "keep", "--part", "3/2"), "expected --part i/n"),
        (("--run", "run", "--part", "3/2"), "expected --part i/n with i of 1 to n, such as 1/4, found otherwise"),
        (("--run", "run", "--decode", "mean"), "expected --decode argmax or expected-maee, found otherwise"),
        (("--decode", "mean"), "expected --decode argmax or expected-maee, found 'mean'"),
        (("--run", "images"), "expected a folder of a run or an empty one for --run, found 3 other files"),
        (("--run", "run", "--phi", "keep", "--phi-key", "gone"), "expected a key of 64 hexadecimal digits in gone"),
    ],
)
def test_wrong_options_are_one_sentence(arguments, sentence, capsys, project):
    code, out, err = ranking(capsys, "-q", *arguments)
    assert (code, out) == (2, "")
    assert sentence in " ".join(err.split())
    assert not (project / "maps").exists()


def test_a_run_speaks_of_no_image_unless_asked_to(capsys, project):
    code, _, err = answer(capsys, "rank", f"nowhere/{CANARY}", "--run", "run")
    assert code == 2
    assert CANARY not in err
    assert "expected images and folders that exist" in err
    assert CANARY in answer(capsys, "rank", f"nowhere/{CANARY}", "--run", "run", "--phi", "keep")[2]
    code, _, err = ranking(capsys, "--run", "run", "--reference", f"images/{CANARY}_broken.png")
    assert code == 2
    assert CANARY not in err
    assert "expected healthy reference images that can be read" in err


def test_the_reference_of_a_merge_is_named_as_the_run_may(capsys, project):
    reference = f"images/ward_0/{CANARY}_0.png"
    ranking(capsys, "-q", "--run", "run", "--reference", reference)
    _, out, _ = answer(capsys, "merge", "run", "--json", "-q")
    assert json.loads(out)["reference"] == "given"
    assert CANARY not in (project / "run" / "run.json").read_text()
    code, _, err = ranking(capsys, "-q", "--run", "run")
    assert code == 2
    assert "the reference that the run was started with, found another" in err
    ranking(capsys, "-q", "--run", "kept", "--reference", reference, "--phi", "keep")
    _, out, _ = answer(capsys, "merge", "kept", "--json", "-q")
    assert json.loads(out)["reference"] == reference


@pytest.mark.parametrize(
    "idle",
    [
        ("--reference", "r.png"), ("--bundle", "b"), ("--backend", "openvino"), ("--device", "cpu"), ("--threads", "1"),
        ("--no-isolate",), ("--public-key", "k"),
    ],
    ids=lambda idle: idle[0],
)  # fmt: skip
def test_merge_without_a_page_refuses_what_only_a_page_needs(idle, capsys, project):
    code, out, err = answer(capsys, "merge", "run", "--phi", "keep", *idle)
    assert (code, out) == (2, "")
    assert f"without --report, found {' '.join(idle)}: it is for the page alone, leave it out" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("merge", "run", "--phi", "keep", "--phi-key", "k"), "expected no --phi-key without --images"),
        (("verify-run", "run", "--public-key", "k"), "expected no --public-key without --bundle, found --public-key k"),
        (("verify-run", "run", "--phi-key", "k"), "expected no --phi-key without IMAGES, found --phi-key k"),
    ],
)
def test_no_option_is_lost_beside_another(arguments, sentence, capsys, project):
    ranking(capsys, "-q", "--run", "run")
    code, out, err = answer(capsys, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
