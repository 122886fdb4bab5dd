"""f: a timm encoder with its input scaling inside, giving the pooled feature and the feature pyramid."""

from pathlib import Path
from typing import Any, NamedTuple, Self

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from semise_sdk.errors import ConfigError
from semise_sdk.spec import NetworkConfig

TimmBody = Any
"""A timm network without its classifier: timm carries no types."""


class Features(NamedTuple):
    """What one encoder pass gives.

    Args:
        embedding: Pooled feature ``[N, F]``.
        last_map: Feature map before pooling ``[N, C, h, w]``.
        pyramid: Feature maps ``[N, C_i, H / s_i, W / s_i]`` from shallow to deep.
    """

    embedding: Tensor
    last_map: Tensor
    pyramid: list[Tensor]


class Encoder(nn.Module):
    """f of the paper: any timm network with 2-D feature maps.

    Pixels enter as 0 to 255; mean and std are buffers, so they are trained with, saved with and exported with.
    With ``holds_norm`` batch normalisation keeps its running statistics, and uses them, in training too.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, body: TimmBody | None = None) -> None:
        super().__init__()
        self.body: TimmBody = create_body(config.encoder) if body is None else body
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1))
        self.holds_norm = False
        self.pyramid_channels = pyramid_channels(self.body)
        self.feature_dim = feature_dim(self.body)

    def train(self, mode: bool = True) -> Self:
        """Sets the training mode of all but normalisation that is held."""
        super().train(mode)
        if self.holds_norm:
            for module in self.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        return self

    def forward(self, pixels: Tensor) -> Features:
        """Returns the features of ``pixels``, uint8 or float ``[N, H, W, 3]`` in 0 to 255."""
        # TensorRT refuses any node but Cast on a uint8 input, so the cast comes before the transpose.
        return self.features(pixels.to(self.mean.dtype).permute(0, 3, 1, 2))

    def features(self, planes: Tensor) -> Features:
        """Returns the features of channel-first ``planes``, float ``[N, 3, H, W]`` in 0 to 255."""
        scaled = (planes - self.mean) / self.std
        last_map, pyramid = self.body.forward_intermediates(scaled)
        return Features(self.pool(last_map), last_map, pyramid)

    def pool(self, last_map: Tensor) -> Tensor:
        """Returns the pooled feature ``[N, F]`` of a last feature map ``[N, C, h, w]``."""
        pooled: Tensor = self.body.forward_head(last_map, pre_logits=True)
        return pooled

    def pool_each_location(self, last_map: Tensor) -> Tensor:
        """Returns ``[N, h, w, F]``: what the pooled feature would be if the image were that one location."""
        channels, height, width = last_map.shape[1:]
        places = last_map.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        return self.pool(places).reshape(-1, height, width, self.feature_dim)


def create_body(name: str, *, pretrained: bool = False) -> TimmBody:
    """Returns timm's network ``name`` without its classifier; ``pretrained`` downloads timm's weights.

    Raises:
        ConfigError: timm knows no such model, its features are not 2-D maps, or the download failed.
    """
    try:
        body = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # timm, its hub client and the network each raise their own kinds
        what = "download the ImageNet weights of" if pretrained else "create"
        raise ConfigError(
            f"could not {what} encoder {name!r} with timm ({type(error).__name__}): check the name with "
            "timm.list_models(), or give local weights with --weights FILE.safetensors, or start with --from-scratch"
        ) from error
    if not hasattr(body, "forward_intermediates") or len(pyramid_channels(body)) < 3:
        raise ConfigError(f"expected an encoder with a pyramid of 2-D feature maps, found {name!r}: try resnet50")
    return body


def pyramid_channels(body: TimmBody) -> tuple[int, ...]:
    """Returns the widths of the feature pyramid, shallow to deep, one level per doubling of the stride."""
    info = body.feature_info
    rows = info.info if hasattr(info, "info") else info
    reductions = [row["reduction"] for row in rows]
    if reductions != sorted(set(reductions)):
        return ()
    return tuple(int(row["num_chs"]) for row in rows)


def feature_dim(body: TimmBody) -> int:
    """Returns F, the width of the pooled feature."""
    return int(getattr(body, "head_hidden_size", None) or body.num_features)


def input_scaling(body: TimmBody) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Returns the mean and std that the encoder's weights were trained with, in units of 0 to 255."""
    red, green, blue = (255.0 * float(value) for value in body.pretrained_cfg["mean"])
    scale_red, scale_green, scale_blue = (255.0 * float(value) for value in body.pretrained_cfg["std"])
    return (red, green, blue), (scale_red, scale_green, scale_blue)


def load_body_weights(body: TimmBody, path: Path) -> None:
    """Loads timm weights from a safetensors file of any float precision into ``body``, classifier left out.

    Raises:
        ConfigError: the file is not safetensors, or its tensors are not this encoder's.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"could not read encoder weights {path}: expected a .safetensors file ({error})") from error
    own = body.state_dict()
    wrong = sorted(name for name, value in own.items() if name not in tensors or tensors[name].shape != value.shape)
    if wrong:
        raise ConfigError(
            f"{path} holds no weights for this encoder: {len(wrong)} of {len(own)} tensors are missing or differ in "
            f"shape, first {wrong[0]!r}. Name the encoder it belongs to with --encoder"
        )
    body.load_state_dict({name: tensors[name].to(value.dtype) for name, value in own.items()})
