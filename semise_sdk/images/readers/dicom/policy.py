"""What a model's policy refuses of a header, and what of it is worth a note."""

import re
from collections.abc import Iterator

from pydicom import Dataset

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.codec import name_of
from semise_sdk.spec import DicomPolicy

_ROOT = "1.2.840.10008.5.1.4.1.1."
_FAMILIES = {
    "CR": ("1",),
    "DX": ("1.1", "1.1.1"),
    "IO": ("1.3", "1.3.1"),
    "MG": ("1.2", "1.2.1"),
    "US": ("3", "3.1", "6", "6.1"),
    "VL": ("77.1.1", "77.1.2", "77.1.3", "77.1.4", "77.1.7"),
    "OP": ("77.1.5.1", "77.1.5.2", "77.1.5.5", "77.1.5.6", "77.1.5.7"),
    "SC": ("7", "7.1", "7.2", "7.3", "7.4"),
}
_FOR_PROCESSING = ("1.1.1", "1.2.1", "1.3.1")
# Presentation states, parametric maps, raw data and segmentations, value mappings, reports, encapsulated documents, RT
# structure sets, plans and records.
_NO_IMAGES = re.compile(r"(11|30|66|67|88|104)(\..*)?|481\.(?!1$|2$|23$|24$).*")
_DIRECTIONS = re.compile(r"[AFHLPR]{1,3}")
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def check_policy(header: Dataset, policy: DicomPolicy) -> None:
    """Refuses what the policy does not take.

    Raises:
        ImageReadError: ``unsupported_sop_class``, ``for_processing`` or ``burned_in``.
    """
    sop_class = _sop_class(header)
    _check_class(sop_class, policy.sop_classes)
    if policy.for_processing == "refuse" and _is_for_processing(header, sop_class):
        raise ImageReadError(
            "for_processing",
            "expected an image for presentation, found one for processing; send the one that is made for display",
        )
    if policy.burned_in == "refuse" and _is_burned_in(header):
        raise ImageReadError(
            "burned_in", "expected an image without text burned into its pixels, found the header saying it has some"
        )


def chosen_frame(frames: int, policy: DicomPolicy) -> int:
    """Returns which frame is read, from 0; raises ImageReadError ``several_frames``."""
    if frames > 1 and policy.frames == "fail":
        raise ImageReadError(
            "several_frames", f"expected a single frame, found {frames}; save the one to be judged as an image"
        )
    return frames // 2 if policy.frames == "middle" else 0


def check_laterality(header: Dataset, index: int, policy: DicomPolicy) -> None:
    """Refuses a frame, counted from 0, of a side that the policy does not take.

    Raises:
        ImageReadError: ``no_laterality`` where the header does not say which side it is, else ``other_laterality``.
    """
    if policy.laterality == "any":
        return
    found = _laterality(header, index)
    if not found:
        raise ImageReadError(
            "no_laterality",
            "expected the header to say which side of the body it is (ImageLaterality, FrameLaterality or Laterality), "
            "found none; have it added, or use a bundle that takes any",
        )
    if policy.laterality != "known" and found != policy.laterality[0].upper():
        raise ImageReadError(
            "other_laterality",
            f"expected an image of the {policy.laterality} side, found laterality {found}; leave the file out, or use "
            "a bundle that takes it",
        )


def notes_on(header: Dataset, index: int = 0) -> Iterator[str]:
    """Yields what the header says of a frame and no answer shows: sentences of numbers and the standard's own terms."""
    if _is_burned_in(header):
        yield "text burned into the pixels, says the header"
    if str(header.get("LossyImageCompression", "")) == "01":
        ratio = str(header.get("LossyImageCompressionRatio", "")).strip()  # a list where it was compressed twice
        yield "lossy compression" + (f" of {ratio} to 1" if _NUMBER.fullmatch(ratio) else "")
    proportion = _proportion(header)
    if proportion is not None and abs(proportion - 1) > 0.005:
        yield f"pixels are not square (height {proportion:.4g} times width), and are read as if they were"
    directions = [str(part) for part in header.get("PatientOrientation") or ()]
    if len(directions) == 2 and all(map(_DIRECTIONS.fullmatch, directions)):
        yield f"orientation {'/'.join(directions)}, not applied"
    if laterality := _laterality(header, index):
        yield f"laterality {laterality}"


def _laterality(header: Dataset, index: int) -> str:
    """Returns R, L, B (both) or U (unpaired): of the image, else of the frame, else of the series; empty for none."""
    groups = [header.get("SharedFunctionalGroupsSequence"), header.get("PerFrameFunctionalGroupsSequence")]
    items = [*(groups[0] or ())[:1], *(groups[1] or ())[index : index + 1]]
    anatomy = [part for item in items for part in item.get("FrameAnatomySequence") or ()]
    values = [
        header.get("ImageLaterality"),
        *(part.get("FrameLaterality") for part in anatomy),
        header.get("Laterality"),
    ]
    return next((str(value) for value in values if str(value) in ("R", "L", "B", "U")), "")


def _sop_class(header: Dataset) -> str:
    return str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")


def _check_class(sop_class: str, accepted: tuple[str, ...]) -> None:
    found = repr(name_of(sop_class)) if sop_class else "no SOP class"
    suffix = sop_class.removeprefix(_ROOT)
    if suffix != sop_class and _NO_IMAGES.fullmatch(suffix):
        raise ImageReadError("unsupported_sop_class", f"expected an image, found {found}; leave the file out")
    is_any = "any" in accepted and (not sop_class or "Image Storage" in found)
    is_of_a_family = any(suffix in _FAMILIES.get(family, ()) for family in accepted)
    if not (is_any or is_of_a_family or sop_class in accepted):
        raise ImageReadError(
            "unsupported_sop_class",
            f"expected an image of the kinds that the model takes ({', '.join(accepted)}), found {found}; leave the "
            "file out, or use a bundle that takes it",
        )


def _is_for_processing(header: Dataset, sop_class: str) -> bool:
    intent = str(header.get("PresentationIntentType", "")).strip()
    return intent == "FOR PROCESSING" or sop_class.removeprefix(_ROOT) in _FOR_PROCESSING


def _is_burned_in(header: Dataset) -> bool:
    return str(header.get("BurnedInAnnotation", "")).strip() == "YES"


def _proportion(header: Dataset) -> float | None:
    """Returns the height of a pixel by its width; None where the header does not say."""
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        value = header.get(keyword)
        try:
            height, width = (float(part) for part in value)
            return height / width
        except (TypeError, ValueError, ZeroDivisionError):
            continue
    return None
