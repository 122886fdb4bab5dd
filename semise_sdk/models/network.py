"""The whole SemiSe network, and the three graphs that a bundle carries."""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from semise_sdk.errors import BundleError
from semise_sdk.models.encoder import Encoder, Features, TimmBody
from semise_sdk.models.heads import SeverityHead, grade_classifier, projection_head
from semise_sdk.models.unet import MaskDecoder
from semise_sdk.spec import NetworkConfig

_DTYPES = {"F32", "F16", "BF16", "I64"}


class EncoderOutputs(NamedTuple):
    """Outputs of ``encoder.onnx``, in graph order.

    ``embedding [N, F]``, ``severity_vector [N, D]``, ``reference_vector [N, D]``,
    ``severity_map_vectors [N, h, w, D]``.
    """

    embedding: Tensor
    severity_vector: Tensor
    reference_vector: Tensor
    severity_map_vectors: Tensor


class SemiSeNetwork(nn.Module):
    """f, g, h, the classifier and the U-Net decoder, as ``config`` says."""

    def __init__(self, config: NetworkConfig, body: TimmBody | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, body)
        with_heads = config.projection == "heads"
        self.projection: nn.Module = (
            projection_head(config.feature_dim, config.vector_dim) if with_heads else nn.Identity()
        )
        self.severity: nn.Module = (
            SeverityHead(config.vector_dim, residual=config.residual_head) if with_heads else nn.Identity()
        )
        if config.classes:
            self.classifier = grade_classifier(
                config.feature_dim, config.classifier_hidden, config.classes, head=config.classifier_head
            )
        if config.decoder_channels:
            self.unet = MaskDecoder(self.encoder.pyramid_channels, config.decoder_channels)

    def severity_outputs(self, features: Features) -> EncoderOutputs:
        """Returns the encoder graph's outputs from one encoder pass."""
        projected = self.projection(features.embedding)
        severity_vector = self.severity(projected)
        reference_vector = severity_vector if self.config.reference_head == "severity" else projected
        return EncoderOutputs(
            features.embedding, severity_vector, reference_vector, self._severity_of_places(features.last_map)
        )

    def _severity_of_places(self, last_map: Tensor) -> Tensor:
        """Returns the severity vector ``[N, h, w, D]`` of each location of a last feature map."""
        places = self.encoder.pool_each_location(last_map)
        _, height, width, channels = places.shape
        # One row a place: the exporter then spells the heads as they are for the whole image, with the same weights.
        rows = self.severity(self.projection(places.reshape(-1, channels)))
        vectors: Tensor = rows.reshape(-1, height, width, rows.shape[-1])
        return vectors


class EncoderGraph(nn.Module):
    """``encoder.onnx``: pixels ``uint8 [N, H, W, 3]`` to :class:`EncoderOutputs`."""

    def __init__(self, network: SemiSeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> EncoderOutputs:
        """Returns the encoder's named outputs."""
        return self.network.severity_outputs(self.network.encoder(pixels))


class ClassifierGraph(nn.Module):
    """``classifier.onnx``: embedding ``[N, F]`` to logits ``[N, K]``."""

    def __init__(self, network: SemiSeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: Tensor) -> Tensor:
        """Returns the grade logits."""
        logits: Tensor = self.network.classifier(embedding)
        return logits


class UnetOutputs(NamedTuple):
    """Outputs of ``unet.onnx``: ``mask_logits [N, H, W]``, then the encoder's."""

    mask_logits: Tensor
    embedding: Tensor
    severity_vector: Tensor
    reference_vector: Tensor
    severity_map_vectors: Tensor


class UnetGraph(nn.Module):
    """``unet.onnx``: one encoder pass that answers segmentation, severity and, through its embedding, the grade."""

    def __init__(self, network: SemiSeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> UnetOutputs:
        """Returns the mask logits and the encoder's named outputs."""
        features = self.network.encoder(pixels)
        planes = pixels.to(torch.float32).permute(0, 3, 1, 2)
        mask_logits = self.network.unet(planes, features.pyramid)
        return UnetOutputs(mask_logits, *self.network.severity_outputs(features))


def load_network(config: NetworkConfig, weights: Path) -> SemiSeNetwork:
    """Returns the network of ``config`` with the weights of a safetensors file, in eval mode on the CPU.

    The file is compared with the network's outline before memory is taken for either.

    Raises:
        BundleError: the file is damaged or its tensors are not this network's.
    """
    outline = _outline(config)
    try:
        if outline is not None:
            _check_tensors(outline, weights)
        network = _filled(outline, config)
        network.load_state_dict(load_file(weights))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise BundleError(f"expected {weights} to hold this network's weights, found {error}") from error
    return network.eval()


def _outline(config: NetworkConfig) -> SemiSeNetwork | None:
    """Returns the network with shapes but no memory; None where its encoder computes with values as it is built."""
    try:
        with torch.device("meta"):
            return SemiSeNetwork(config)
    except (NotImplementedError, RuntimeError):
        return None


def _filled(outline: SemiSeNetwork | None, config: NetworkConfig) -> SemiSeNetwork:
    """Returns a network whose values are all to be loaded: drawing some to start training with would be for nothing."""
    if outline is None or set(dict(outline.named_buffers())) - set(outline.state_dict()):
        return SemiSeNetwork(config)
    return outline.to_empty(device="cpu")


def _check_tensors(outline: SemiSeNetwork, weights: Path) -> None:
    wanted = {name: list(tensor.shape) for name, tensor in outline.state_dict().items()}
    with safe_open(weights, framework="numpy") as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118  # it is no mapping
        found = {name: piece.get_shape() for name, piece in slices.items()}
        kinds = {name for name, piece in slices.items() if piece.get_dtype() not in _DTYPES}
    # A missing vector may have come later than the file (see CentredLinear): loading decides.
    missing = {name for name, shape in wanted.items() if name not in found and len(shape) > 1}
    wrong = sorted({name for name, shape in found.items() if wanted.get(name) != shape} | missing | kinds)
    if wrong:
        raise BundleError(
            f"expected {weights} to hold this network's weights, found that {len(wrong)} tensors are missing, of "
            f"another shape or type, or not its own, first {wrong[0]!r} of shape {found.get(wrong[0])}"
        )
