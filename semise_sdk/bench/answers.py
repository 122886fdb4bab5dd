"""The answers of one engine on disk, so that engines can be compared without holding all masks in memory."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.results import Analysis

_ROWS = "answers.jsonl"


def save_answers(answers: Iterable[Analysis], folder: Path) -> None:
    """Writes what a model said of each image, masks as one bit a pixel, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _ROWS).open("w", encoding="utf-8") as stream:
        for index, answer in enumerate(answers):
            if answer.mask is not None:
                np.save(_mask_file(folder, index), np.packbits(answer.mask > 0))
            row = {
                "file": answer.file,
                "severity": answer.severity,
                "grade": answer.grade,
                "probabilities": answer.probabilities,
                "mask_shape": None if answer.mask is None else answer.mask.shape,
                "status": answer.status,
                "reason": answer.reason,
            }
            stream.write(json.dumps(row) + "\n")


def load_answers(folder: Path) -> Iterator[Analysis]:
    """Yields the answers that :func:`save_answers` wrote, without area and map."""
    with (folder / _ROWS).open(encoding="utf-8") as stream:
        for index, line in enumerate(stream):
            row = json.loads(line)
            shape = row["mask_shape"]
            yield Analysis(
                file=row["file"],
                severity=row["severity"],
                grade=row["grade"],
                probabilities=tuple(row["probabilities"]),
                mask=None if shape is None else _mask(_mask_file(folder, index), shape),
                status=row["status"],
                reason=row["reason"],
            )


def _mask_file(folder: Path, index: int) -> Path:
    return folder / f"{index:07d}.npy"


def _mask(path: Path, shape: list[int]) -> NDArray[np.uint8]:
    height, width = shape
    return np.unpackbits(np.load(path), count=height * width).reshape(height, width) * np.uint8(255)
