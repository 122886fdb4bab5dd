"""Manifests of visits: what is read, what becomes a problem of its row, what refuses the file; no cell is quoted."""

import datetime as dt
import json

import pytest

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.timeline import read_visits


def manifest(tmp_path, text, name="visits.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_images_lie_beside_the_manifest_and_keep_the_name_it_gives_them(tmp_path):
    path = manifest(tmp_path, "image,patient,date,age\na/1.png,Jane Doe,2026-11-24,50\n\n2.png,p2,20261125,51\n")
    first, second = read_visits(path)
    assert (first.image, first.file) == (tmp_path / "a" / "1.png", "a/1.png")
    assert (first.patient, first.date, first.site, first.problem) == ("Jane Doe", dt.date(2026, 11, 24), "", "")
    assert second.date == dt.date(2026, 11, 25)
    assert read_visits(path, root=tmp_path / "b")[0].image == tmp_path / "b" / "a" / "1.png"


@pytest.mark.parametrize("cell", ["2026-11-24", "20261124", "2026-11-24T09:30", "2026-11-24 23:59:59+02:00"])
def test_iso_dates_with_and_without_a_time(tmp_path, cell):
    (visit,) = read_visits(manifest(tmp_path, f"image,patient,date\na.png,p,{cell}\n"))
    assert (visit.date, visit.problem) == (dt.date(2026, 11, 24), "")


@pytest.mark.parametrize("cell", ["24.11.2026", "03/04/26", "2026-02-30", "yesterday", "0000-01-01", "1970-1"])
def test_other_dates_are_the_problem_of_their_row_which_does_not_quote_them(tmp_path, cell):
    (visit,) = read_visits(manifest(tmp_path, f"image,patient,date\na.png,p,{cell}\n"))
    assert visit.date is None
    assert visit.problem.startswith("other_date: expected a date as 2026-11-24")
    assert cell == "03/04/26" or cell not in visit.problem


def test_missing_cells(tmp_path):
    no_date, no_image, no_patient = read_visits(
        manifest(tmp_path, "image,patient,date\na.png,p,\n,p,2026-01-01\nb.png,,2026-01-01\n")
    )
    assert (no_date.date, no_date.problem) == (None, "")
    assert no_image.problem.startswith("no_image: ")
    assert no_patient.patient == ""


def test_columns_of_the_site_are_joined(tmp_path):
    path = manifest(tmp_path, "image,patient,date,site,eye\na.png,p,2026-01-01,macula,left\nb.png,p,2026-01-01,,\n")
    assert [visit.site for visit in read_visits(path)] == ["left macula", ""]
    path = manifest(tmp_path, "image,patient,date,laterality\na.png,p,2026-01-01,R\n")
    assert [visit.site for visit in read_visits(path)] == ["R"]


def test_other_headers_and_json_lines(tmp_path):
    line = json.dumps({"file": "a.png", "mrn": 12, "day": "2026-01-01"})
    columns = {"image": "file", "patient": "mrn", "date": "day"}
    (visit,) = read_visits(manifest(tmp_path, line + "\n", "visits.jsonl"), columns=columns)
    assert (visit.file, visit.patient, visit.date) == ("a.png", "12", dt.date(2026, 1, 1))


CANARY = "DOE JANE 1970"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{CANARY},b,c\n{CANARY},2,3\n", "expected the columns image and patient and date"),
        (f"{CANARY},{CANARY},c\n", "expected every column once"),
        (f"image,patient,date\na.png,{CANARY},2026-01-01,x\n", "expected every row of .* found 1 that do not"),
        (f'image,patient,date\na.png,"{CANARY},2026-01-01\n', "expected well-formed CSV"),
        ("image,patient,date\n", "expected one line per image"),
        ("", "found an empty file"),
    ],
)
def test_an_unusable_file_is_one_sentence_that_quotes_no_cell(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read_visits(manifest(tmp_path, text))
    assert CANARY not in str(caught.value) + " ".join(caught.value.problems)


def test_wrong_columns_and_missing_files_are_said(tmp_path):
    path = manifest(tmp_path, "image,patient,date\na.png,p,2026-01-01\n")
    with pytest.raises(ConfigError, match="expected column names of image, patient, date, eye"):
        read_visits(path, columns={"name": "patient"})
    with pytest.raises(DataError, match="expected the columns mrn"):
        read_visits(path, columns={"patient": "mrn"})
    with pytest.raises(DataError, match="could not read the manifest"):
        read_visits(tmp_path / "gone.csv")
