"""The U-Net decoder on the frozen encoder's pyramid."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor, nn

from semise_sdk.metrics import dice, pooled_dice
from semise_training.config import UnetConfig
from semise_training.network.embedding import BATCH, pixel_batches, to_device
from semise_training.seeds import derived_seed
from semise_training.stages.classifier import single_group_adamw
from semise_training.stages.upstream import Upstream


class UnetStage:
    """Weighted binary cross-entropy plus soft Dice on the mask; only the decoder learns."""

    name = "unet"

    def __init__(self, upstream: Upstream, config: UnetConfig) -> None:
        self.upstream = upstream
        self.config = config
        self.epochs = config.epochs
        self.selection: str | None = config.selection
        self.model = upstream.model
        self.trained: nn.Module = upstream.model.network.unet
        self.optimizer = single_group_adamw(self.trained, lr=config.lr, weight_decay=config.weight_decay)
        self.train = upstream.dataset.masked("train")
        self.val = upstream.dataset.masked("val")
        self.dice_loss = DiceLoss(mode="binary", from_logits=True)

    def steps_per_epoch(self) -> int:
        """Returns the number of batches of an epoch."""
        return math.ceil(len(self.train) / self.config.batch_size)

    def begin_epoch(self, epoch: int) -> None:
        """Sets the decoder's training mode, and its prior before the first; the encoder stays frozen in eval mode."""
        self.model.eval()
        self.trained.train()
        if epoch == 0 and self.config.prior == "lesions":
            share = lesion_share(self.upstream.dataset.masks[row] for row in self.train)
            nn.init.constant_(self.model.network.unet.mask.get_parameter("bias"), math.log(share / (1 - share)))

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Yields ``[B]`` images, every image once an epoch; a last batch of one joins no epoch (BatchNorm)."""
        order = np.random.default_rng(derived_seed(self.upstream.seed, self.name, epoch, "order"))
        rows = order.permutation(self.train)
        for start in range(0, len(rows), self.config.batch_size):
            batch = rows[start : start + self.config.batch_size]
            yield batch if len(batch) > 1 else rows[-2:]

    def terms(self, batch: NDArray[np.int64], *, seed: int) -> dict[str, Tensor]:
        """Returns the two weighted terms of a batch."""
        upstream = self.upstream
        pixels = to_device(upstream.dataset.canvases, batch, upstream.compute)
        masks = to_device(upstream.dataset.masks, batch, upstream.compute)
        planes, target = upstream.augmenter.with_masks(pixels, masks, seed=seed)
        logits = self._logits(planes).float()
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, target)
        return {
            "cross_entropy": self.config.cross_entropy_weight * cross_entropy,
            "dice": self.dice_loss(logits[:, None], target[:, None]),
        }

    def _logits(self, planes: Tensor) -> Tensor:
        with torch.no_grad():
            pyramid = self.model.network.encoder.features(planes).pyramid
        logits: Tensor = self.trained(planes, pyramid)
        return logits

    def end_epoch(self, epoch: int) -> dict[str, object]:
        """Returns both Dices on validation data, on the canvas, in full precision as it is deployed."""
        self.model.eval()
        compute, dataset = self.upstream.compute.full_precision(), self.upstream.dataset
        counts = []
        for place, pixels in enumerate(pixel_batches(dataset, self.val, compute)):
            planes = pixels.float().permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), compute.autocast():
                predicted = (self._logits(planes) > 0).cpu().numpy()
            truth = dataset.masks[self.val[place * BATCH : (place + 1) * BATCH]] > 127
            counts.append(_counts(predicted, truth))
        every = np.concatenate(counts)
        return {"dice": dice(every), "pooled_dice": pooled_dice(every)}


def lesion_share(masks: Iterable[NDArray[np.uint8]]) -> float:
    """Returns the share of lesion pixels in masks of 0 and 255, one pixel away from 0 and 1 at least."""
    lesions = pixels = 0
    for mask in masks:  # one at a time: all of them may not fit into memory
        lesions += int((mask > 127).sum())
        pixels += mask.size
    return min(max(lesions, 1), pixels - 1) / pixels


def _counts(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns ``[n, 3]`` pixels of intersection, prediction and truth."""
    return np.stack([(predicted & truth).sum((1, 2)), predicted.sum((1, 2)), truth.sum((1, 2))], axis=1)
