"""The meaning of grey values in the standard's order: modality LUT, VOI LUT or window, presentation (PS3.4 N.2).

Every step maps a value by itself, so the chain is applied once to all values that the stored bits can hold, instead of
to every pixel.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.header import Layout
from semise_sdk.images.readers.dicom.lookup import look_up
from semise_sdk.images.record import GreyScale

_PER_FRAME = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


def grey_scale(dataset: Dataset, layout: Layout, index: int, notes: list[str]) -> GreyScale:
    """Returns what the stored values of frame ``index`` mean, and adds to the notes what had to be decided.

    Raises:
        ImageReadError: ``damaged`` where a rescale or window gives no range, ``unsupported_format`` for a
            presentation LUT. Pydicom raises anything beside on damaged tables.
    """
    _take_from_groups(dataset, index)
    stored = np.arange(layout.first, layout.last + 1, dtype=np.int32)
    modality = _modality(dataset, stored)
    if not np.isfinite(modality).all() or modality.min() == modality.max():
        raise ImageReadError("damaged", "expected a rescale or modality LUT that gives several values, found none")
    is_inverted = _is_inverted(dataset, layout)
    if is_inverted:
        notes.append("low values are white, and the image is turned")
    return GreyScale(
        first=layout.first,
        modality=modality,
        shown=_shown(dataset, modality, notes),
        is_inverted=is_inverted,
        is_padding=_is_padding(dataset, layout, stored),
    )


def _take_from_groups(dataset: Dataset, index: int) -> None:
    """Puts a frame's own rescale and window, which an enhanced image keeps in groups, where single frames have them."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared[:1], *per_frame[index : index + 1]):
        for sequence, keywords in _PER_FRAME.items():
            for item in (group.get(sequence) or [])[:1]:
                for keyword in keywords:
                    if keyword in item:
                        dataset[keyword] = item[keyword]


def _modality(dataset: Dataset, stored: NDArray[np.int32]) -> NDArray[np.float64]:
    if not dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset), np.float64)
    item = dataset.ModalityLUTSequence[0]
    values, _ = look_up(stored.astype(np.float64), item)
    # Pydicom takes the ends of a window's output from the declared depth, which is often not that of the entries.
    item["LUTDescriptor"].value = [*item.LUTDescriptor[:2], 16]
    return values


def _is_padding(dataset: Dataset, layout: Layout, stored: NDArray[np.int32]) -> NDArray[np.bool_] | None:
    """Returns which stored values the header calls padding, one or all from one to another (PS3.3 C.7.5.1.1.2)."""
    found = [dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")]
    ends = [_as_stored(value, layout) for value in found if isinstance(value, int)]
    if not isinstance(found[0], int):
        return None
    is_padding = (stored >= min(ends)) & (stored <= max(ends))
    return None if is_padding.all() else is_padding


def _as_stored(value: int, layout: Layout) -> int:
    """Returns a value with the sign of the pixels, whatever VR the file gives it and however wide it is written."""
    if not layout.is_signed:
        return value % (1 << 16)
    value -= (value >= 1 << 15) << 16
    return value - (1 << layout.stored if value > layout.last else 0)


def _shown(dataset: Dataset, modality: NDArray[np.float64], notes: list[str]) -> NDArray[np.float64] | None:
    if dataset.get("VOILUTSequence"):
        values, table = look_up(modality, dataset.VOILUTSequence[0])
        # The table's own ends: its declared depth is often more than it uses.
        black, white = float(table.min()), float(table.max())
    elif _has_window(dataset, notes):
        black, white, values = _by_window(dataset, modality)
    else:
        return None
    if black == white or not np.isfinite([black, white]).all():
        raise ImageReadError("damaged", "expected a VOI LUT or window that gives several values, found one")
    return np.clip((values - black) / (white - black), 0, 1)


def _has_window(dataset: Dataset, notes: list[str]) -> bool:
    """Returns whether the header holds a window; one without a width is none, as devices write it that have none.

    Raises:
        ImageReadError: ``unsupported_format`` for a width below 1 with the function LINEAR, for which PS3.3
            C.11.2.1.2.1 has no picture; LINEAR_EXACT and SIGMOID do (C.11.2.1.3).
    """
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        notes.append("no VOI LUT or window in the header")
        return False
    width = float(np.atleast_1d(dataset.WindowWidth)[0])
    if not width > 0:
        notes.append(f"window width {width:g} in the header, taken for no window")
        return False
    if not dataset.get("VOILUTFunction"):
        dataset.VOILUTFunction = "LINEAR"
    if width < 1 and dataset.VOILUTFunction.upper() == "LINEAR":
        raise ImageReadError(
            "unsupported_format",
            f"expected a window width of at least 1 with the function LINEAR, found {width:g}; have the header say "
            "LINEAR_EXACT if that is meant",
        )
    if dataset["WindowCenter"].VM > 1:
        notes.append(f"window 1 of {dataset['WindowCenter'].VM}")
    return True


def _by_window(dataset: Dataset, modality: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    with np.errstate(over="ignore"):  # of a sigmoid, far from its centre
        values = np.asarray(apply_windowing(modality, dataset), np.float64)
    # The ends of the output range, which pydicom takes from the header's own elements.
    black, white = apply_windowing(np.array([-np.inf, np.inf]), dataset)
    return float(black), float(white), values


def _is_inverted(dataset: Dataset, layout: Layout) -> bool:
    if dataset.get("PresentationLUTSequence"):
        raise ImageReadError(
            "unsupported_format", "expected a presentation LUT shape, found a presentation LUT; save the image as shown"
        )
    shape = str(dataset.get("PresentationLUTShape", "")).strip().upper()
    # Both say the same: MONOCHROME1 comes with INVERSE, and is not turned twice.
    return layout.photometric == "MONOCHROME1" or shape == "INVERSE"
