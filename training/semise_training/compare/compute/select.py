"""Trains and selects one system without seeing a test label: the code here gets a Selection, nothing else."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.system.atomic import write_text
from semise_sdk.system.progress import Reporter
from semise_training.augment import Augmenter
from semise_training.compare.cells.answers import LOSSES, Answers
from semise_training.compare.cells.plan import PlannedCell
from semise_training.compare.compute.downstream import Heads, answer, constant_answers, train_heads
from semise_training.compare.compute.features import FeatureStore, shared_features
from semise_training.compare.compute.shared import Examined, Selection
from semise_training.config import TrainConfig
from semise_training.data.dataset import Dataset
from semise_training.data.size import size_of
from semise_training.loop.checkpoint import Checkpoint, state_digest
from semise_training.loop.loop import Session, restore_model, run_stage
from semise_training.loop.run_folder import RunFolder, read_records
from semise_training.methods import Method, find_method
from semise_training.network.device import Compute, resolve
from semise_training.network.model import TrainingModel, build_model
from semise_training.run.budget import fit_budget
from semise_training.run.train import frozen_encoder, head_schedule, learn_representation, without_unused_unet
from semise_training.stages.classifier import HeadFeatures, head_features
from semise_training.stages.unet import UnetStage
from semise_training.stages.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Constant:
    """The majority row: one grade for every image."""

    config: TrainConfig
    level: int
    classes: int
    with_masks: bool

    def answer(self, part: Examined) -> Answers:
        """Returns what it says of a part."""
        return constant_answers(part, level=self.level, classes=self.classes, with_masks=self.with_masks)

    def report(self) -> dict[str, object]:
        """Returns what was selected, as JSON data."""
        return {"level": self.level}


@dataclass(frozen=True, slots=True)
class Selected:
    """A trained model with its classifiers and its healthy references; nothing about it changes any more."""

    config: TrainConfig
    model: TrainingModel
    heads: Heads
    bank: ReferenceBank
    compute: Compute
    unet: float | None

    def answer(self, part: Examined) -> Answers:
        """Returns what it says of a part."""
        return answer(self.model, self.heads, self.bank, part, self.config.input.spec(), compute=self.compute)

    def report(self) -> dict[str, object]:
        """Returns what was selected, as JSON data: epochs, validation figures and digests of the weights."""
        digests = [state_digest(head.classifier) for loss in LOSSES for head in self.heads[loss]]
        return {
            "encoder_sha256": state_digest(self.model.network.encoder),
            "network_sha256": state_digest(self.model.network),
            "heads_sha256": hashlib.sha256("".join(digests).encode()).hexdigest(),
            "references_sha256": hashlib.sha256(self.bank.vectors.tobytes()).hexdigest(),
            "head_epochs": {loss: [head.epoch for head in self.heads[loss]] for loss in LOSSES},
            "head_macro_f1": {loss: [round(head.macro_f1, 6) for head in self.heads[loss]] for loss in LOSSES},
            "unet_dice": self.unet,
        }


def select(
    planned: PlannedCell, selection: Selection, store: FeatureStore, run: RunFolder, *, reporter: Reporter
) -> Selected | Constant:
    """Returns the system of a cell, trained and selected; continues where ``run`` stands.

    Args:
        planned: The cell.
        selection: The data without the test part's labels and masks.
        store: Where features of untrained encoders are kept.
        run: Where training keeps its state.
        reporter: Told of the stages.

    Raises:
        TrainingError: the training diverged or collapsed.
    """
    dataset = selection.dataset
    method, config = find_method(planned.config.method), cell_config(planned, selection)
    if method.is_constant:
        level = int(np.bincount(dataset.levels[dataset.parts["train"]]).argmax())
        return Constant(config, level, dataset.classes, with_masks=config.unet.epochs > 0)
    session = Session(run, resolve(config.runtime), config.seed, reporter)
    model = build_model(config, classes=dataset.classes, identity=method.identity)
    model.to(session.compute.device)
    restore_model(model, run)
    upstream = Upstream(model, dataset, Augmenter(config.augment), session.compute, config.seed)
    learn_representation(method, upstream, config, session)
    features = _features(method, upstream, config, store)
    heads, unet = _learn_heads(upstream, features, config, session, seeds=planned.protocol.head_seeds)
    references = upstream.healthy_vectors(full_precision=True).reference
    bank = ReferenceBank(references, config.heads.reference_mode)
    return Selected(_as_run(config, session.compute), model, heads, bank, session.compute, unet)


def cell_config(planned: PlannedCell, selection: Selection) -> TrainConfig:
    """Returns the cell's configuration within its budget, without a U-Net where none is to be trained."""
    dataset = selection.dataset
    config = _within_budget(planned.config, round(planned.protocol.passes * selection.labeled), dataset)
    if not planned.protocol.masks or planned.key.label_fraction < 1:
        return config.model_copy(update={"unet": config.unet.model_copy(update={"epochs": 0})})
    return without_unused_unet(config, dataset)


def _within_budget(config: TrainConfig, views: int, dataset: Dataset) -> TrainConfig:
    """Returns the configuration with epochs that pass about so many images through the encoder."""
    size = size_of(dataset)
    return fit_budget(
        config,
        views=views,
        train_images=size.train_images,
        unlabeled_images=size.unlabeled_images,
        images_per_level=size.images_per_level,
    )


def prepare_run(root: Path, digest: str) -> RunFolder:
    """Returns the run folder of a cell, emptied where another experiment left it."""
    mark = root / "digest.txt"
    if root.exists() and (not mark.is_file() or mark.read_text(encoding="utf-8") != digest):
        shutil.rmtree(root)
    write_text(mark, digest)
    return RunFolder(root)


def views_passed(run: RunFolder) -> int | None:
    """Returns the images that the stages say they passed, None where none says."""
    counted = [record["views"] for record in read_records(run.metrics) if "views" in record]
    return sum(int(str(views)) for views in counted) if counted else None


def _features(method: Method, upstream: Upstream, config: TrainConfig, store: FeatureStore) -> HeadFeatures:
    """Returns the classifiers' features; those of an encoder that nothing trained serve every split."""
    views = config.classifier.augmented_views
    if method.upstream:
        return head_features(upstream, augmented_views=views)
    return shared_features(upstream, store, augmented_views=views)


def _learn_heads(
    upstream: Upstream, features: HeadFeatures, config: TrainConfig, session: Session, *, seeds: int
) -> tuple[Heads, float | None]:
    """Trains the classifiers, and the U-Net, whose validation Dice is returned beside them."""
    with frozen_encoder(upstream.model):
        heads = train_heads(upstream, features, config.classifier, session, seeds=seeds)
        if not upstream.model.network.config.decoder_channels:
            return heads, None
        run_stage(UnetStage(upstream, config.unet), session, head_schedule(config.unet.lr))
        return heads, Checkpoint.load(session.run.checkpoint).best


def _as_run(config: TrainConfig, compute: Compute) -> TrainConfig:
    runtime = config.runtime.model_copy(update={"device": str(compute.device), "precision": compute.precision})
    return config.model_copy(update={"runtime": runtime})
