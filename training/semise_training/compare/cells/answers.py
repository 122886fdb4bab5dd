"""What a model said of one part of the data, rounded as it is kept, beside the truth; no file names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from semise_sdk.metrics.classification import decide
from semise_sdk.spec import Decoding
from semise_sdk.system.json_fields import JsonField, shown

Loss = Literal["weighted", "plain"]

LOSSES: tuple[Loss, ...] = ("weighted", "plain")
DECODINGS: tuple[Decoding, ...] = ("argmax", "expected_maee")
SEVERITY_DECIMALS = 5
PER_MILLE = 1000
MOST_GRADES = 36

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadAnswers:
    """What S classifiers, one per head seed, said of N images.

    Args:
        decided: The level decided, ``[S, N]``, for each decoding.
        per_mille: Probabilities in thousandths, ``[S, N, K]``; None where they are not kept.
    """

    decided: Mapping[Decoding, NDArray[np.int64]]
    per_mille: NDArray[np.int64] | None

    @classmethod
    def of(cls, probabilities: NDArray[np.floating], *, keep: bool) -> Self:
        """Returns the answers with probabilities ``[S, N, K]``, decided before anything is rounded."""
        decided = {way: np.stack([decide(each, decoding=way) for each in probabilities]) for way in DECODINGS}
        return cls(decided=decided, per_mille=np.rint(probabilities * PER_MILLE).astype(np.int64) if keep else None)

    def to_json(self) -> dict[str, object]:
        """Returns JSON data; decided levels are one letter each, 0 to 9 and a to z."""
        data: dict[str, object] = {way: [_letters(row) for row in self.decided[way]] for way in DECODINGS}
        return data if self.per_mille is None else data | {"per_mille": self.per_mille.tolist()}

    @classmethod
    def from_json(cls, data: JsonField, *, images: int, classes: int) -> Self:
        """Returns the answers; raises the field's error where they are not of so many images and grades."""
        fields = data.fields(DECODINGS, ("per_mille",))
        decided = {way: _levels(fields[way].entries(), images=images, classes=classes) for way in DECODINGS}
        seeds, others = (len(decided[way]) for way in DECODINGS)
        shape = (seeds, images, classes)
        per_mille = data.get("per_mille").optional(lambda kept: whole_numbers(kept, shape=shape))
        if others != seeds or not seeds:
            raise data.refused(
                "to have as many heads in argmax as in expected_maee, 1 or more", f"{seeds} and {others}"
            )
        return cls(decided=decided, per_mille=per_mille)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What one model said of N images, beside the truth.

    Args:
        groups: Group number ``[N]``; rows of a group are resampled together.
        levels: True severity level ``[N]``.
        severity: Severity score ``[N]``, 5 decimals.
        heads: Answers of the classifiers trained with each loss.
        mask_rows: The M of the N images that were segmented.
        mask_counts: Pixels of intersection, prediction and truth of those, ``[M, 3]``.
    """

    groups: NDArray[np.int64]
    levels: NDArray[np.int64]
    severity: NDArray[np.float64]
    heads: Mapping[Loss, HeadAnswers]
    mask_rows: NDArray[np.int64]
    mask_counts: NDArray[np.int64]

    def to_json(self) -> dict[str, object]:
        """Returns JSON data that :meth:`from_json` reads back."""
        return {
            "groups": self.groups.tolist(),
            "levels": _letters(self.levels),
            "severity": [round(float(value), SEVERITY_DECIMALS) for value in self.severity],
            "heads": {loss: self.heads[loss].to_json() for loss in LOSSES},
            "mask_rows": self.mask_rows.tolist(),
            "mask_counts": self.mask_counts.tolist(),
        }

    @classmethod
    def from_json(cls, data: JsonField, *, classes: int) -> Self:
        """Returns the answers; raises the field's error naming what is wrong."""
        fields = data.fields(tuple(cls.__dataclass_fields__))
        groups = whole_numbers(fields["groups"], shape=(None,))
        images = len(groups)
        heads = fields["heads"].fields(LOSSES)
        rows = whole_numbers(fields["mask_rows"], shape=(None,))
        if rows.size and rows.max() >= images:
            raise fields["mask_rows"].refused(f"to be of 0 to {images - 1}", f"{rows.max()}")
        return cls(
            groups=groups,
            levels=_levels([fields["levels"]], images=images, classes=classes)[0],
            severity=np.array([one.number() for one in fields["severity"].entries(images)], np.float64),
            heads={loss: HeadAnswers.from_json(heads[loss], images=images, classes=classes) for loss in LOSSES},
            mask_rows=rows,
            mask_counts=whole_numbers(fields["mask_counts"], shape=(len(rows), 3)),
        )


def whole_numbers(data: JsonField, *, shape: tuple[int | None, ...]) -> NDArray[np.int64]:
    """Returns nested lists of whole numbers as an array of ``shape``, None for any length; raises the field's error."""
    expected = f"to be whole numbers of shape {shape}"
    try:
        values = np.array(data.value if data.value != [] else np.zeros([length or 0 for length in shape], np.int64))
    except ValueError as error:
        raise data.refused(expected, "uneven lists") from error
    fits = values.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, values.shape, strict=True)
    )
    if not fits or values.dtype.kind != "i" or (values.size and values.min() < 0):
        raise data.refused(expected, f"{shown(data.value)} of shape {values.shape}")
    return values.astype(np.int64)


def _letters(levels: NDArray[np.integer]) -> str:
    return "".join(_DIGITS[level] for level in levels)


def _levels(data: Sequence[JsonField], *, images: int, classes: int) -> NDArray[np.int64]:
    """Returns the levels ``[n, images]`` of texts."""
    for row in data:
        if len(row.text()) != images or not set(row.text()) <= set(_DIGITS[:classes]):
            found = f"{len(row.text())} letters, {shown(row.value)}"
            raise row.refused(f"to be levels as {images} letters of {_DIGITS[:classes]}", found)
    levels = [[_DIGITS.index(letter) for letter in row.text()] for row in data]
    return np.array(levels, np.int64).reshape(len(data), images)
