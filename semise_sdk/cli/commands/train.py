"""``semise train``: from a manifest to a run folder with a trained encoder, classifier and U-Net."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.bundle.signing import own_work
from semise_sdk.cli.commands.evaluate import labeled_images, measure_predictor, report_table
from semise_sdk.cli.console import JsonOption, QuietOption, print_json, say, stdout
from semise_sdk.cli.project import Project, load_project, newest_run
from semise_sdk.cli.reporter import reporting
from semise_sdk.cli.requirements import training_installed
from semise_sdk.errors import ConfigError, DataError
from semise_sdk.predictor import Predictor
from semise_sdk.system.atomic import write_text


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("train")(train)


def train(
    data: Annotated[Path | None, typer.Argument(help="Manifest (CSV or JSONL); semise.toml's by default.")] = None,
    columns: Annotated[str, typer.Option(help="Other headers, as image=file,group=patient.")] = "",
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<date-time> by default.")] = None,
    preset: Annotated[str | None, typer.Option(help="recommended or faithful.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="semise; to compare: imagenet, supervised, simclr, supcon-2, supcon-n, conpro, soda, semise-faithful."
        ),
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="timm model name; resnet50.tv_in1k by default.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Encoder weights, .safetensors with timm's names.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    size: Annotated[int | None, typer.Option(help="Canvas size in pixels.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of NT-Xent in phase 2, 0 to 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    folds: Annotated[int | None, typer.Option(help="Cross-validation with that many folds.")] = None,
    fold: Annotated[int | None, typer.Option(help="Which fold is the test part, from 0.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as phase2.epochs=20; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue --out, or the newest run.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Trains an encoder, a classifier and a U-Net, then measures them on the run's test part."""
    project = load_project(Path.cwd())
    if resume:
        _refuse_settings(
            data, columns, preset, method, encoder, weights, size, alpha, seed, folds, fold, device, settings
        )
        _resume(out or _newest(project), as_json=as_json, quiet=quiet)
        return
    options = {
        "method": method,
        "seed": seed,
        "encoder": encoder_options(encoder, weights, from_scratch=from_scratch),
        "input": {"size": size},
        "phase2": {"alpha": alpha},
        "data": {"folds": folds, "fold": fold, **manifest_options(data, columns, project)},
        "runtime": {"device": device},
    }
    _train(options, settings or [], preset, project, out, as_json=as_json, quiet=quiet)


def _train(
    options: Mapping[str, object],
    settings: list[str],
    preset: str | None,
    project: Project | None,
    out: Path | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    with training_installed("semise train"):
        from semise_training.config import merge, parse_assignments
        from semise_training.recipe import build_config
        from semise_training.run.train import train as train_run

    of_project, its_preset = project_settings(project)
    overrides = merge(merge(of_project, given_options(options)), parse_assignments(settings))
    root = out or (project.out if project else Path("runs")) / datetime.now().strftime("%Y%m%d-%H%M%S")
    say(f"run: {root}; after an interruption: semise train --resume --out {root}", quiet=quiet)
    with reporting(quiet=quiet) as reporter:
        train_run(build_config(preset or its_preset, overrides), root, reporter=reporter)
    _measure(root, as_json=as_json, quiet=quiet)


def _resume(root: Path, *, as_json: bool, quiet: bool) -> None:
    with training_installed("semise train"):
        from semise_training.run.train import resume

    with reporting(quiet=quiet) as reporter:
        resume(root, reporter=reporter)
    _measure(root, as_json=as_json, quiet=quiet)


def _measure(root: Path, *, as_json: bool, quiet: bool) -> None:
    """Measures the run on its own test part, writes RUN/evaluation.json and prints it."""
    say(f"run: {root}; next: semise export {root}", quiet=quiet)
    try:
        images = labeled_images(root, None, columns="", part="test")
    except DataError as error:
        say(f"not measured: {error}", quiet=quiet)
        return
    with own_work(), Predictor.open(root, backend="pytorch", isolate=False) as predictor:
        report = measure_predictor(predictor, images, quiet=quiet)
    write_text(root / "evaluation.json", json.dumps(report.to_json(), indent=2) + "\n")
    if as_json:
        print_json({"run": str(root), "test": report.to_json()})
    else:
        stdout.print(report_table({"test": report}))


def _refuse_settings(*given: object) -> None:
    if any(value is not None and value != "" for value in given):
        raise ConfigError("expected no setting but --out beside --resume: a resumed run keeps its config.yaml")


def _newest(project: Project | None) -> Path:
    folder = project.out if project else Path("runs")
    run = newest_run(folder)
    if run is None:
        raise ConfigError(f"expected a run to resume in {folder}, found none: name it with --out RUN")
    return run


def encoder_options(name: str | None, weights: Path | None, *, from_scratch: bool) -> dict[str, object]:
    """Returns the section ``encoder`` of ``--encoder``, ``--weights`` and ``--from-scratch``."""
    if weights is not None and from_scratch:
        raise ConfigError("expected --weights or --from-scratch, found both: keep one")
    init = "file" if weights is not None else "scratch" if from_scratch else None
    return {"name": name, "init": init, "weights": None if weights is None else weights.resolve()}


def manifest_options(data: Path | None, columns: str, project: Project | None) -> dict[str, object]:
    """Returns the section ``data`` of DATA and ``--columns``, or of the project."""
    from semise_training.data.manifest import find_manifest, parse_columns

    if data is None and project is None:
        raise ConfigError(
            "expected a manifest, found none: name DATA.csv behind the command, or semise init DATA.csv once"
        )
    if data is None and project is not None:
        return {"manifest": project.manifest, "columns": parse_columns(columns) or project.columns}
    if data is None:
        return {}
    return {"manifest": find_manifest(data).resolve(), "columns": parse_columns(columns)}


def project_settings(project: Project | None) -> tuple[dict[str, object], str]:
    """Returns the settings of a project's section ``train``, with its name, and its preset."""
    if project is None:
        return {}, "recommended"
    settings = {name: value for name, value in project.train.items() if name != "preset"}
    return {"name": project.name, **settings}, str(project.train.get("preset", "recommended"))


def given_options(options: Mapping[str, object]) -> dict[str, object]:
    """Returns the options that were given: no None, no empty section."""
    given: dict[str, object] = {}
    for name, value in options.items():
        kept = given_options(value) if isinstance(value, Mapping) and name != "columns" else value
        if kept is not None and kept != {}:
            given[name] = kept
    return given
