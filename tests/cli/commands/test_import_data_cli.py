"""``semise data import`` on a small Papilledema download; the importers themselves are tested beside the training."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from semise_sdk.cli.app import run
from semise_sdk.cli.commands import data
from semise_sdk.errors import ConfigError, DataError
from semise_training.data.importers import IMPORTERS

NAMES = ("Normal", "Pseudopapilledema", "Papilledema")
IMPORT = ("data", "import", "papilledema", "download", "--out", "out")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a download of four images of each class."""
    for index in range(12):
        coarse = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        target = tmp_path / "download" / NAMES[index % 3] / f"p{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(target)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def semise(*arguments: str) -> Result:
    app = typer.Typer()
    data.register(app)
    return CliRunner().invoke(app, arguments, standalone_mode=False)


def test_the_counts_are_printed_and_what_to_do_next(folder: Path) -> None:
    result = semise(*IMPORT)
    assert (result.exception, result.return_value) == (None, 0)
    assert result.stdout.splitlines() == [
        "12 images: normal 4, pseudopapilledema 4, papilledema 4",
        "12 images are in 12 groups of near-duplicates, the largest of 1",
    ]
    assert "wrote out/data.csv; next: semise data check out/data.csv, then semise train out/data.csv" in result.stderr


def test_what_it_wrote_passes_the_check(folder: Path) -> None:
    semise(*IMPORT)
    checked = semise("data", "check", "out")
    assert checked.exception is None
    assert checked.stdout.splitlines()[-1] == "ok: 0 errors, 0 warnings"


def test_json_holds_everything_and_nothing_else_is_printed(folder: Path) -> None:
    (folder / "download/Normal/Thumbs.db").write_bytes(b"no image")
    result = semise(*IMPORT, "--json", "--quiet")
    assert (result.return_value, result.stderr) == (3, "")
    report = json.loads(result.stdout)
    assert (report["dataset"], report["manifest"]) == ("papilledema", "out/data.csv")
    assert report["counts"]["classes"] == {"normal": 4, "pseudopapilledema": 4, "papilledema": 4}
    assert [failure["file"] for failure in report["failed"]] == ["Normal/Thumbs.db"]
    assert len(report["notes"]) == 1


def test_images_left_out_are_listed_and_exit_code_3(folder: Path) -> None:
    (folder / "download/Normal/odd[bold]\x1b.png").write_bytes(b"no image")
    result = semise(*IMPORT)
    assert result.return_value == 3
    assert result.stdout.splitlines()[-1].startswith("left out: Normal/odd[bold]?.png: not_an_image: ")


def test_a_manifest_is_overwritten_only_with_force(folder: Path) -> None:
    semise(*IMPORT)
    assert isinstance(semise(*IMPORT).exception, ConfigError)
    assert semise(*IMPORT, "--force").return_value == 0


def test_wrong_downloads_and_names_are_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(semise("data", "import", "isic", "download", "--out", "out").exception, DataError)
    assert isinstance(semise("data", "import", "busi", "download", "--out", "out").exception, ConfigError)
    assert run(["data", "import", "isic", "download", "--out", "out"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("semise: expected ISIC 2018 task 3 as published in download, found 2 deviations")
    assert lines[1].startswith("  expected the file ISIC2018_Task3_Training_GroundTruth.csv in download/")
    assert not (folder / "out").exists()


def test_the_help_names_every_importer() -> None:
    assert all(name in data.import_data.__annotations__["dataset"].__metadata__[0].help for name in IMPORTERS)
