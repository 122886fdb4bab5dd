"""``semise timeline`` on colours that turn from blue to red."""

import csv
import io
import json

import pytest
from PIL import Image

from semise_sdk.cli.app import run
from semise_sdk.privacy import make_key

CANARY = "DOE^JANE"
MANIFEST = f"""image,patient,date,eye
a1.png,{CANARY},2026-01-01,left
a2.png,{CANARY},2026-02-01,left
a3.png,{CANARY},2026-03-01,left
broken.png,{CANARY},2026-04-01,left
b1.png,p2,2026-01-15,
b2.png,p2,15.02.2026,
"""


@pytest.fixture
def project(colour_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISE_BUNDLE", str(colour_bundle))
    colours = {"a1": (10, 10, 120), "a2": (120, 0, 120), "a3": (60, 0, 120), "b1": (0, 30, 100), "b2": (0, 90, 100)}
    for name, colour in colours.items():
        Image.new("RGB", (24, 20), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "visits.csv").write_text(MANIFEST)
    return tmp_path


def answer(capsys, *arguments):
    code = run(["timeline", *arguments, "--backend", "onnxruntime"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_rows_in_a_file_name_the_patients_and_say_what_changed(capsys, project):
    code, out, err = answer(capsys, "visits.csv", "--out", "timeline.csv")
    found = rows((project / "timeline.csv").read_text())
    assert (code, out) == (3, "")
    assert [row["file"] for row in found] == ["a1.png", "a2.png", "a3.png", "broken.png", "b1.png", "b2.png"]
    assert [row["patient"] for row in found] == [CANARY] * 4 + ["p2"] * 2
    assert [row["since_first_verdict"] for row in found] == ["", "more severe", "more severe", "", "", ""]
    assert [row["since_previous_verdict"] for row in found] == ["", "more severe", "less severe", "", "", ""]
    assert [row["status"] for row in found] == ["ok", "ok", "ok", "error", "ok", "error"]
    assert found[3]["reason"].startswith("not_an_image: ")
    assert found[5]["reason"].startswith("other_date: ")
    assert (found[0]["site"], found[0]["date"], found[5]["date"]) == ("left", "2026-01-01", "")
    assert "2 patients, 6 images, 0 to review, 0 not scored, 2 failed" in err


@pytest.mark.parametrize("options", [(), ("--json",), ("--format", "csv"), ("--format", "jsonl")])
def test_standard_output_numbers_the_patients(capsys, project, options):
    code, out, err = answer(capsys, "visits.csv", *options)
    assert code == 3
    assert CANARY not in out + err
    assert "a1.png" in out
    if options == ("--json",):
        document = json.loads(out)
        assert [row["patient"] for row in document["rows"]] == ["1"] * 4 + ["2"] * 2
        assert document["reference"] == "bundle"


def test_a_page_holds_a_chart_for_each_patient(capsys, project):
    code, out, _ = answer(capsys, "visits.csv", "--report", "page.html", "-q")
    page = (project / "page.html").read_text()
    assert code == 3
    assert page.count('class="chart"') == 2
    assert CANARY in page
    assert CANARY not in out


def test_other_headers_and_a_reference_of_ones_own(capsys, project):
    (project / "other.csv").write_text("file,mrn,day\na1.png,p,2026-01-01\na2.png,p,2026-02-01\n")
    code, out, _ = answer(
        capsys, "other.csv", "--columns", "image=file,patient=mrn,date=day", "--reference", "a1.png", "--format", "csv"
    )
    first, second = rows(out)
    assert code == 0
    assert (first["severity"], first["severity_low"]) == ("0.000000", "")
    assert float(second["since_first"]) > 0
    assert second["since_first_verdict"] == ""


def test_drop_leaves_patients_sites_days_and_names_out(capsys, project):
    code, out, err = answer(capsys, "visits.csv", "--phi", "drop", "--reference", "a1.png", "--out", "timeline.csv")
    text = (project / "timeline.csv").read_text()
    found = rows(text)
    assert (code, out) == (3, "")
    assert [row["patient"] for row in found] == ["1"] * 4 + ["2"] * 2
    assert [row["file"] for row in found] == [f"image-{number:06d}" for number in range(1, 7)]
    assert {row["date"] for row in found} == {""}
    assert [row["site"] for row in found] == ["1"] * 4 + [""] * 2
    assert [row["since_first_verdict"] for row in found] == [""] * 6  # one reference decides nothing
    assert float(found[1]["since_first"]) > 0
    assert found[5]["reason"].startswith("other_date: what was found is left out")
    assert not [word for word in (CANARY, "a1", "left,", "2026", "15.02") if word in text + err]


def test_hash_gives_patients_and_files_pseudonyms_and_keeps_the_days(capsys, project):
    make_key(project / "site.key")
    code, out, _ = answer(capsys, "visits.csv", "--phi", "hash", "--phi-key", "site.key", "--out", "timeline.csv")
    found = rows((project / "timeline.csv").read_text())
    assert (code, out) == (3, "")
    assert len({row["patient"] for row in found}) == 2
    assert len({row["file"] for row in found}) == 6
    assert all(row[name].startswith("p-") for row in found for name in ("patient", "file"))
    assert (found[0]["site"], found[0]["date"]) == ("1", "2026-01-01")  # a site is free text


def test_dropped_names_are_numbered_as_the_manifest_has_them(capsys, project):
    lines = ["image,patient,date", "a3.png,p,2026-03-01", "b1.png,q,2026-01-01", "a1.png,p,2026-01-01"]
    (project / "shuffled.csv").write_text("\n".join(lines))
    code, out, _ = answer(capsys, "shuffled.csv", "--phi", "drop", "--format", "csv")
    assert code == 0
    assert [row["file"] for row in rows(out)] == ["image-000003", "image-000001", "image-000002"]


@pytest.mark.parametrize("options", [("--phi", "Drop"), ("--phi", "hash", "--phi-key", "gone.key")])
def test_a_policy_that_cannot_be_followed_is_said_before_a_model_is_opened(capsys, project, options):
    code, out, err = answer(capsys, "visits.csv", *options, "--bundle", "no-bundle")
    assert (code, out) == (2, "")
    assert "bundle" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.csv",), "could not read the manifest"),
        (("visits.csv", "--columns", "patient=mrn"), "expected the columns mrn"),
        (("visits.csv", "--columns", "age=eye"), "expected column names of image, patient, date"),
        (("visits.csv", "--format", "xml"), "expected --format csv, json, jsonl"),
        (("visits.csv", "--report", "page.txt"), "expected a page's name to end in .html, found 'page.txt'"),
        (("visits.csv", "--report", "a.html", "--out", "a.html"), "expected --report to be a file of its own"),
        (("visits.csv", "--report", "a.html", "--phi", "drop"), "expected no --phi drop with --report"),
        (("visits.csv", "--phi", "hash"), "expected --phi-key with --phi hash"),
        (("visits.csv", "--reference", "broken.png"), "expected healthy reference images"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(capsys, project, arguments, message):
    code, out, err = answer(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert CANARY not in err


def test_a_page_that_cannot_be_written_takes_no_row_with_it(capsys, project):
    (project / "file").touch()
    code, out, err = answer(capsys, "visits.csv", "--report", "file/page.html", "--out", "timeline.csv")
    assert (code, out) == (74, "")
    assert "could not write file/page.html" in err
    assert len(rows((project / "timeline.csv").read_text())) == 6


def test_a_page_without_jinja2_is_refused_before_anything_is_computed(capsys, project, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, _, err = answer(capsys, "visits.csv", "--report", "page.html", "--bundle", "no-bundle")
    assert code == 2
    assert "pip install 'semise-sdk[report]'" in err


def test_the_rows_are_those_of_the_predictor(capsys, project, monkeypatch):
    from semise_sdk.predictor import Predictor

    asked = []
    of_predictor = Predictor.timeline

    def timeline(self, visits, **options):
        asked.append((len(visits), options["reference"]))
        return of_predictor(self, visits, **options)

    monkeypatch.setattr(Predictor, "timeline", timeline)
    code, out, _ = answer(capsys, "visits.csv", "--format", "csv")
    assert (code, len(rows(out))) == (3, 6)
    assert asked == [(6, None)]


def test_progress_is_that_of_the_images_that_are_scored(project, colour_bundle):
    from semise_sdk.predictor import Predictor
    from semise_sdk.timeline import read_visits

    class Told(list):
        def start(self, label, total):
            self.append((label, total))

        def step(self, note):
            self.append(note)

    told = Told()
    with Predictor.open(colour_bundle, backend="onnxruntime") as predictor:
        predictor.timeline(read_visits(project / "visits.csv"), reporter=told)
    assert told == [("scoring", 5), *[""] * 5]  # one of the six has no date


def test_the_predictor_gives_the_same_timeline(project, colour_bundle, capsys):
    from semise_sdk.predictor import Predictor
    from semise_sdk.reports.timeline.table import timeline_row
    from semise_sdk.timeline import read_visits

    answer(capsys, "visits.csv", "--out", "timeline.jsonl")
    with Predictor.open(colour_bundle, backend="onnxruntime") as predictor:
        timeline = predictor.timeline(read_visits(project / "visits.csv"))
    written = [json.loads(line) for line in (project / "timeline.jsonl").read_text().splitlines()]
    assert [dict(timeline_row(row)) for row in timeline.rows] == written
    assert (timeline.reference, timeline.backend) == ("bundle", "onnxruntime:CPUExecutionProvider")
