"""The sections of the configuration that train the encoder, one per stage, how long an epoch of each is, and how."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from semise_sdk.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of the configuration: an unknown key is an error, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerConfig(Section):
    """One optimiser; ``head_lr`` is the rate of what stands on f; ``momentum`` is SGD's, ``betas`` are AdamW's.

    ``hold_norm`` keeps the statistics of batch normalisation that the encoder's weights bring, as few images estimate
    them badly; an encoder from scratch has none to keep.
    """

    name: Literal["sgd", "adamw"] = "adamw"
    lr: Positive = 5e-4
    head_lr: Positive = 5e-4
    momentum: Fraction = 0.9
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_fraction: Fraction = 0.05
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    hold_norm: bool = False


class StageConfig(Section):
    """A stage that trains f.

    An epoch is one pass over the images or, where ``batches_per_epoch`` is above 0, that many batches.
    """

    epochs: Count
    batch_size: Annotated[int, Field(ge=4)] = 48
    batches_per_epoch: Count = 0

    def batches(self, images: int) -> int:
        """Returns the number of batches of an epoch over so many images."""
        return self.batches_per_epoch or math.ceil(images / self.batch_size)

    def usual_epochs(self, batches: float, *, images: int) -> int:
        """Returns into how many epochs a training of so many batches is best divided."""
        return max(1, round(batches / self.batches(images)))

    def resized(self, *, epochs: int, batches: int) -> Self:
        """Returns the section with so many epochs of so many batches each."""
        return self.model_copy(update={"epochs": epochs, "batches_per_epoch": batches})


class PairStageConfig(StageConfig):
    """A stage on pairs: all those of a batch of images, or ``pairs_per_epoch`` sampled ones in batches of pairs."""

    pairing: Literal["inbatch", "sampled"] = "inbatch"
    pairs_per_epoch: Annotated[int, Field(ge=1)] = 100_000

    def batches(self, images: int) -> int:
        """Returns the number of batches of an epoch; sampled pairs do not depend on the images."""
        if self.pairing == "sampled":
            return max(1, self.pairs_per_epoch // self.batch_size)
        return super().batches(images)

    def usual_epochs(self, batches: float, *, images: int) -> int:
        """Returns into how many epochs so many batches are divided; those of sampled pairs have any length."""
        return self.epochs if self.pairing == "sampled" else super().usual_epochs(batches, images=images)

    def resized(self, *, epochs: int, batches: int) -> Self:
        """Returns the section with so many epochs of so many batches each."""
        if self.pairing == "sampled":
            return self.model_copy(update={"epochs": epochs, "pairs_per_epoch": batches * self.batch_size})
        return super().resized(epochs=epochs, batches=batches)


class Phase1Config(PairStageConfig):
    """Phase 1: healthy against anomalous (``binary``) or every grade apart (``classes``).

    ``objective`` is eq. 1 (``pair_margin``, with ``margin``) or Khosla's SupCon loss (``supcon``, with
    ``temperature``), whose positives are the other images of a kind in the batch.
    """

    epochs: Count = 6
    pairs: Literal["binary", "classes"] = "binary"
    objective: Literal["pair_margin", "supcon"] = "pair_margin"
    margin: Positive = 1.0
    temperature: Positive = 0.1


class NTXentConfig(Section):
    """Eq. 2 and its readings; ``scope`` says which images enter it, ``anomalous`` being the paper's."""

    temperature: Positive = 0.2
    norm: Literal["simclr", "paper"] = "simclr"
    views: Literal["original_aug", "two_aug"] = "two_aug"
    scope: Literal["anomalous", "all", "all+unlabeled", "unlabeled", "none"] = "all+unlabeled"
    mask: Literal["none", "image", "group"] = "image"

    @property
    def takes_labeled(self) -> bool:
        """Whether images with a label enter, all or the anomalous ones."""
        return self.scope not in ("unlabeled", "none")

    @property
    def takes_unlabeled(self) -> bool:
        """Whether images without a label enter."""
        return self.scope in ("all+unlabeled", "unlabeled")


class PreferenceConfig(Section):
    """Eq. 3 and its readings."""

    beta: Positive = 5.0
    ties: Literal["drop", "half"] = "drop"
    margin: Annotated[float, Field(ge=0)] = 0.0
    reference: Literal["random", "mean"] = "mean"
    detach_reference: bool = True


class Phase2Config(PairStageConfig):
    """Phase 2: alpha * NT-Xent + (1 - alpha) * preference + class_pair_weight * eq. 1 kept on.

    ``cross_entropy_weight`` above 0 adds the cross-entropy of a linear grade classifier on f, and
    ``rank_n_contrast_weight`` Rank-N-Contrast on the severity vectors, both of the labeled images.
    """

    epochs: Count = 10
    alpha: Fraction = 0.1
    balance: Literal["none", "chance"] = "none"
    class_pair_weight: Annotated[float, Field(ge=0)] = 1.0
    class_pairs: Literal["binary", "classes"] = "classes"
    class_pair_margin: Positive = 1.0
    class_pair_margin_per_level: Annotated[float, Field(ge=0)] = 0.0
    cross_entropy_weight: Annotated[float, Field(ge=0)] = 0.0
    rank_n_contrast_weight: Annotated[float, Field(ge=0)] = 0.0
    rank_n_contrast_temperature: Positive = 0.2
    ntxent: NTXentConfig = NTXentConfig()
    preference: PreferenceConfig = PreferenceConfig()


class RefitConfig(StageConfig):
    """The refit: g and h anew, by phase 2's loss without NT-Xent, on the features of the finished f; 0 epochs: none.

    Its steps read cached features of each training image as it is and of ``augmented_views`` views, the classifier's,
    each value left out with probability ``dropout``.
    """

    epochs: Count = 0
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    augmented_views: Count = 4


class SimCLRConfig(StageConfig):
    """NT-Xent alone on two augmented views; 13 epochs are as many views as ``recommended`` takes in 6 + 20."""

    epochs: Count = 13
    temperature: Positive = 0.2


class SupervisedConfig(StageConfig):
    """Cross-entropy fine-tuning of f; 26 epochs are as many views as ``recommended`` takes in 6 + 20."""

    epochs: Count = 26
    class_weighted: bool = True


class SodaConfig(StageConfig):
    """The diffusion bottleneck of the ``soda`` method (method: section 4).

    The defaults are for a CPU: on a GPU take ``target_size: 64`` and a level more. ``average_decay`` is that of the
    deployed encoder. ``section_drop`` above 0 is SODA's layer modulation: z is cut into one section a level, each
    dropped with that probability; off by default.
    """

    epochs: Count = 16
    latent_dim: Annotated[int, Field(ge=8)] = 256
    latent_drop: Fraction = 0.1
    section_drop: Fraction = 0.0
    target_size: Annotated[int, Field(ge=8)] = 32
    channels: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    channel_multipliers: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 2)
    timesteps: Annotated[int, Field(ge=1)] = 1000
    schedule: Literal["cosine", "inverted"] = "inverted"
    average_decay: Fraction = 0.999

    @model_validator(mode="after")
    def _sides_can_be_halved(self) -> "SodaConfig":
        divisor = 2 ** (len(self.channel_multipliers) - 1)
        if self.target_size % divisor:
            raise ValueError(
                f"expected a target_size divisible by {divisor}, as {len(self.channel_multipliers)} levels halve it, "
                f"found {self.target_size}"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How much an image may change without changing its severity; the defaults are the ``weak`` preset.

    There is no greyscale, solarise or erasing: they take away what severity is read from.

    Args:
        horizontal_flip: Probability of a left-right flip.
        vertical_flip: Probability of an up-down flip.
        rotation_degrees: Largest rotation, either way.
        scale: Smallest and largest zoom; above 1 enlarges.
        translate: Largest shift along each axis, as a share of the side.
        brightness: Largest relative gain or loss; black stays black.
        contrast: Largest relative change of the distance to the image's mean.
        gamma: Largest relative change of the exponent: ``1 / (1 + gamma)`` to ``1 + gamma``.
        noise: Standard deviation of Gaussian noise, the same on all channels, as a share of full range.
        crop_scale: Smallest share of the area that a random crop keeps; 1 crops nothing.
        blur: Probability of a Gaussian blur of 0.1 to 1 pixels; off, as it hides what papilledema looks like.
        hue: Largest turn of the hue, at most 0.5; off, as colour is a sign in dermoscopy and fundus images.

    Example:
        >>> AugmentConfig(rotation_degrees=5.0).scale
        (0.9, 1.1)
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    rotation_degrees: float = 10.0
    scale: tuple[float, float] = (0.9, 1.1)
    translate: float = 0.05
    brightness: float = 0.15
    contrast: float = 0.15
    gamma: float = 0.15
    noise: float = 0.02
    crop_scale: float = 1.0
    blur: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        """Refuses values outside their range, naming the first."""
        upper = {"rotation_degrees": 180.0, "hue": 0.5}
        for name in self.__slots__:
            value = getattr(self, name)
            if name != "scale" and not 0 <= value <= upper.get(name, 1.0):
                raise ConfigError(f"expected augment.{name} from 0 to {upper.get(name, 1.0):g}, found {value:g}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f"expected augment.scale as (low, high) above 0 in ascending order, found {self.scale}")
        if self.crop_scale == 0:
            raise ConfigError("expected augment.crop_scale above 0, found 0: use 1 for no crop")

    @property
    def has_geometry(self) -> bool:
        """Whether pixels may move."""
        amounts = (self.horizontal_flip, self.vertical_flip, self.rotation_degrees, self.translate)
        return any(amounts) or self.scale != (1.0, 1.0) or self.crop_scale < 1

    @property
    def has_intensity(self) -> bool:
        """Whether pixels may change in value."""
        return any((self.brightness, self.contrast, self.gamma, self.noise, self.blur, self.hue))
