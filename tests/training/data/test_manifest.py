"""The manifest: every reading of a row, and every way a file can be hostile."""

import json
from pathlib import Path

import pytest

from semise_sdk.errors import ConfigError, DataError
from semise_training.data.manifest import Manifest, load_manifest, parse_columns, scan_manifest

HEADER = "image,severity,label,mask,group,split\n"


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder: Path, text: str | bytes) -> Manifest:
    return load_manifest(write(folder, text))


def problems(folder: Path, text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        load(folder, text)
    return caught.value.problems


def test_a_row_becomes_a_sample(tmp_path: Path) -> None:
    manifest = load(tmp_path, HEADER + "a/x.png,2,severe,m/x.png,patient 7,valid\n")
    sample = manifest.samples[0]
    assert (sample.row, sample.severity, sample.label, sample.group, sample.split) == (
        2,
        2,
        "severe",
        "patient 7",
        "val",
    )
    assert sample.image == tmp_path / "a/x.png"
    assert sample.mask == tmp_path / "m/x.png"
    assert manifest.name_of(sample) == "a/x.png"


def test_empty_cells_are_absent_values(tmp_path: Path) -> None:
    sample = load(tmp_path, HEADER + "sub/x.png,,,,,\n").samples[0]
    assert (sample.severity, sample.label, sample.mask, sample.split) == (None, None, None, None)
    assert sample.group == "sub/x.png"


def test_optional_columns_may_be_left_out_and_others_are_ignored(tmp_path: Path) -> None:
    manifest = load(tmp_path, "device,severity,image\nscanner,1,x.png\n")
    assert manifest.samples[0].severity == 1
    assert manifest.labels == ("severity 0", "severity 1")


def test_rows_carry_the_line_number_an_editor_shows(tmp_path: Path) -> None:
    text = '\n\nimage,severity,note\r\na.png,0,\r\n\r\nb.png,0,"two\nlines"\n,,\nc.png,1,\n'
    assert [sample.row for sample in load(tmp_path, text).samples] == [4, 6, 9]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_is_tolerated(tmp_path: Path, mark: bytes) -> None:
    assert load(tmp_path, mark + b"image,severity\nx.png,0\n").samples[0].image == tmp_path / "x.png"


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_and_tabs_separate_too(tmp_path: Path, delimiter: str) -> None:
    text = "image,severity,label\na.png,0,mild\n".replace(",", delimiter)
    assert load(tmp_path, text).samples[0].label == "mild"


@pytest.mark.parametrize(("cell", "level"), [("2", 2), ("2.0", 2), ("2.", 2), ("007", 7), (" 3 ", 3), ("0", 0)])
def test_whole_numbers_are_severities(tmp_path: Path, cell: str, level: int) -> None:
    assert load(tmp_path, f"image,severity\nx.png,{cell}\n").samples[0].severity == level


@pytest.mark.parametrize("cell", ["-1", "1.5", "nan", "inf", "1e0", "mild", "²", "\u0663", "1000", "9" * 5000])
def test_anything_else_is_a_problem_with_its_row(tmp_path: Path, cell: str) -> None:
    found = problems(tmp_path, f"image,severity\na.png,0\nx.png,{cell}\n")
    assert len(found) == 1
    assert found[0].startswith("row 3: expected a severity of 0 to 999")
    assert len(found[0]) < 150


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    rows = ["a.png,0,,,,", "b.png,x,,,,holdout", ",1,,,,", "./a.png,0,,,,", "c.png,0,,,,,,", "d\x07.png,0,,,,"]
    found = problems(tmp_path, HEADER + "\n".join(rows) + "\n")
    assert [problem.split(":")[0] for problem in found] == ["row 3", "row 3", "row 4", "row 5", "row 6", "row 7"]
    assert "'holdout'" in found[1]
    assert "already in row 2" in found[3]
    assert "quote cells that hold commas" in found[4]
    assert "unprintable" in found[5]


def test_a_scan_keeps_the_good_rows_beside_the_problems(tmp_path: Path) -> None:
    scan = scan_manifest(write(tmp_path, "image,severity\na.png,0\nb.png,many\nc.png,1\n"))
    assert [sample.row for sample in scan.manifest.samples] == [2, 4]
    assert [problem.row for problem in scan.problems] == [3]


def test_labels_are_the_most_common_name_of_each_level(tmp_path: Path) -> None:
    rows = ["a,1,mild", "b,1,Mild", "c,1,mild", "d,0,", "e,2,zz", "f,2,aa", "g,,unsure"]
    manifest = load(tmp_path, "image,severity,label\n" + "\n".join(rows))
    assert manifest.labels == ("severity 0", "mild", "aa")
    assert (manifest.levels, manifest.classes) == ((0, 1, 2), 3)


def test_two_levels_of_one_name_are_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, "image,severity,label\na,0,same\nb,2,same\nc,1,other\n")
    assert found == ("row 3: severity 0 and severity 2 are both called 'same'",)


def test_no_labeled_image_leaves_no_level(tmp_path: Path) -> None:
    manifest = load(tmp_path, "image,severity\na.png,\n")
    assert (manifest.levels, manifest.classes, manifest.labels) == ((), 0, ())


@pytest.mark.parametrize(
    ("cell", "part"),
    [("train", "train"), ("Training", "train"), ("VAL", "val"), ("validation", "val"), ("test", "test"),
     ("calibration", "calibration"), ("", None)],
)  # fmt: skip
def test_splits_and_their_synonyms(tmp_path: Path, cell: str, part: str | None) -> None:
    manifest = load(tmp_path, f"image,severity,split\nx.png,0,{cell}\n")
    assert manifest.samples[0].split == part
    assert manifest.names_splits == (part is not None)


def test_columns_map_our_names_to_headers(tmp_path: Path) -> None:
    path = write(tmp_path, "file,severity,group,split_group\nx.png,0,wrong,right\n")
    sample = load_manifest(path, columns=parse_columns("image=file,group=split_group")).samples[0]
    assert (sample.image.name, sample.group) == ("x.png", "right")


def test_an_unknown_header_is_named_with_those_found(tmp_path: Path) -> None:
    path = write(tmp_path, "file,severity\nx.png,0\n")
    with pytest.raises(DataError, match=r"expected the columns picture in .*found the headers file, severity"):
        load_manifest(path, columns={"image": "picture"})


def test_a_missing_column_says_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--columns image=HEADER"):
        load(tmp_path, "file,severity\nx.png,0\n")


@pytest.mark.parametrize("text", ["image", "image=", "=file", "image=a,image=b", "picture=file"])
def test_wrong_columns_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_columns(text)


def test_unknown_names_are_refused_wherever_columns_come_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found picture"):
        load_manifest(write(tmp_path, "file,severity\nx.png,0\n"), columns={"picture": "file"})


def test_jsonl_reads_as_csv_does(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"image": "a.png", "severity": 0, "label": "fine", "extra": [1, 2]},
        {"image": "b.png", "severity": 1.0, "group": 17},
        {"image": "c.png", "severity": None},
        {"image": "d.png", "severity": "2"},
    ]
    manifest = load(tmp_path, "\n" + "\n\n".join(json.dumps(row) for row in rows))
    assert [sample.severity for sample in manifest.samples] == [0, 1, None, 2]
    assert [sample.row for sample in manifest.samples] == [2, 4, 6, 8]
    assert manifest.samples[1].group == "17"


def test_jsonl_problems_have_row_numbers(tmp_path: Path) -> None:
    lines = [
        '{"image": "a.png", "severity": 0}',
        '{"image": "b.png"',
        "[1]",
        '{"image": "c.png", "severity": true}',
        '{"image": "\\ud800.png", "severity": 0}',
        "[" * 100_000,
    ]
    found = problems(tmp_path, "\n".join(lines))
    assert [problem.split(":")[0] for problem in found] == ["row 2", "row 3", "row 4", "row 5", "row 6"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "found an empty file"),
        (b"\xef\xbb\xbf \n\n", "found an empty file"),
        (b"image,severity\n", "found none"),
        (b"image,severity\na\0b,1\n", "NUL bytes"),
        ("image,severity\nx,0\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04rest of a spreadsheet", "spreadsheet"),
        (b"image,severity\nx.png,0\n\xe9t\xe9.png,1\n", "the byte 0xe9 in row 3: save"),
        (b'image,severity\n"x.png,0\ny.png,1\n', "broken record in row 2"),
        (b"image,image,severity\nx,y,0\n", "image repeated"),
        (b"x.png,0\ny.png,1\n", "found the headers x.png, 0"),
        (b'[{"image": "x.png"}]', "JSON array"),
        (b"image,severity\nx.png," + b"1" * 200_000, "broken record in row 2"),
    ],
)
def test_hostile_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not read the manifest"):
        load_manifest(tmp_path / "none.csv")


def test_a_folder_stands_for_the_manifest_in_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found none of labels\.csv, .* among 0 entries"):
        load_manifest(tmp_path)
    write(tmp_path, "image,severity\nlate.png,0\n", "manifest.csv")
    write(tmp_path, "image,severity\nfirst.png,0\n", "labels.csv")
    assert load_manifest(tmp_path).samples[0].image == tmp_path / "first.png"


def test_root_moves_relative_paths_and_leaves_absolute_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "image,severity\nx.png,0\n/far/y.png,0\n../z.png,0\n")
    manifest = load_manifest(path, root=tmp_path / "elsewhere")
    first, second, third = manifest.samples
    assert first.image == tmp_path / "elsewhere" / "x.png"
    assert [manifest.name_of(sample) for sample in (first, second, third)] == ["x.png", "/far/y.png", "../z.png"]
