"""What a model said of one part of the data, rounded as it is kept, beside the truth; no file names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import DataError
from semise_sdk.metrics.classification import decide
from semise_sdk.spec import Decoding

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
    def from_json(cls, data: object, *, images: int, classes: int) -> Self:
        """Returns the answers; raises DataError where they are not of ``images`` images and ``classes`` grades."""
        fields = checked_fields("the answers of the heads", data, required=DECODINGS, optional=("per_mille",))
        decided = {way: _levels(fields[way], images=images, classes=classes) for way in DECODINGS}
        seeds = len(decided["argmax"])
        kept = fields.get("per_mille")
        per_mille = None if kept is None else whole_numbers("per_mille", kept, shape=(seeds, images, classes))
        if len(decided["expected_maee"]) != seeds or not seeds:
            raise DataError("expected as many heads in argmax as in expected_maee, at least one, found otherwise")
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
    def from_json(cls, data: object, *, classes: int) -> Self:
        """Returns the answers; raises DataError naming what is wrong."""
        names = ("groups", "levels", "severity", "heads", "mask_rows", "mask_counts")
        fields = checked_fields("the answers", data, required=names)
        groups = whole_numbers("groups", fields["groups"], shape=(None,))
        images = len(groups)
        heads = checked_fields("heads", fields["heads"], required=LOSSES)
        rows = whole_numbers("mask_rows", fields["mask_rows"], shape=(None,))
        if rows.size and not (rows.min() >= 0 and rows.max() < images):
            raise DataError(f"expected mask_rows of 0 to {images - 1}, found {rows.min()} to {rows.max()}")
        return cls(
            groups=groups,
            levels=_levels([fields["levels"]], images=images, classes=classes)[0],
            severity=_numbers("severity", fields["severity"], images=images),
            heads={loss: HeadAnswers.from_json(heads[loss], images=images, classes=classes) for loss in LOSSES},
            mask_rows=rows,
            mask_counts=whole_numbers("mask_counts", fields["mask_counts"], shape=(len(rows), 3)),
        )


def checked_fields(
    where: str, data: object, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, object]:
    """Returns a JSON object's fields; raises DataError when one is missing or unknown."""
    if not isinstance(data, Mapping):
        raise DataError(f"expected {where} to be an object, found {type(data).__name__}")
    missing = [name for name in required if name not in data]
    unknown = sorted(str(name) for name in data if name not in (*required, *optional))
    if missing or unknown:
        raise DataError(
            f"expected {where} to have the fields of this version, found unknown {unknown}, missing {missing}"
        )
    return dict(data)


def whole_numbers(name: str, data: object, *, shape: tuple[int | None, ...]) -> NDArray[np.int64]:
    """Returns nested lists of whole numbers as an array of ``shape``, None for any length; raises DataError."""
    try:
        values = np.array(data if data != [] else np.zeros([length or 0 for length in shape], np.int64))
    except ValueError as error:
        raise DataError(f"expected {name} to be whole numbers of shape {shape}, found uneven lists") from error
    fits = values.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, values.shape, strict=True)
    )
    if not fits or values.dtype.kind != "i" or (values.size and values.min() < 0):
        raise DataError(f"expected {name} to be whole numbers of shape {shape}, found {values.dtype} {values.shape}")
    return values.astype(np.int64)


def _numbers(name: str, data: object, *, images: int) -> NDArray[np.float64]:
    if isinstance(data, list) and len(data) == images and all(isinstance(value, int | float) for value in data):
        values = np.array(data, np.float64)
        if np.isfinite(values).all():
            return values
    raise DataError(f"expected {name} to be {images} finite numbers, found otherwise")


def _letters(levels: NDArray[np.integer]) -> str:
    return "".join(_DIGITS[level] for level in levels)


def _levels(data: object, *, images: int, classes: int) -> NDArray[np.int64]:
    """Returns the levels ``[n, images]`` of a list of texts."""
    rows = [str(row) for row in data] if isinstance(data, list) else []
    for row in rows:
        if len(row) != images or not set(row) <= set(_DIGITS[:classes]):
            raise DataError(f"expected levels as {images} letters of {_DIGITS[:classes]}, found {row[:40]!r}")
    return np.array([[_DIGITS.index(letter) for letter in row] for row in rows], np.int64).reshape(len(rows), images)
