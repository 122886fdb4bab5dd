"""What a model expects of its input and what it is made of: plain data that travels with the weights."""

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from semise_sdk.errors import SpecError
from semise_sdk.system.json_fields import JsonField, JsonSource

Fit = Literal["stretch", "letterbox"]
Interpolation = Literal["bilinear", "bicubic", "lanczos", "box"]
Colour = Literal["rgb", "grey"]
DicomLaterality = Literal["any", "known", "left", "right"]
IntensityKind = Literal["full_range", "window", "percentile", "dicom_voi"]
Projection = Literal["heads", "identity"]
ReferenceHead = Literal["severity", "projection"]
ReferenceMode = Literal["mean", "median", "medoid", "knn"]
Decoding = Literal["argmax", "expected_maee"]
ClassifierHead = Literal["softmax", "corn"]
DicomFamily = Literal["any", "CR", "DX", "IO", "MG", "US", "VL", "OP", "SC"]
DicomFrame = Literal["first", "middle", "fail"]
Admission = Literal["accept", "refuse"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
SplitName = Literal["train", "val", "test", "calibration"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SPLIT_NAMES: tuple[str, ...] = get_args(SplitName)

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_INTENSITY = re.compile(r"^(full_range|dicom_voi|window|percentile)(?:\(([^,()]+),([^,()]+)\))?$")


@dataclass(frozen=True, slots=True)
class Intensity:
    """The policy that maps stored pixel values to 8 bits.

    ``full_range`` maps the stored type's whole range; ``window(c,w)`` maps [c - w/2, c + w/2];
    ``percentile(lo,hi)`` maps each image's own percentiles; ``dicom_voi`` follows the DICOM header. Of DICOM, a window
    and percentiles act on modality values (Hounsfield units and the like).

    Example:
        >>> Intensity.parse("window(40,400)")
        Intensity(kind='window', first=40.0, second=400.0)
        >>> str(Intensity.parse("full_range"))
        'full_range'
    """

    kind: IntensityKind
    first: float = 0.0
    second: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the policy named by ``text``; raises SpecError for an unknown one."""
        match = _INTENSITY.match(text.replace(" ", ""))
        kind = match.group(1) if match else ""
        takes_numbers = kind in ("window", "percentile")
        if match is None or takes_numbers != (match.group(2) is not None):
            raise SpecError(
                f"expected an intensity policy full_range, window(c,w), percentile(lo,hi) or dicom_voi, found {text!r}"
            )
        if not takes_numbers:
            return cls(kind)  # type: ignore[arg-type]  # the pattern admits only the four kinds
        try:
            policy = cls(kind, float(match.group(2)), float(match.group(3)))  # type: ignore[arg-type]
        except ValueError as error:
            raise SpecError(f"expected two numbers in the intensity policy, found {text!r}") from error
        policy._check()
        return policy

    def _check(self) -> None:
        if not (math.isfinite(self.first) and math.isfinite(self.second)):
            raise SpecError(f"expected finite numbers in the intensity policy, found {self.first} and {self.second}")
        if self.kind == "window" and not self.second > 0:
            raise SpecError(f"expected a window width above 0, found {self.second:g}")
        if self.kind == "percentile" and not 0 <= self.first < self.second <= 100:
            raise SpecError(f"expected percentiles 0 <= lo < hi <= 100, found {self.first:g} and {self.second:g}")

    def __str__(self) -> str:
        if self.kind in ("window", "percentile"):
            return f"{self.kind}({self.first!r},{self.second!r})"
        return self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomPolicy:
    """Which DICOM files a model takes, decided from the header before any pixel is decoded.

    Args:
        sop_classes: Accepted kinds of image, as families or SOP class UIDs. ``CR``, ``DX``, ``IO`` (intra-oral) and
            ``MG`` are radiographs, ``US`` ultrasound, ``VL`` photographs (endoscopic, microscopic, dermoscopic too),
            ``OP`` the ophthalmic ones with OCT en face, ``SC`` secondary captures, each single- and multi-frame;
            ``any`` is every class of images. Segmentations, reports and other objects that are no images are always
            refused.
        frames: Which of several frames is read: ``first``, ``middle`` (the later of two), or ``fail`` to refuse them.
        burned_in: What happens to images whose header says that text is burned into the pixels.
        for_processing: What happens to raw images, which no display is meant to show.
        laterality: Which side of the body it takes: ``any``, ``known`` for those whose header names one (or says that
            the organ is unpaired), ``left`` or ``right`` for that side alone. A missing one is never guessed.

    Example:
        >>> DicomPolicy(sop_classes=("OP", "1.2.840.10008.5.1.4.1.1.2")).frames
        'first'
    """

    sop_classes: tuple[str, ...] = ("CR", "DX", "MG", "US", "VL", "OP", "SC")
    frames: DicomFrame = "first"
    burned_in: Admission = "accept"
    for_processing: Admission = "refuse"
    laterality: DicomLaterality = "any"

    def __post_init__(self) -> None:
        families = get_args(DicomFamily)
        if not isinstance(self.sop_classes, tuple) or not self.sop_classes:
            raise SpecError(f"expected a list of SOP classes, found {self.sop_classes!r}")
        for entry in self.sop_classes:
            if not (entry in families or (isinstance(entry, str) and _UID.fullmatch(entry))):
                raise SpecError(f"expected SOP classes as UIDs or of {', '.join(families)}, found {entry!r}")
        _require("frames", self.frames, get_args(DicomFrame))
        _require("burned_in", self.burned_in, get_args(Admission))
        _require("for_processing", self.for_processing, get_args(Admission))
        _require("laterality", self.laterality, get_args(DicomLaterality))


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """How an image becomes the ``uint8 [height, width, 3]`` canvas that the network takes.

    Nothing at run time overrides it: another preprocessing is another bundle.

    Args:
        height: Canvas height in pixels.
        width: Canvas width in pixels.
        fit: ``letterbox`` keeps the aspect ratio and pads; ``stretch`` fills the canvas.
        interpolation: Pillow's filter of that name; all of them antialias when they shrink.
        intensity: Policy of :class:`Intensity`, as text.
        colour: ``rgb`` keeps colour; ``grey`` replaces it by luminance, three times.
        pad_value: Grey level of the letterbox's bars, 0 to 255.
        dicom: Which DICOM files it takes.

    Example:
        >>> InputSpec(height=224, width=224).intensity
        'full_range'
    """

    height: int
    width: int
    fit: Fit = "letterbox"
    interpolation: Interpolation = "bilinear"
    intensity: str = "full_range"
    colour: Colour = "rgb"
    pad_value: int = 0
    dicom: DicomPolicy = field(default_factory=DicomPolicy)

    def __post_init__(self) -> None:
        for name in ("height", "width", "pad_value"):
            if not isinstance(getattr(self, name), int):
                raise SpecError(f"expected a whole number of pixels in {name}, found {getattr(self, name)!r}")
        if not (16 <= self.height <= 4096 and 16 <= self.width <= 4096):
            raise SpecError(f"expected a canvas of 16 to 4096 pixels a side, found {self.height}x{self.width}")
        if not 0 <= self.pad_value <= 255:
            raise SpecError(f"expected pad_value 0 to 255, found {self.pad_value}")
        _require("fit", self.fit, get_args(Fit))
        _require("interpolation", self.interpolation, get_args(Interpolation))
        _require("colour", self.colour, get_args(Colour))
        Intensity.parse(str(self.intensity))

    def fingerprint(self) -> str:
        """Returns the sha256 of the spec's canonical JSON: equal specs, equal fingerprints."""
        fields = dataclasses.asdict(self)
        if self.dicom == DicomPolicy():  # specs from before there was one have the same fingerprint
            del fields["dicom"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """The architecture of a SemiSe network, enough to rebuild it before loading its weights.

    Args:
        encoder: timm model name of f.
        feature_dim: F, the width of f's pooled feature.
        vector_dim: D, the width of ``severity_vector`` (256, or F when ``projection`` is ``identity``).
        projection: ``heads`` is g then h (the paper's eq. 2 and 3); ``identity`` scores f's pooled feature itself.
        residual_head: True for ``h(u) = u + MLP(u)``, False for the paper's plain MLP.
        reference_head: what a reference image contributes: its ``severity`` vector h(g(f x)), or the paper's
            ``projection`` g(f x).
        mean: Per-channel mean subtracted from pixels, in units of 0 to 255.
        std: Per-channel divisor, in units of 0 to 255.
        classes: K, number of severity grades of the classifier; 0 for none.
        classifier_hidden: Widths of the classifier's two hidden layers.
        classifier_head: How the classifier makes its logits: ``softmax`` gives them as they are, ``corn`` as the
            logarithms of products of K - 1 conditional probabilities (ordinal). Softmax makes probabilities of both.
        decoder_channels: U-Net decoder widths from deep to shallow; empty for no U-Net.
    """

    encoder: str
    feature_dim: int
    vector_dim: int = 256
    projection: Projection = "heads"
    residual_head: bool = True
    reference_head: ReferenceHead = "severity"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: int
    classifier_hidden: tuple[int, int] = (256, 128)
    classifier_head: ClassifierHead = "softmax"
    decoder_channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("feature_dim", "vector_dim", "classes"):
            if not isinstance(getattr(self, name), int):
                raise SpecError(f"expected a whole number in {name}, found {getattr(self, name)!r}")
        _require("projection", self.projection, get_args(Projection))
        _require("reference_head", self.reference_head, get_args(ReferenceHead))
        _require("classifier_head", self.classifier_head, get_args(ClassifierHead))
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise SpecError(f"expected mean and std of 3 channels, std above 0, found {self.mean} and {self.std}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Everything about a trained model but its weights; the ``model`` object of a bundle's manifest.

    Args:
        name: Short name of the model.
        spec: The input it expects.
        labels: Grade names in severity order; the index is the severity level, 0 is healthy.
        network: Its architecture.
        reference_mode: How a bank of references becomes one severity (see semise_sdk.severity.reference_bank).
        mask_threshold: Probability from which a pixel belongs to the mask.
    """

    name: str
    spec: InputSpec
    labels: tuple[str, ...]
    network: NetworkConfig
    reference_mode: ReferenceMode = "mean"
    mask_threshold: float = 0.5

    @property
    def has_classifier(self) -> bool:
        """True when the model grades images."""
        return self.network.classes > 0

    @property
    def grade_labels(self) -> tuple[str, ...]:
        """The labels that the model gives probabilities of; none without a classifier."""
        return self.labels if self.has_classifier else ()

    @property
    def has_segmenter(self) -> bool:
        """True when the model draws masks."""
        return bool(self.network.decoder_channels)

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data that :meth:`from_json` reads back."""
        data: dict[str, object] = json.loads(json.dumps(dataclasses.asdict(self)))
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Returns the model described by JSON data; raises SpecError naming a wrong or unknown field."""
        return JsonField(data, JsonSource("", SpecError), ("model",)).of(cls)


def _require(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SpecError(f"expected {name} to be one of {', '.join(choices)}, found {value!r}")
