"""The network under training: the deployed network and the head that only NT-Xent sees."""

import torch
from torch import Tensor, nn

from semise_sdk.errors import ConfigError
from semise_sdk.models.encoder import (
    TimmBody,
    create_body,
    feature_dim,
    input_scaling,
    load_body_weights,
    pyramid_channels,
)
from semise_sdk.models.heads import SeverityHead
from semise_sdk.models.network import SemiSeNetwork
from semise_sdk.spec import NetworkConfig
from semise_training.config import TrainConfig
from semise_training.network.device import in_full_precision
from semise_training.seeds import derived_seed


class TrainingModel(nn.Module):
    """What is trained.

    ``network`` is deployed, ``ntxent_head`` serves NT-Xent where it has a head of its own, ``extras`` are the modules
    that a single stage trains with and leaves behind. ``views`` counts the images passed through f in training mode.
    """

    def __init__(self, network: SemiSeNetwork, ntxent_head: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.ntxent_head = ntxent_head
        self.extras = nn.ModuleDict()
        self.views = 0

    def features(self, planes: Tensor) -> Tensor:
        """Returns f(x), ``[N, F]``, of float planes ``[N, 3, H, W]`` in 0 to 255."""
        if self.training:
            self.views += len(planes)
        return self.network.encoder.features(planes).embedding

    def project(self, planes: Tensor) -> Tensor:
        """Returns g(f(x)), ``[N, D]``, of float planes ``[N, 3, H, W]`` in 0 to 255."""
        return self.projected(self.features(planes))

    def projected(self, features: Tensor) -> Tensor:
        """Returns g(u), ``[N, D]``, of f's features ``[N, F]``."""
        with in_full_precision(features):
            projected: Tensor = self.network.projection(features.float())
        return projected

    def severity(self, projected: Tensor) -> Tensor:
        """Returns h(u), the severity vectors ``[N, D]`` of g's outputs."""
        with in_full_precision(projected):
            vectors: Tensor = self.network.severity(projected)
        return vectors

    def contrast(self, projected: Tensor) -> Tensor:
        """Returns the vectors that NT-Xent compares: h's, or those of its own head."""
        head = self.network.severity if self.ntxent_head is None else self.ntxent_head
        with in_full_precision(projected):
            vectors: Tensor = head(projected)
        return vectors


def build_model(config: TrainConfig, *, classes: int, identity: bool) -> TrainingModel:
    """Returns the model at its start: encoder weights as ``config.encoder`` says, heads from the run's seed.

    ``identity`` leaves g and h out: the score is the distance of f's own features.

    Raises:
        ConfigError: unknown encoder, or weights that are not its.
    """
    torch.manual_seed(derived_seed(config.seed, "model"))
    body = initial_body(config)
    levels = len(pyramid_channels(body))
    channels = len(config.unet.decoder_channels)
    if config.unet.epochs and channels < levels:
        raise ConfigError(f"expected {levels} unet.decoder_channels for this encoder, found {channels}: add some")
    network = SemiSeNetwork(network_config(config, body, classes=classes, identity=identity), body)
    network.encoder.holds_norm = config.optimizer.hold_norm and config.encoder.init != "scratch"
    separate = config.heads.separate_ntxent_head and not identity
    ntxent_head = SeverityHead(config.heads.vector_dim, residual=config.heads.residual) if separate else None
    return TrainingModel(network, ntxent_head).to(memory_format=torch.channels_last)


def initial_body(config: TrainConfig) -> TimmBody:
    """Returns the encoder with the weights that training starts from."""
    body = create_body(config.encoder.name, pretrained=config.encoder.init == "pretrained")
    if config.encoder.weights is not None:
        load_body_weights(body, config.encoder.weights)
    return body


def network_config(config: TrainConfig, body: TimmBody, *, classes: int, identity: bool) -> NetworkConfig:
    """Returns the architecture that ``config`` asks for."""
    mean, std = input_scaling(body)
    width = feature_dim(body)
    return NetworkConfig(
        encoder=config.encoder.name,
        feature_dim=width,
        vector_dim=width if identity else config.heads.vector_dim,
        projection="identity" if identity else "heads",
        residual_head=config.heads.residual,
        reference_head="severity" if identity else config.heads.reference_head,
        mean=mean,
        std=std,
        classes=classes,
        classifier_hidden=config.classifier.hidden,
        classifier_head=config.classifier.head,
        decoder_channels=config.unet.decoder_channels if config.unet.epochs else (),
    )
