"""The downstream protocol, the same for every system: several classifiers on frozen features, and answers."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from semise_sdk.images.postprocess import mask_of, softmax
from semise_sdk.images.preprocess import geometry_for
from semise_sdk.metrics import mask_counts
from semise_sdk.models.heads import grade_classifier
from semise_sdk.models.network import UnetGraph
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import InputSpec
from semise_sdk.system.progress import SilentReporter
from semise_training.compare.cells.answers import LOSSES, SEVERITY_DECIMALS, Answers, HeadAnswers, Loss
from semise_training.compare.compute.shared import Examined
from semise_training.config import ClassifierConfig
from semise_training.loop.loop import Session, train_epoch
from semise_training.network.device import Compute
from semise_training.network.embedding import embed, pixel_batches
from semise_training.network.model import TrainingModel
from semise_training.run.temperature import fit_logit_temperature, fold_temperature
from semise_training.run.train import head_schedule
from semise_training.seeds import derived_seed
from semise_training.stages.classifier import ClassifierStage, HeadFeatures
from semise_training.stages.upstream import Upstream

MASK_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Head:
    """A classifier at its best epoch: the first of the highest validation macro-F1."""

    classifier: nn.Sequential
    epoch: int
    macro_f1: float


Heads = Mapping[Loss, tuple[Head, ...]]


def train_heads(
    upstream: Upstream, features: HeadFeatures, config: ClassifierConfig, session: Session, *, seeds: int
) -> Heads:
    """Returns ``seeds`` classifiers trained with each loss; the same seed starts both losses from the same weights."""
    session.reporter.start("classifiers", seeds * len(LOSSES))
    heads: dict[Loss, tuple[Head, ...]] = {}
    for loss in LOSSES:
        own = config.model_copy(update={"class_weighted": loss == "weighted"})
        trained = []
        for number in range(seeds):
            seed = derived_seed(session.seed, "head", number)
            trained.append(_train_head(upstream, features, own, session, seed=seed))
            session.reporter.step(f"macro-F1 {trained[-1].macro_f1:.3f}")
        heads[loss] = tuple(trained)
    return heads


def _train_head(
    upstream: Upstream, features: HeadFeatures, config: ClassifierConfig, session: Session, *, seed: int
) -> Head:
    torch.manual_seed(derived_seed(seed, "classifier"))
    classifier = grade_classifier(features.training.shape[2], config.hidden, upstream.dataset.classes, head=config.head)
    classifier.to(upstream.compute.device)
    stage = ClassifierStage(upstream, config, features=features, classifier=classifier, seed=seed)
    # In memory: a head takes less time than writing a checkpoint for each of its epochs would.
    own = Session(session.run, session.compute, seed, SilentReporter())
    scaler, schedule = session.compute.gradient_scaler(), head_schedule(config.lr)
    best = Head(classifier, 0, -1.0)
    for epoch in range(stage.epochs):
        train_epoch(stage, epoch, own, schedule, scaler=scaler)
        figure = stage.end_epoch(epoch)["macro_f1"]
        if isinstance(figure, float) and figure > best.macro_f1:
            best = Head(copy.deepcopy(classifier), epoch + 1, figure)
    if config.temperature == "validation":
        with torch.inference_mode():
            logits = best.classifier.eval()(features.validation).float().cpu().numpy()
        fold_temperature(best.classifier, fit_logit_temperature(logits, features.validation_levels))
    return best


def answer(
    model: TrainingModel, heads: Heads, bank: ReferenceBank, part: Examined, spec: InputSpec, *, compute: Compute
) -> Answers:
    """Returns what a trained model says of one part, in full precision as it would be deployed."""
    full = compute.full_precision()
    vectors = embed(model.network, part.dataset, part.indices, compute=full)
    embedding = torch.from_numpy(vectors.embedding).to(full.device)
    rows = part.segmented if model.network.config.decoder_channels else part.segmented[:0]
    return Answers(
        groups=part.groups,
        levels=part.levels,
        severity=np.round(bank.severity(vectors.severity), SEVERITY_DECIMALS),
        heads={
            loss: HeadAnswers.of(_probabilities(heads[loss], embedding), keep=loss == "weighted") for loss in LOSSES
        },
        mask_rows=rows,
        mask_counts=_mask_counts(model, part, rows, spec, full),
    )


def mask_logits(model: TrainingModel, part: Examined, rows: NDArray[np.int64], compute: Compute) -> NDArray[np.float32]:
    """Returns the U-Net's logits ``[n, h, w]`` on the canvas of the images in ``rows`` of a part."""
    graph = UnetGraph(model.network.eval())
    batches = []
    for pixels in pixel_batches(part.dataset, part.indices[rows], compute):
        with torch.inference_mode():
            batches.append(graph(pixels).mask_logits.float().cpu().numpy())
    return np.concatenate(batches)


def _probabilities(heads: tuple[Head, ...], embedding: torch.Tensor) -> NDArray[np.float64]:
    """Returns ``[S, N, K]``."""
    with torch.inference_mode():
        return np.stack([softmax(head.classifier.eval()(embedding).float().cpu().numpy()) for head in heads])


def _mask_counts(
    model: TrainingModel, part: Examined, rows: NDArray[np.int64], spec: InputSpec, compute: Compute
) -> NDArray[np.int64]:
    """Returns ``[M, 3]`` at the source masks' size, a batch in memory at a time."""
    counts = []
    for start in range(0, len(rows), 32):
        batch = rows[start : start + 32]
        for row, logits in zip(batch, mask_logits(model, part, batch, compute), strict=True):
            truth = part.true_mask(int(row))
            drawn, _ = mask_of(logits, geometry_for(truth.shape[0], truth.shape[1], spec), threshold=MASK_THRESHOLD)
            counts.append(mask_counts(drawn > 0, truth))
    return np.array(counts, np.int64).reshape(-1, 3)


def constant_answers(part: Examined, *, level: int, classes: int, with_masks: bool) -> Answers:
    """Returns what a constant says: one grade for all, no severity, no lesion anywhere."""
    probabilities = np.zeros((1, len(part.indices), classes))
    probabilities[:, :, level] = 1
    rows = part.segmented if with_masks else part.segmented[:0]
    counts = [(0, 0, int(part.true_mask(int(row)).sum())) for row in rows]
    return Answers(
        groups=part.groups,
        levels=part.levels,
        severity=np.zeros(len(part.indices)),
        heads={loss: HeadAnswers.of(probabilities, keep=loss == "weighted") for loss in LOSSES},
        mask_rows=rows,
        mask_counts=np.array(counts, np.int64).reshape(-1, 3),
    )
