"""``semise data check`` and ``semise init`` on a made-up data set."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from semise_sdk.cli.commands import data
from semise_sdk.cli.project import load_project
from semise_sdk.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with eight pictures and labels.csv under ``pack``."""
    (tmp_path / "pack").mkdir()
    rows = ["file,severity,label,patient"]
    for index in range(8):
        coarse = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / "pack" / f"p{index}.png")
        rows.append(f"p{index}.png,{index % 2},{'sick' if index % 2 else 'well'},g{index}")
    (tmp_path / "pack" / "labels.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def semise(*arguments: str) -> Result:
    app = typer.Typer()
    data.register(app)
    return CliRunner().invoke(app, arguments)


COLUMNS = ("--columns", "image=file,group=patient")


def add_row(folder: Path, row: str) -> None:
    with (folder / "pack" / "labels.csv").open("a") as stream:
        stream.write(row + "\n")


def test_sound_data_passes(folder: Path) -> None:
    result = semise("data", "check", "pack/labels.csv", *COLUMNS)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["8 images: well 4, sick 4", "ok: 0 errors, 0 warnings"]


def test_errors_are_a_table_and_exit_code_2(folder: Path) -> None:
    add_row(folder, "gone[bold].png,1,sick,g9")
    add_row(folder, "p0.png,x,,")
    result = semise("data", "check", "pack", *COLUMNS)
    assert result.exit_code == 2
    lines = [line.split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line[1:4]] for line in lines] == [
        ["error", "bad_row", "11"],
        ["error", "missing_image", "10"],
    ]
    assert "gone[bold].png" in lines[1][4]
    assert result.stdout.splitlines()[-1] == "not ok: 2 errors, 0 warnings"


def test_warnings_alone_pass(folder: Path) -> None:
    (folder / "pack" / "copy.png").write_bytes((folder / "pack" / "p0.png").read_bytes())
    add_row(folder, "copy.png,1,sick,g9")
    result = semise("data", "check", "pack", *COLUMNS)
    assert result.exit_code == 0
    assert "label_conflict" in result.stdout


def test_json_holds_the_whole_report_and_nothing_else_is_printed(folder: Path) -> None:
    add_row(folder, "gone.png,1,sick,g9")
    result = semise("data", "check", "pack", *COLUMNS, "--json", "--quiet")
    report = json.loads(result.stdout)
    assert result.exit_code == 2
    assert result.stderr == ""
    assert [(finding["kind"], finding["rows"], finding["files"]) for finding in report["findings"]] == [
        ("missing_image", [10], ["gone.png"])
    ]
    assert report["counts"]["classes"] == {"well": 4, "sick": 5}


def test_an_unusable_manifest_is_an_error_of_its_own(folder: Path) -> None:
    assert isinstance(semise("data", "check", "pack").exception, DataError)
    assert isinstance(semise("data", "check", "pack", "--columns", "nonsense").exception, ConfigError)


def test_rows_are_shown_as_ranges() -> None:
    assert data._ranges((2, 3, 4, 7, 9, 10)) == "2-4, 7, 9-10"
    assert data._ranges(()) == ""


def test_check_without_argument_takes_the_project(folder: Path) -> None:
    assert isinstance(semise("data", "check").exception, ConfigError)
    assert semise("init", "pack/labels.csv", *COLUMNS).exit_code == 0
    result = semise("data", "check")
    assert result.exit_code == 0
    assert "8 images" in result.stdout


def test_init_writes_a_project_that_reads_back(folder: Path) -> None:
    result = semise("init", "pack/labels.csv", *COLUMNS)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "8 images (well, sick)" in result.stderr
    project = load_project(folder)
    assert project is not None
    assert project.manifest == folder / "pack/labels.csv"
    assert (project.name, project.columns) == ("pack", {"image": "file", "group": "patient"})
    assert (project.out, project.train) == (folder / "runs", {"preset": "recommended"})


def test_init_explains_every_value(folder: Path) -> None:
    semise("init", "pack", *COLUMNS)
    lines = (folder / "semise.toml").read_text().splitlines()
    values = [index for index, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(values) == 5
    assert all(lines[index - 1].startswith("# ") for index in values)


def test_init_into_another_folder_keeps_the_way_to_the_data(folder: Path) -> None:
    assert semise("init", "pack", *COLUMNS, "--out-dir", "projects/one", "--name", 'say "hi"\t').exit_code == 0
    written = tomllib.loads((folder / "projects/one/semise.toml").read_text())
    assert written["data"]["manifest"] == "../../pack/labels.csv"
    assert written["project"]["name"] == 'say "hi"\t'


def test_init_without_columns_writes_an_empty_table(folder: Path) -> None:
    (folder / "plain.csv").write_text("image,severity\npack/p0.png,0\n")
    semise("init", "plain.csv")
    assert tomllib.loads((folder / "semise.toml").read_text())["data"] == {"manifest": "plain.csv", "columns": {}}


def test_init_never_overwrites_unasked(folder: Path) -> None:
    (folder / "semise.toml").write_text("mine")
    refused = semise("init", "pack", *COLUMNS)
    assert isinstance(refused.exception, ConfigError)
    assert (folder / "semise.toml").read_text() == "mine"
    assert semise("init", "pack", *COLUMNS, "--force", "--quiet").stderr == ""
    assert load_project(folder) is not None


def test_init_writes_nothing_for_a_manifest_with_mistakes(folder: Path) -> None:
    add_row(folder, "p9.png,x,,")
    assert isinstance(semise("init", "pack", *COLUMNS).exception, DataError)
    assert not (folder / "semise.toml").exists()
