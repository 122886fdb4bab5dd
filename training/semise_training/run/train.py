"""Training from a manifest to a run folder: prepare, learn the representation, train the heads, write the model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from semise_sdk.errors import ConfigError, OutputError, TrainingError
from semise_sdk.system.atomic import clear_unfinished, write_text
from semise_sdk.system.locks import claimed
from semise_sdk.system.progress import Reporter
from semise_training.augment import Augmenter
from semise_training.config import TrainConfig, dump_config, read_config
from semise_training.data.dataset import Dataset
from semise_training.loop.checkpoint import Checkpoint, state_digest
from semise_training.loop.loop import Session, restore_model, run_stage
from semise_training.loop.run_folder import RunFolder
from semise_training.methods import Method, find_trained_method
from semise_training.network.device import resolve
from semise_training.network.model import TrainingModel, build_model, initial_body
from semise_training.run import plots
from semise_training.run.finish import write_model
from semise_training.run.prepare import prepare
from semise_training.run.temperature import calibrate_classifier
from semise_training.sections import OptimizerConfig
from semise_training.stages.classifier import ClassifierStage, frozen_model
from semise_training.stages.unet import UnetStage
from semise_training.stages.upstream import Upstream, centre_projection


def train(config: TrainConfig, root: Path, *, reporter: Reporter) -> RunFolder:
    """Trains a new run in ``root`` and returns its folder.

    Raises:
        ConfigError: ``root`` already holds a run, another process trains there, or the method has no network to train.
        DataError: the manifest or its images are wrong.
        TrainingError: the training diverged or collapsed.
        OutputError: the folder could not be written.
    """
    if root.exists() and not root.is_dir():
        raise ConfigError(f"expected a folder for the run, found a file {root}: name another --out")
    run = RunFolder(root)
    find_trained_method(config.method)
    _refuse_started(run)
    config.input.spec()
    initial_body(config)  # wrong names and weights are said before the images are read
    compute = resolve(config.runtime)
    runtime = config.runtime.model_copy(update={"device": str(compute.device), "precision": compute.precision})
    with ExitStack() as resources:
        _claim(run, resources)
        _refuse_started(run)  # by whoever had the folder meanwhile
        run.split.unlink(missing_ok=True)  # of a try that failed before it trained anything
        write_text(run.config, dump_config(config.model_copy(update={"runtime": runtime})))
        return _continue(read_config(run.config), run, reporter=reporter)


def resume(root: Path, *, reporter: Reporter) -> RunFolder:
    """Continues a run from its last checkpoint to its end; on the CPU the result equals an uninterrupted run's.

    Raises:
        ConfigError: ``root`` holds no run, or another process trains there.
        DataError, TrainingError, OutputError: as :func:`train`.
    """
    run = RunFolder(root)
    if run.is_finished:
        return run
    config = read_config(run.config)
    with ExitStack() as resources:
        _claim(run, resources)
        return _continue(config, run, reporter=reporter)


def _refuse_started(run: RunFolder) -> None:
    if run.is_started:
        raise ConfigError(f"expected an empty run folder, found a run in {run.root}: use --resume, or another --out")


def _claim(run: RunFolder, resources: ExitStack) -> None:
    """Makes this process the only one to train in a run folder, and removes what a killed one left half written."""
    try:
        is_mine = resources.enter_context(claimed(run.root / "run"))
        if is_mine:
            clear_unfinished(run.config, run.split, run.metrics, run.checkpoint, run.plots, run.cache)
    except OSError as error:
        raise OutputError(f"could not write into {run.root}: {error.strerror}; free space or choose another") from error
    if not is_mine:
        raise ConfigError(f"expected no other process to train in {run.root}, found one: wait for it, or name another")


def _continue(config: TrainConfig, run: RunFolder, *, reporter: Reporter) -> RunFolder:
    session = Session(run, resolve(config.runtime), config.seed, reporter)
    dataset = prepare(config, run, reporter=reporter)
    method = find_trained_method(config.method)
    model = build_model(without_unused_unet(config, dataset), classes=dataset.classes, identity=method.identity)
    model.to(session.compute.device)
    restore_model(model, run)
    upstream = Upstream(model, dataset, Augmenter(config.augment), session.compute, config.seed)
    learn_representation(method, upstream, config, session)
    _train_heads(upstream, config, session)
    plots.draw_run(run, upstream)
    # After the last checkpoint: a resumed run must not fold a temperature in twice.
    temperature = calibrate_classifier(upstream, config.classifier)
    write_model(run, config, upstream, temperature=temperature)
    return run


def learn_representation(method: Method, upstream: Upstream, config: TrainConfig, session: Session) -> None:
    """Runs the method's stages, from where the run's checkpoint stands; the model then holds their last weights."""
    if config.heads.centred and not method.identity and not Checkpoint.load(session.run.checkpoint).stage:
        centre_projection(upstream)
    for row in method.upstream:
        stage = row.build(upstream, config)
        if stage.epochs:
            run_stage(stage, session, config.optimizer)
    upstream.model.extras.clear()  # what only served to learn is neither kept nor deployed


def _train_heads(upstream: Upstream, config: TrainConfig, session: Session) -> None:
    with frozen_encoder(upstream.model):
        run_stage(ClassifierStage(upstream, config.classifier), session, head_schedule(config.classifier.lr))
        if upstream.model.network.config.decoder_channels:
            run_stage(UnetStage(upstream, config.unet), session, head_schedule(config.unet.lr))


@contextmanager
def frozen_encoder(model: TrainingModel) -> Iterator[None]:
    """Freezes all but classifier and U-Net, and proves at the end of the block that the encoder did not move.

    Raises:
        TrainingError: it did.
    """
    frozen_model(model)
    before = state_digest(model.network.encoder)
    yield
    if state_digest(model.network.encoder) != before:
        raise TrainingError("the frozen encoder changed while its heads were trained: this is a defect, report it")


def head_schedule(lr: float) -> OptimizerConfig:
    """Returns the schedule of every head: cosine to zero without warm-up."""
    return OptimizerConfig(name="adamw", lr=lr, head_lr=lr, schedule="cosine", warmup_fraction=0.0)


def without_unused_unet(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """Returns the configuration without a U-Net when there are no masks to learn from."""
    if len(dataset.masked("train")) > 1 and len(dataset.masked("val")):
        return config
    return config.model_copy(update={"unet": config.unet.model_copy(update={"epochs": 0})})
