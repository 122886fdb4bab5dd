"""The U-Net decoder of segmentation-models-pytorch on the frozen encoder's pyramid."""

from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn


class MaskDecoder(nn.Module):
    """Draws one mask from a feature pyramid (Ronneberger et al. 2015, arXiv 1505.04597).

    Args:
        pyramid_channels: Widths of the pyramid, shallow to deep.
        decoder_channels: Widths of the decoder, deep to shallow, one per pyramid level.
    """

    def __init__(self, pyramid_channels: tuple[int, ...], decoder_channels: tuple[int, ...]) -> None:
        super().__init__()
        levels = len(pyramid_channels)
        self.decoder = UnetDecoder(
            encoder_channels=(3, *pyramid_channels), decoder_channels=decoder_channels[:levels], n_blocks=levels
        )
        self.mask = nn.Conv2d(decoder_channels[:levels][-1], 1, kernel_size=3, padding=1)

    def forward(self, planes: Tensor, pyramid: list[Tensor]) -> Tensor:
        """Returns mask logits ``[N, H, W]``; of ``planes`` ``[N, 3, H, W]`` only the size is used."""
        logits: Tensor = self.mask(self.decoder([planes, *pyramid]))
        return logits[:, 0]
