"""The training configuration: strict, resolved before anything runs, and written beside the run."""

import copy
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from semise_sdk.errors import ConfigError
from semise_sdk.spec import (
    Admission,
    ClassifierHead,
    Colour,
    DicomFrame,
    DicomLaterality,
    DicomPolicy,
    Fit,
    InputSpec,
    Interpolation,
    ReferenceMode,
    SplitName,
)
from semise_training.sections import (
    AugmentConfig,
    Count,
    Fraction,
    OptimizerConfig,
    Phase1Config,
    Phase2Config,
    Positive,
    RefitConfig,
    Section,
    SimCLRConfig,
    SodaConfig,
    SupervisedConfig,
)


class DataConfig(Section):
    """Which images, and how they are split.

    ``folds`` above 0 turns ``fractions`` into cross-validation: ``fold`` is the test part. ``split_seed`` is the run's
    seed unless it is given. ``label_fraction`` below 1 hides the labels and masks of the rest of the training images,
    which then count as unlabeled.
    """

    manifest: Path
    columns: dict[str, str] = Field(default={})
    fractions: dict[SplitName, Fraction] = Field(default={"train": 0.7, "val": 0.15, "test": 0.15})
    folds: Count = 0
    fold: Count = 0
    split_seed: Count | None = None
    label_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _fold_is_one_of_them(self) -> "DataConfig":
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(
                f"expected 2 folds or more and a fold below their number, found {self.fold} of {self.folds}"
            )
        return self


class DicomConfig(Section):
    """Which DICOM files the model takes; becomes the InputSpec's DicomPolicy, which says what they mean."""

    sop_classes: tuple[str, ...] = DicomPolicy().sop_classes
    frames: DicomFrame = "first"
    burned_in: Admission = "accept"
    for_processing: Admission = "refuse"
    laterality: DicomLaterality = "any"

    def policy(self) -> DicomPolicy:
        """Returns the policy."""
        return DicomPolicy(
            sop_classes=self.sop_classes,
            frames=self.frames,
            burned_in=self.burned_in,
            for_processing=self.for_processing,
            laterality=self.laterality,
        )


class InputConfig(Section):
    """The canvas that the network sees; becomes the bundle's InputSpec."""

    size: Annotated[int, Field(ge=32, le=2048)] = 224
    fit: Fit = "letterbox"
    interpolation: Interpolation = "bilinear"
    intensity: str = "full_range"
    colour: Colour = "rgb"
    dicom: DicomConfig = DicomConfig()

    def spec(self) -> InputSpec:
        """Returns the InputSpec of a square canvas."""
        return InputSpec(
            height=self.size,
            width=self.size,
            fit=self.fit,
            interpolation=self.interpolation,
            intensity=self.intensity,
            colour=self.colour,
            dicom=self.dicom.policy(),
        )


class EncoderConfig(Section):
    """f: any timm encoder with 2-D feature maps.

    ``init`` is ``pretrained`` (timm downloads its weights), ``file`` (``weights``, safetensors) or ``scratch``.
    """

    name: str = "resnet50.tv_in1k"
    init: Literal["pretrained", "file", "scratch"] = "pretrained"
    weights: Path | None = None

    @model_validator(mode="after")
    def _weights_belong_to_file(self) -> "EncoderConfig":
        if (self.init == "file") != (self.weights is not None):
            raise ValueError("expected encoder.weights exactly when encoder.init is 'file'")
        return self


class HeadsConfig(Section):
    """g and h (method: section 2), and what a reference contributes.

    ``centred`` makes g ``W (f(x) - m) + b``, m the mean feature of the training images before f is trained.
    """

    vector_dim: Annotated[int, Field(ge=2)] = 256
    residual: bool = True
    centred: bool = False
    reference_head: Literal["severity", "projection"] = "severity"
    separate_ntxent_head: bool = False
    reference_mode: ReferenceMode = "mean"


class ClassifierConfig(Section):
    """The grade classifier on cached frozen features; the epoch is chosen by validation macro-F1.

    ``head`` is ``softmax`` (cross-entropy) or ``corn`` (ordinal: CORN); ``temperature`` ``validation`` scales the
    finished classifier's logits so that they fit the validation labels best.
    """

    epochs: Annotated[int, Field(ge=1)] = 60
    batch_size: Annotated[int, Field(ge=2)] = 64
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    hidden: tuple[int, int] = (256, 128)
    head: ClassifierHead = "softmax"
    class_weighted: bool = True
    augmented_views: Count = 4
    temperature: Literal["none", "validation"] = "none"


class UnetConfig(Section):
    """The U-Net decoder on the frozen pyramid; 0 epochs: no U-Net.

    ``selection`` is the validation Dice by which the epoch is chosen: of all pixels at once (``pooled_dice``), or the
    mean over images (``dice``), in which the empty mask of an image without a lesion counts 1: where many images have
    none, a decoder that draws nothing may be the best by it.

    ``prior`` ``lesions`` starts the decoder's last bias at the logit of the training masks' share of lesion pixels
    (Lin et al. 2017, arXiv 1708.02002, section 4.1). Where lesions are few pixels, a decoder that starts at one half
    (``none``) spends its first steps on learning to draw nothing, and may never draw again.

    ``cross_entropy_weight`` stands before the cross-entropy, beside a soft Dice of weight 1.
    """

    epochs: Count = 12
    batch_size: Annotated[int, Field(ge=2)] = 16
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decoder_channels: tuple[int, ...] = (128, 64, 32, 24, 16)
    selection: Literal["pooled_dice", "dice"] = "pooled_dice"
    prior: Literal["lesions", "none"] = "lesions"
    cross_entropy_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


class RuntimeConfig(Section):
    """Where and how it runs; ``auto`` is resolved once and recorded."""

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Count = 0


DEFAULT_METHOD = "semise"
# What was done before a setting existed, where that is not its default.
_BEFORE: Mapping[str, Mapping[str, object]] = {"unet": {"selection": "dice", "prior": "none"}}


class TrainConfig(Section):
    """Everything a run depends on."""

    name: str = "semise"
    method: str = DEFAULT_METHOD
    seed: Count = 0
    data: DataConfig
    input: InputConfig = InputConfig()
    encoder: EncoderConfig = EncoderConfig()
    heads: HeadsConfig = HeadsConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    phase1: Phase1Config = Phase1Config()
    phase2: Phase2Config = Phase2Config()
    refit: RefitConfig = RefitConfig()
    simclr: SimCLRConfig = SimCLRConfig()
    supervised: SupervisedConfig = SupervisedConfig()
    soda: SodaConfig = SodaConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    unet: UnetConfig = UnetConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _target_is_no_enlargement(self) -> "TrainConfig":
        if self.method == "soda" and self.soda.target_size > self.input.size:
            raise ValueError(
                f"expected soda.target_size up to input.size, {self.input.size}, found {self.soda.target_size}"
            )
        return self

    @property
    def split_seed(self) -> int:
        """The seed of the split and of which labels are hidden."""
        return self.seed if self.data.split_seed is None else self.data.split_seed


REPLACED_WHOLE = ("columns", "fractions")
PRESETS = ("recommended", "faithful")


def load_preset(name: str) -> dict[str, object]:
    """Returns the preset's raw mapping."""
    if name not in PRESETS:
        raise ConfigError(f"expected a preset of {', '.join(PRESETS)}, found {name!r}")
    text = (resources.files("semise_training") / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    data: dict[str, object] = yaml.safe_load(text)
    return data


def parse_config(data: Mapping[str, object]) -> TrainConfig:
    """Returns the validated configuration; raises ConfigError with every problem at once."""
    try:
        return TrainConfig.model_validate(data)
    except ValidationError as error:
        problems = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ConfigError("the configuration is wrong: " + "; ".join(problems)) from error


def merge(base: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """Returns ``base`` with ``overrides`` on top, section by section."""
    merged: dict[str, object] = copy.deepcopy(dict(base))
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and key not in REPLACED_WHOLE:
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def parse_assignments(assignments: Sequence[str]) -> dict[str, object]:
    """Returns nested overrides from ``section.key=value`` texts; values are YAML.

    Example:
        >>> parse_assignments(["phase2.alpha=0.5"])
        {'phase2': {'alpha': 0.5}}
    """
    overrides: dict[str, object] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"expected --set section.key=value, found {text!r}")
        nested = _yaml_value(text, value)
        for part in reversed(name.strip().split(".")):
            nested = {part: nested}
        overrides = merge(overrides, nested)  # type: ignore[arg-type]  # a mapping after at least one part
    return overrides


def _yaml_value(text: str, value: str) -> object:
    try:
        loaded: object = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"expected a YAML value in --set section.key=value, found {text!r}") from error
    return loaded


def read_config(path: Path) -> TrainConfig:
    """Returns the configuration of a run folder's config.yaml."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"could not read {path}: expected the config.yaml of a run folder") from error
    return parse_config(as_it_was(data))


def as_it_was(config: Any) -> Any:
    """Returns a stored configuration with what was done before a setting existed, where that is not its default."""
    if not isinstance(config, Mapping):
        return config
    sections = {
        name: {**before, **config[name]} for name, before in _BEFORE.items() if isinstance(config.get(name), Mapping)
    }
    return {**config, **sections}


def dump_config(config: TrainConfig) -> str:
    """Returns the resolved configuration as YAML that :func:`read_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
