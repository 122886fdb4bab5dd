import csv
import dataclasses
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.errors import OutputError
from semise_sdk.results import (
    INTENDED_USE,
    Analysis,
    Classification,
    Embedding,
    RankedImage,
    Ranking,
    Segmentation,
)
from semise_sdk.tables.write import (
    SEGMENTATION_COLUMNS,
    Header,
    analysis_columns,
    answer_row,
    classification_columns,
    embedding_columns,
    embedding_row,
    layout_of,
    text_file,
    write_embeddings,
    write_ranking,
    write_rows,
)

ODD_BYTES = os.fsdecode(b"scan\xff.png")


COLUMNS = ["rank", "file", "severity", "grade", "status", "reason", "severity_low", "severity_high", "tie"]
COLUMNS += ["grade_set", "percentile"]


def ranked(rank, file, severity=None, grade=None, reason="", **rest):
    status = "error" if reason else "ok"
    return RankedImage(rank=rank, file=file, severity=severity, grade=grade, status=status, reason=reason, **rest)


RANKING = Ranking(
    rows=(
        ranked(1, "b.png", 1.25, "severe", severity_low=1.0, severity_high=1.5, tie=1),
        ranked(2, "sub/a,b.png", 1 / 3),
        ranked(3, "c.png", 0.0, "healthy"),
        ranked(None, "d.png", reason="damaged: it is"),
    ),
    reference="healthy.png",
    backend="onnxruntime:CPUExecutionProvider",
)


def written(ranking=RANKING, layout="csv"):
    stream = io.StringIO(newline="")
    write_ranking(ranking, stream, layout=layout, bundle="toy")
    return stream.getvalue()


def test_the_ranking_csv_is_what_others_script_against():
    assert written() == (
        "rank,file,severity,grade,status,reason,severity_low,severity_high,tie,grade_set,percentile\n"
        "1,b.png,1.250000,severe,ok,,1.000000,1.500000,1,,\n"
        '2,"sub/a,b.png",0.333333,,ok,,,,,,\n'
        "3,c.png,0.000000,healthy,ok,,,,,,\n"
        ",d.png,,,error,damaged: it is,,,,,\n"
    )


def test_what_is_sure_stands_behind_what_others_script_against():
    sure = dataclasses.replace(
        RANKING.rows[0], probabilities=(0.25, 0.75), grade_set=("=mild", "severe"), percentile=97.5
    )
    ranking = dataclasses.replace(RANKING, rows=(sure,))
    stream = io.StringIO(newline="")
    write_ranking(ranking, stream, layout="csv", bundle="toy", labels=("=mild", "severe"))
    assert stream.getvalue().splitlines() == [
        ",".join([*COLUMNS[:-2], "p_=mild", "p_severe", *COLUMNS[-2:]]),
        "1,b.png,1.250000,severe,ok,,1.000000,1.500000,1,0.250000,0.750000,'=mild|severe,97.500000",
    ]
    row = json.loads(written(ranking, "jsonl"))
    assert (row["grade_set"], row["percentile"]) == (["=mild", "severe"], 97.5)


def test_json_lines_carry_the_same_keys():
    rows = [json.loads(line) for line in written(layout="jsonl").splitlines()]
    assert [list(row) for row in rows] == [COLUMNS] * 4
    assert [row["severity"] for row in rows] == [1.25, 0.333333, 0.0, None]
    assert rows[1]["grade"] is None
    assert rows[3]["rank"] is None


def test_a_json_document_says_where_it_comes_from():
    document = json.loads(written(layout="json"))
    assert document["rows"] == [json.loads(line) for line in written(layout="jsonl").splitlines()]
    del document["rows"]
    assert document == {
        "intended_use": INTENDED_USE,
        "bundle": "toy",
        "backend": "onnxruntime:CPUExecutionProvider",
        "precision": "fp32",
        "reference": "healthy.png",
    }


def test_an_empty_ranking_is_still_whole():
    empty = Ranking(rows=(), reference="bundle", backend="x")
    assert written(empty) == ",".join(COLUMNS) + "\n"
    assert json.loads(written(empty, "json"))["rows"] == []
    assert written(empty, "jsonl") == ""


@pytest.mark.parametrize(
    "file",
    ["=cmd|' /C calc'!A0.png", "+1.png", "-rf.png", "@sum.png", "\tx.png", "\rx.png", "\nx.png", "=\n.png"],
)
def test_no_file_name_becomes_a_formula(file):
    text = written(Ranking(rows=(ranked(1, file, 0.5),), reference="", backend=""))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[1][1] == f"'{file}"
    assert len(rows) == 2


@pytest.mark.parametrize(
    "file", ["a b.png", 'quo"te.png', "new\nline.png", "ünï.png", "a;b.png", "'x.png", "x=1.png", "a\rb.png"]
)
def test_other_names_come_back_as_they_were(file):
    ranking = Ranking(rows=(ranked(1, file, 0.5),), reference="", backend="")
    assert list(csv.reader(io.StringIO(written(ranking), newline="")))[1][1] == file
    assert json.loads(written(ranking, "json"))["rows"][0]["file"] == file


@pytest.mark.parametrize("layout", ["csv", "json", "jsonl"])
def test_bytes_that_are_no_text_are_escaped_alike_everywhere(layout):
    text = written(Ranking(rows=(ranked(1, ODD_BYTES, 0.5),), reference=ODD_BYTES, backend=""), layout)
    text.encode("utf-8")
    escaped = "scan\\udcff.png"
    assert (escaped if layout == "csv" else json.dumps(escaped)) in text


def test_reasons_and_labels_are_neutralised_too():
    stream = io.StringIO()
    answer = Classification(file="a", label="=x", probabilities=(0.25, 0.75))
    row, columns = answer_row(answer, ("-ok", "=x")), classification_columns(("-ok", "=x"))
    write_rows([row], stream, columns=columns, layout="csv", header=Header(bundle="", backend=""))
    assert stream.getvalue() == "file,label,p_-ok,p_=x,status,reason,grade_set\na,'=x,0.250000,0.750000,ok,,\n"


def chosen(answer, columns, labels=(), **drawn):
    row = answer_row(answer, labels, **drawn)
    return {name: row[name] for name in columns}


def test_a_classification_has_a_column_per_label():
    labels = ("none", "mild")
    row = chosen(
        Classification(file="a", label="mild", probabilities=(0.1, 0.9)), classification_columns(labels), labels
    )
    assert list(row.items()) == [
        ("file", "a"), ("label", "mild"), ("p_none", 0.1), ("p_mild", 0.9), ("status", "ok"), ("reason", ""),
        ("grade_set", ()),
    ]  # fmt: skip
    failed = chosen(Classification(file="a", status="error", reason="r"), classification_columns(labels), labels)
    assert failed == {
        "file": "a", "label": None, "p_none": None, "p_mild": None, "status": "error", "reason": "r", "grade_set": ()
    }  # fmt: skip


def test_a_segmentation_names_its_mask():
    answer = Segmentation(file="a", mask=np.zeros((1, 1), np.uint8), area_fraction=0.0)
    assert list(chosen(answer, SEGMENTATION_COLUMNS, mask=Path("masks/a.png")).items()) == [
        ("file", "a"), ("mask", "masks/a.png"), ("area_fraction", 0.0), ("status", "ok"), ("reason", ""),
    ]  # fmt: skip


def test_an_analysis_has_all_of_it():
    row = chosen(
        Analysis(file="a", severity=0.5, grade="x", probabilities=(1.0,), area_fraction=0.25),
        analysis_columns(("x",)),
        ("x",),
        mask=None,
        map=Path("maps/a.png"),
    )
    assert list(row) == [
        "file", "severity", "grade", "p_x", "mask", "area_fraction", "map", "status", "reason", "severity_low",
        "severity_high", "grade_set", "percentile",
    ]  # fmt: skip
    assert (row["mask"], row["map"]) == (None, "maps/a.png")


VECTOR = np.array([1 / 3, -2e-7, 12345.678], np.float32)


def test_an_embedding_comes_back_exactly_from_csv_and_json():
    answers = [Embedding(file="a", embedding=VECTOR), Embedding(file="b", status="error", reason="r")]
    texts = {}
    for layout in ("csv", "jsonl"):
        columns = embedding_columns(3, layout)
        stream = io.StringIO()
        rows = (embedding_row(answer, columns) for answer in answers)
        write_rows(rows, stream, columns=columns, layout=layout, header=Header(bundle="", backend=""))
        texts[layout] = stream.getvalue()
    header, first, second = csv.reader(io.StringIO(texts["csv"]))
    assert header == ["file", "e0", "e1", "e2", "status", "reason"]
    np.testing.assert_array_equal(np.array(first[1:4], np.float32), VECTOR)
    assert second == ["b", "", "", "", "error", "r"]
    one, other = map(json.loads, texts["jsonl"].splitlines())
    np.testing.assert_array_equal(np.array(one["embedding"], np.float32), VECTOR)
    assert other["embedding"] is None


def test_an_npz_holds_text_and_numbers_and_no_pickle():
    stream = io.BytesIO()
    answers = [Embedding(file=ODD_BYTES, embedding=VECTOR), Embedding(file="b", status="error", reason="r")]
    write_embeddings(iter(answers), stream, width=3)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as data:
        assert data["files"].tolist() == ["scan\\udcff.png", "b"]
        assert data["status"].tolist() == ["ok", "error"]
        assert data["reason"].tolist() == ["", "r"]
        np.testing.assert_array_equal(data["embeddings"][0], VECTOR)
        assert np.isnan(data["embeddings"][1]).all()
        assert data["embeddings"].dtype == np.float32


def test_an_npz_of_nothing_keeps_its_shape():
    stream = io.BytesIO()
    write_embeddings([], stream, width=3)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as data:
        assert data["embeddings"].shape == (0, 3)


@pytest.mark.parametrize(
    ("name", "layout"), [("a.csv", "csv"), ("a.JSON", "json"), ("a.jsonl", "jsonl"), ("a.txt", "csv"), (None, "csv")]
)
def test_the_suffix_names_the_layout(name, layout):
    assert layout_of(None if name is None else Path(name)) == layout


def test_the_default_layout_is_for_what_names_none():
    assert layout_of(None, "jsonl") == "jsonl"
    assert layout_of(Path("a.csv"), "jsonl") == "csv"


def test_a_text_file_appears_whole_in_utf8_with_its_line_ends_as_written(tmp_path):
    path = tmp_path / "out" / "a.csv"
    with text_file(path) as stream:
        stream.write("ü\n" * 10_000)
        assert not path.exists()
    assert path.read_bytes() == "ü\n".encode() * 10_000


def failing(path: Path, error: Exception) -> None:
    with text_file(path) as stream:
        stream.write("half")
        raise error


def test_a_failing_text_file_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="stop"):
        failing(tmp_path / "a.csv", ValueError("stop"))
    with pytest.raises(OutputError, match="could not write"):
        failing(tmp_path / "a.csv", OSError(28, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def test_rows_are_written_as_they_come():
    stream = io.StringIO()

    def rows():
        yield {"file": "a"}
        assert "a\n" in stream.getvalue()
        yield {"file": "b"}

    write_rows(rows(), stream, columns=("file",), layout="csv", header=Header(bundle="", backend=""))
    assert stream.getvalue() == "file\na\nb\n"
