"""The options that ``semise train`` and ``compare`` share, and the training settings that they come to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.cli.options import Columns
from semise_sdk.cli.project import Project
from semise_sdk.errors import ConfigError, OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """The data, the preset and the settings of a training."""

    data: Annotated[Path | None, typer.Argument(help="Manifest (CSV or JSONL); semise.toml's by default.")] = None
    columns: Columns = ""
    preset: Annotated[str | None, typer.Option(help="recommended or faithful.")] = None
    encoder: Annotated[str | None, typer.Option(help="timm model name; resnet50.tv_in1k by default.")] = None
    weights: Annotated[Path | None, typer.Option(help="Encoder weights, .safetensors with timm's names.")] = None
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False
    size: Annotated[int | None, typer.Option(help="Canvas size in pixels.")] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as phase2.epochs=20; repeatable.")
    ] = None

    def preset_of(self, project: Project | None) -> str:
        """Returns the name of the preset: the one given, else the project's, else ``recommended``."""
        return self.preset or str((project.train if project else {}).get("preset", "recommended"))

    def overrides(self, project: Project | None, of_command: Mapping[str, object]) -> dict[str, object]:
        """Returns the settings on top of the preset: the project's, and on top of them what was given.

        Args:
            project: The project folder's, None for none.
            of_command: Settings of the command's own options; None where one was not given.

        Raises:
            ConfigError: there is no manifest, or options do not fit together.
        """
        from semise_training.config import merge, parse_assignments

        given = _given(merge(self._sections(), of_command))
        assigned = parse_assignments(self.settings or [])
        twice = next(_in_both(given, assigned), None)
        if twice is not None:
            raise OptionError(f"one value of {twice}", f"an option and --set {twice}", "keep one")
        if project is None and self.data is None:
            raise ConfigError(
                "expected a manifest, found none: name DATA.csv behind the command, or semise init DATA.csv once"
            )
        below = {} if project is None else _of_project(project)
        if project is not None and self.data is None:
            below = merge(below, _given({"data": {"manifest": project.manifest, "columns": project.columns}}))
        return merge(merge(below, given), assigned)

    def _sections(self) -> dict[str, object]:
        from semise_training.data.manifest import find_manifest, parse_columns

        if self.weights is not None and self.from_scratch:
            raise ConfigError("expected --weights or --from-scratch, found both: keep one")
        init = "file" if self.weights is not None else "scratch" if self.from_scratch else None
        weights = None if self.weights is None else self.weights.resolve()
        return {
            "encoder": {"name": self.encoder, "init": init, "weights": weights},
            "input": {"size": self.size},
            "data": {
                "manifest": None if self.data is None else find_manifest(self.data).resolve(),
                "columns": parse_columns(self.columns),
            },
            "runtime": {"device": self.device},
        }


def _of_project(project: Project) -> dict[str, object]:
    return {"name": project.name, **{name: value for name, value in project.train.items() if name != "preset"}}


def _given(options: Mapping[str, object]) -> dict[str, object]:
    """Returns the options that were given: no None, no empty section."""
    given: dict[str, object] = {}
    for name, value in options.items():
        kept = _given(value) if isinstance(value, Mapping) and name != "columns" else value
        if kept is not None and kept != {}:
            given[name] = kept
    return given


def _in_both(given: Mapping[str, object], assigned: Mapping[str, object], within: str = "") -> Iterator[str]:
    """Yields the settings that two mappings both have, as ``section.key``."""
    for name in (name for name in given if name in assigned):
        one, other = given[name], assigned[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping) and name != "columns":
            yield from _in_both(one, other, f"{within}{name}.")
        else:
            yield within + name
