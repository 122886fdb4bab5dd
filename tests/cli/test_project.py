"""The project file, and finding the newest run and bundle."""

import os
from pathlib import Path

import pytest

from semise_sdk.cli.project import Project, load_project, newest_bundle, newest_run
from semise_sdk.errors import ConfigError

FULL = """
[project]
name = "breast"
[data]
manifest = "labels.csv"
columns = { image = "file", group = "split_group" }
[train]
preset = "faithful"
out = "work/runs"
seed = 3
[train.encoder]
name = "resnet18"
"""


def project(folder: Path, text: str) -> Project | None:
    (folder / "semise.toml").write_text(text, encoding="utf-8")
    return load_project(folder)


def touch(path: Path, second: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    os.utime(path, (second, second))


def test_a_folder_without_the_file_is_no_project(tmp_path: Path) -> None:
    assert load_project(tmp_path) is None


def test_every_value_is_read(tmp_path: Path) -> None:
    assert project(tmp_path, FULL) == Project(
        folder=tmp_path,
        name="breast",
        manifest=tmp_path / "labels.csv",
        columns={"image": "file", "group": "split_group"},
        out=tmp_path / "work/runs",
        train={"preset": "faithful", "seed": 3, "encoder": {"name": "resnet18"}},
    )


def test_only_the_manifest_is_needed(tmp_path: Path) -> None:
    found = project(tmp_path, '[data]\nmanifest = "/abs/data.csv"\n')
    assert found == Project(
        folder=tmp_path, name="semise", manifest=Path("/abs/data.csv"), columns={}, out=tmp_path / "runs", train={}
    )


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    text = 'stray = 1\n[project]\nnmae = "x"\nname = 7\n[data]\nmanifest = 1\ncolumns = "image"\n[train]\nout = 2\n'
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, text)
    for name in ("stray", "project.nmae", "project.name", "data.manifest", "data.columns", "train.out"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[data]", "data = 1", "[data]\nmanifest = ''", "not toml", "[data]\nmanifest = 'x'\ncolumns = {image = 1}"],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"semise\.toml"):
        project(tmp_path, text)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "semise.toml").write_bytes("[data]\nmanifest = 'é.csv'\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load_project(tmp_path)


def test_the_newest_run_is_that_of_the_newest_config(tmp_path: Path) -> None:
    assert newest_run(tmp_path) is None
    touch(tmp_path / "runs/old/config.yaml", 100)
    touch(tmp_path / "runs/new/config.yaml", 300)
    touch(tmp_path / "runs/other/notes.txt", 900)
    touch(tmp_path / "late/config.yaml", 200)
    assert newest_run(tmp_path) == tmp_path / "runs/new"
    assert newest_run(tmp_path / "runs") == tmp_path / "runs/new"
    assert newest_run(tmp_path / "late") == tmp_path / "late"


def test_the_newest_bundle_lies_in_a_run(tmp_path: Path) -> None:
    touch(tmp_path / "runs/a/config.yaml", 900)
    assert newest_bundle(tmp_path) is None
    touch(tmp_path / "runs/a/bundle/manifest.json", 100)
    touch(tmp_path / "runs/b/bundle/manifest.json", 200)
    touch(tmp_path / "runs/c/manifest.json", 300)
    assert newest_bundle(tmp_path) == tmp_path / "runs/b/bundle"


def test_a_project_looks_where_its_runs_are(tmp_path: Path) -> None:
    found = project(tmp_path, FULL)
    assert found is not None
    touch(tmp_path / "runs/x/config.yaml", 900)
    touch(tmp_path / "work/runs/y/config.yaml", 100)
    touch(tmp_path / "work/runs/y/bundle/manifest.json", 100)
    for where in (found, tmp_path):
        assert newest_run(where) == tmp_path / "work/runs/y"
        assert newest_bundle(where) == tmp_path / "work/runs/y/bundle"
