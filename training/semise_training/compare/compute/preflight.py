"""What can be known to fail before anything is trained: hours later it would cost the cells behind it."""

from collections.abc import Sequence

import torch

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.system.progress import Reporter
from semise_training.augment import Augmenter
from semise_training.compare.cells.plan import PlannedCell
from semise_training.compare.compute.select import cell_config
from semise_training.compare.compute.shared import Selection, SharedData
from semise_training.config import TrainConfig
from semise_training.methods import UpstreamStage, find_method
from semise_training.network.device import Compute, resolve
from semise_training.network.model import TrainingModel, build_model, initial_body
from semise_training.stages.upstream import Upstream


def refuse_bad_encoders(due: Sequence[PlannedCell]) -> None:
    """Raises ConfigError for an unknown encoder or wrong weights, before any image is read."""
    seen: list[TrainConfig] = []
    for planned in due:
        is_new = all(planned.config.encoder != config.encoder for config in seen)
        if is_new and not find_method(planned.config.method).is_constant:
            initial_body(planned.config)
            seen.append(planned.config)


def refuse_impossible(due: Sequence[PlannedCell], data: SharedData, *, reporter: Reporter) -> None:
    """Resolves every cell, builds the network of each row, and draws a batch of each stage.

    Raises:
        ConfigError: a budget below one batch of each stage, or a U-Net that does not fit the encoder; names the cell.
        DataError: labels that leave a stage without pairs, or a part without healthy images; names the cell.
    """
    networks = _Networks()
    # Row by row, so that cells which share a network follow each other.
    for planned in sorted(due, key=lambda cell: (cell.key.name, cell.key.label_fraction)):
        try:
            _try(planned, data, networks, reporter=reporter)
        except ConfigError as error:
            raise ConfigError(f"{planned.key.slug}: {error}") from error
        except DataError as error:
            raise DataError(f"{planned.key.slug}: {error}", problems=error.problems) from error


class _Networks:
    """Makes networks as the cells', the last of which serves again: seeds and splits do not change what fits."""

    def __init__(self) -> None:
        self._made: tuple[str, TrainingModel] | None = None

    def of(self, config: TrainConfig, *, classes: int) -> TrainingModel:
        identity = find_method(config.method).identity
        sections = (config.encoder, config.heads, config.classifier, config.unet)
        key = str([identity, *(section.model_dump_json() for section in sections)])
        if self._made is None or self._made[0] != key:
            self._made = key, build_model(config, classes=classes, identity=identity)
        return self._made[1]


def _try(planned: PlannedCell, data: SharedData, networks: _Networks, *, reporter: Reporter) -> None:
    selection = Selection.of(data.dataset(planned.config, reporter=reporter), data.manifest)
    config, dataset = cell_config(planned, selection), selection.dataset
    method = find_method(config.method)
    if method.is_constant:
        return
    resolve(config.runtime)
    # On the CPU whatever the device: nothing is computed, and a GPU may be at work for another process.
    compute = Compute(torch.device("cpu"), "fp32")
    model = networks.of(config, classes=dataset.classes)
    upstream = Upstream(model, dataset, Augmenter(config.augment), compute, config.seed)
    for row in method.upstream:
        stage = row.build(upstream, _of_one_batch(config, row))
        if stage.epochs:
            next(iter(stage.batches(0)), None)
    model.extras.clear()


def _of_one_batch(config: TrainConfig, row: UpstreamStage) -> TrainConfig:
    """Returns the configuration with a stage of one batch: of sampled pairs an epoch may hold a hundred thousand."""
    settings = row.settings(config)
    return config.model_copy(update={row.section: settings.resized(epochs=settings.epochs, batches=1)})
