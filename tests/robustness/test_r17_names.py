"""R17: 200 odd names and files that are none have a row each; nothing hangs, CSV runs nothing, JSON keeps the names."""

import contextlib
import csv
import io
import json
import os
import random
import socket
import time
from pathlib import Path

import pytest
from PIL import Image

from semise_sdk.cli.app import run
from semise_sdk.tables.spreadsheet import restored
from semise_sdk.tables.write import utf8_text

COUNT = 200
LIMIT_S = 60

NAMES = [
    "new\nline.png", "carriage\rreturn.png", "\ttab.png", "\nfirst.png", " .png", "  two  spaces  .png", "trailing ",
    "\u202egnp.cod", "\u2066isolate\u2069.png", "\u200bzero.png", "\ufeffbom.png", "\x01\x1b[31mred\x1b[0m.png", "\x7f",
    "-rf", "--help", "--out=x.csv", "-", "~", "$(reboot).png", "`id`.png", "${HOME}.png", "%s%n.png", "a|b.png", "a&b",
    "<script>alert(1)<\u2215script>.png", "<img src=x onerror=alert(1)>.png", '"quoted".png', "it's.png", "'=1.png",
    "''=2.png", "=1+1.png", "=cmd|' \u2215C calc'!A0.png", "+1.png", "@SUM(A1).png", "-1+1.png", "\uff1dfull.png",
    "a;=1.png", "a,b.png", "a;b.png", "a\tb\t=1.png", ",,,.png", "=\n=.png", "NaN", "null", "None", "u\u0308ni.png",
    "\u00fcni.png", "\u65e5\u672c.png", "\U0001f600.png", "\U0001f469\u200d\u2695\ufe0f.png", "CON.png", "nul",
    "a" * 255, "b" * 251 + ".png", "\u00e9" * 127, "\u0130\u0131.png", "back\\slash.png", "c:\\x.png", "\\udcff.png",
    "[markup].png", "[red]x[\u2215red]", "*.png", "?.png", "{a,b}.png", "#1.png", "a%00b.png", "png..", "a.png.exe",
    "a.dcm",
]  # fmt: skip
NO_TEXT = [b"\xff\xfe.png", b"bad\x80\n.png", b"=\xff.png", b"\xc3\x28.png", b"\xed\xa0\x80.png", b"\xff" * 255]
LETTERS = "ab\n\r\t '\"=+-@;,<>&\\|$`\u202e\u200f\u0301\u00e9\u6f22\U0001f600\x02"
NO_FILES = {
    "loop_a.png", "loop_b.png", "self.png", "dangling.png", "null.png", "fifo.png", "empty.png", "unreadable.png",
    "socket.png",
}  # fmt: skip


def odd_names() -> list[str]:
    names = dict.fromkeys([*map(os.fsencode, NAMES), *NO_TEXT])
    generator = random.Random(17)  # noqa: S311
    while len(names) < COUNT:
        name = "".join(generator.choices(LETTERS, k=generator.randint(1, 40)))
        names |= {} if name.startswith(".") else {name.encode(): None}
    return list(map(os.fsdecode, names))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (24, 20), (200, 30, 60)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path, picture) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in odd_names():
        (folder / name).write_bytes(picture)
    return folder


@pytest.fixture
def no_files(folder, picture, monkeypatch) -> Path:
    """The folder with what is no image file beside the odd names, and a link back to itself."""
    (folder / "folder_link").symlink_to(folder)
    (folder / "loop_a.png").symlink_to("loop_b.png")
    (folder / "loop_b.png").symlink_to("loop_a.png")
    (folder / "self.png").symlink_to("self.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "null.png").symlink_to(os.devnull)
    (folder / "empty.png").touch()
    (folder / "unreadable.png").write_bytes(picture)
    (folder / "unreadable.png").chmod(0)
    os.mkfifo(folder / "fifo.png")
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")  # its whole path may have 107 bytes only
    return folder


def ranked(capsys, folder, bundle, *options):
    started = time.perf_counter()
    code = run(["rank", str(folder), "--bundle", str(bundle), "--backend", "onnxruntime", "-q", *options])
    assert time.perf_counter() - started < LIMIT_S
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out


@pytest.mark.timeout(120)
def test_every_odd_name_has_one_row_in_csv_and_json(no_files, colour_bundle, capsys, figure):
    names = names_in(no_files) - {"folder_link"}  # it leads to a folder that is being walked, and adds nothing
    code, text = ranked(capsys, no_files, colour_bundle)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    files = [restored(row["file"]) for row in rows]
    assert code == 3
    assert len(rows) == len(names) == COUNT + len(NO_FILES)
    assert sorted(files) == sorted(map(utf8_text, names))
    for options in (("--format", "jsonl"), ("--json",)):
        _, text = ranked(capsys, no_files, colour_bundle, *options)
        found = json.loads(text)["rows"] if options == ("--json",) else [json.loads(line) for line in text.splitlines()]
        assert [row["file"] for row in found] == files
    assert {name for name in names if utf8_text(name) == name} <= set(files)
    cells = [cell for row in rows for cell in row.values()]
    risky = [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))]
    assert risky == []
    failed = {restored(row["file"]) for row in rows if row["status"] == "error" and row["reason"]}
    assert failed in (NO_FILES, NO_FILES - {"unreadable.png"})  # root reads it
    figure("odd names, each with one row", len(rows))
    figure("cells that a spreadsheet would run", len(risky))


@pytest.mark.timeout(240)
def test_each_odd_name_can_be_given_by_itself(folder, colour_bundle, capsys, figure, amount):
    names = odd_names()[: amount(25, COUNT)]
    for name in names:
        code, text = ranked(capsys, folder / name, colour_bundle)
        (row,) = csv.DictReader(io.StringIO(text, newline=""))
        assert (code, restored(row["file"])) == (0, utf8_text(name))
    figure("odd names given one by one", len(names))


def test_each_odd_name_has_its_map(folder, colour_bundle, capsys, tmp_path, figure):
    code, _ = ranked(capsys, folder, colour_bundle, "--maps", str(tmp_path / "maps"))
    assert code == 0
    assert len(names_in(tmp_path / "maps")) == COUNT
    figure("maps of odd names", COUNT)


def test_names_that_look_like_options_go_behind_two_dashes(folder, colour_bundle, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("-rf", "--help", "--out=x.csv"):
        code = run(["rank", "--bundle", str(colour_bundle), "--backend", "onnxruntime", "-q", "--", name])
        (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
        assert (code, restored(row["file"])) == (0, name)
    assert not (folder / "x.csv").exists()


@pytest.mark.parametrize("name", ["fifo.png", "socket.png", "self.png", "null.png"])
def test_what_is_no_file_is_refused_at_once_when_given_by_itself(no_files, colour_bundle, capsys, name):
    started = time.perf_counter()
    code = run(["rank", str(no_files / name), "--bundle", str(colour_bundle), "--backend", "onnxruntime", "-q"])
    captured = capsys.readouterr()
    assert time.perf_counter() - started < 10
    assert (code, "not_a_file: " in captured.out) in ((3, True), (2, False))
    assert captured.out or "found nothing at" in captured.err
