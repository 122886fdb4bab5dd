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
from semise_sdk.cli.option_groups import refuse_given, with_groups
from semise_sdk.cli.project import Project, load_project, newest_run
from semise_sdk.cli.reporter import reporting
from semise_sdk.cli.requirements import training_installed
from semise_sdk.cli.training_options import TrainingOptions
from semise_sdk.errors import ConfigError, DataError, OptionError
from semise_sdk.predictor import Predictor
from semise_sdk.system.atomic import write_text


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("train")(with_groups(train))


def train(
    context: typer.Context,
    *,
    options: TrainingOptions,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<date-time> by default.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="semise; to compare: imagenet, supervised, simclr, supcon-2, supcon-n, conpro, soda, semise-faithful."
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of NT-Xent in phase 2, 0 to 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    folds: Annotated[int | None, typer.Option(help="Cross-validation with that many folds.")] = None,
    fold: Annotated[int | None, typer.Option(help="Which fold is the test part, from 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue --out, or the newest run.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Trains an encoder, a classifier and a U-Net, then measures them on the run's test part."""
    project = load_project(Path.cwd())
    if resume:
        refuse_given(
            context,
            "beside --resume",
            "a resumed run keeps its config.yaml; leave it out, or start another run",
            but=("--resume", "--out", "--json", "--quiet"),
        )
        root = out or _newest(project)
        _resume(root, quiet=quiet)
    else:
        root = out or (project.out if project else Path("runs")) / datetime.now().strftime("%Y%m%d-%H%M%S")
        data = {"folds": folds, "fold": fold}
        of_command = {"method": method, "seed": seed, "phase2": {"alpha": alpha}, "data": data}
        _train(options, of_command, project, root, quiet=quiet)
    _measure(root, as_json=as_json, quiet=quiet)


def _train(
    options: TrainingOptions, of_command: Mapping[str, object], project: Project | None, root: Path, *, quiet: bool
) -> None:
    with training_installed("semise train"):
        from semise_training.recipe import build_config
        from semise_training.run.train import train as train_run

    overrides = options.overrides(project, of_command)
    _refuse_fold_alone(overrides)
    say(f"run: {root}; after an interruption: semise train --resume --out {root}", quiet=quiet)
    with reporting(quiet=quiet) as reporter:
        train_run(build_config(options.preset_of(project), overrides), root, reporter=reporter)


def _refuse_fold_alone(overrides: Mapping[str, object]) -> None:
    data = overrides["data"]
    if isinstance(data, Mapping) and data.get("fold") is not None and not data.get("folds"):
        raise OptionError("--folds with --fold", f"--fold {data['fold']} alone", "say how many folds there are")


def _resume(root: Path, *, quiet: bool) -> None:
    with training_installed("semise train"):
        from semise_training.run.train import resume

    with reporting(quiet=quiet) as reporter:
        resume(root, reporter=reporter)


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


def _newest(project: Project | None) -> Path:
    folder = project.out if project else Path("runs")
    run = newest_run(folder)
    if run is None:
        raise ConfigError(f"expected a run to resume in {folder}, found none: name it with --out RUN")
    return run
