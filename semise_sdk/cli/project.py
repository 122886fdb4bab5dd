"""The project folder: its semise.toml, its newest run and its newest bundle."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import ConfigError

PROJECT_FILE = "semise.toml"

_KNOWN_KEYS: Mapping[str, tuple[str, ...]] = {"project": ("name",), "data": ("manifest", "columns")}
_SECTIONS = (*_KNOWN_KEYS, "train")
_RUN_DEPTHS = ("", "*/", "*/*/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What a semise.toml says.

    Args:
        folder: Folder of the file; relative paths in it start there.
        name: Name of the model that the project trains.
        manifest: The data manifest.
        columns: The manifest's header for each of our column names that differs.
        out: Folder of the runs.
        train: Every other option of the ``train`` section, such as ``preset``, for the training configuration.
    """

    folder: Path
    name: str
    manifest: Path
    columns: Mapping[str, str]
    out: Path
    train: Mapping[str, object]


def load_project(folder: Path) -> Project | None:
    """Returns the project of a folder, or None when the folder has no semise.toml.

    Raises:
        ConfigError: the file is not TOML, or keys are unknown, missing or of the wrong type: all named at once.
    """
    path = folder / PROJECT_FILE
    if not path.is_file():
        return None
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"could not read {path}: {error.strerror}; check its permissions") from error
    except ValueError as error:
        raise ConfigError(f"expected a TOML file in UTF-8, found {error} in {path}; correct it") from error
    problems = [*_unknown_keys(data), *_wrong_values(data)]
    if problems:
        raise ConfigError(f"{path} is wrong: {'; '.join(problems)}; semise init --force writes a new one")
    return _project(folder, data)


def newest_run(where: Project | Path, *, finished: bool = False) -> Path | None:
    """Returns the run folder whose config.yaml is the newest, or None.

    Args:
        where: A project; or a folder, searched two levels deep unless its semise.toml says where its runs are.
        finished: True for the newest of those that left a model.
    """
    if finished:
        model = _newest(_runs_folder(where), "checkpoint/model.json")
        return None if model is None else model.parent.parent
    config = _newest(_runs_folder(where), "config.yaml")
    return None if config is None else config.parent


def newest_bundle(where: Project | Path) -> Path | None:
    """Returns the ``RUN/bundle`` folder whose manifest.json is the newest, or None.

    Args:
        where: As for :func:`newest_run`.
    """
    manifest = _newest(_runs_folder(where), "bundle/manifest.json")
    return None if manifest is None else manifest.parent


def _unknown_keys(data: Mapping[str, object]) -> list[str]:
    unknown = [name for name in data if name not in _SECTIONS]
    for section, known in _KNOWN_KEYS.items():
        values = data.get(section, {})
        if isinstance(values, dict):
            unknown += [f"{section}.{name}" for name in values if name not in known]
    return [f"unknown key {name}" for name in unknown]


def _wrong_values(data: Mapping[str, object]) -> list[str]:
    wrong = [f"expected a section [{name}]" for name in _SECTIONS if not isinstance(data.get(name, {}), dict)]
    if not _is_text(_value(data, "data", "manifest")):
        wrong.append("expected data.manifest to be the path of a CSV or JSONL file")
    columns = _value(data, "data", "columns", {})
    if not isinstance(columns, dict) or not all(_is_text(header) for header in columns.values()):
        wrong.append('expected data.columns to be a table such as { image = "file" }')
    wrong += [
        f"expected {section}.{name} to be a text"
        for section, name in (("project", "name"), ("train", "out"), ("train", "preset"))
        if not _is_text(_value(data, section, name, "given by default"))
    ]
    return wrong


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _value(data: Mapping[str, object], section: str, name: str, default: object = None) -> object:
    values = data.get(section, {})
    return values.get(name, default) if isinstance(values, dict) else default


def _project(folder: Path, data: Mapping[str, object]) -> Project:
    columns = _value(data, "data", "columns", {})
    train = data.get("train", {})
    options: Mapping[str, object] = train if isinstance(train, dict) else {}
    return Project(
        folder=folder,
        name=str(_value(data, "project", "name", "semise")),
        manifest=folder / str(_value(data, "data", "manifest")),
        columns={str(name): str(header) for name, header in columns.items()} if isinstance(columns, dict) else {},
        out=folder / str(_value(data, "train", "out", "runs")),
        train={name: value for name, value in options.items() if name != "out"},
    )


def _runs_folder(where: Project | Path) -> Path:
    project = load_project(where) if isinstance(where, Path) else where
    if project is not None:
        return project.out
    return where if isinstance(where, Path) else where.folder


def _newest(folder: Path, name: str) -> Path | None:
    found = (path for depth in _RUN_DEPTHS for path in folder.glob(depth + name))
    return max(found, key=lambda path: (_modified(path), path.as_posix()), default=None)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
