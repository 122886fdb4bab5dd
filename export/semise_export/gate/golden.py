"""Golden files: drawn pictures and torch's answers to them, which a bundle replays on its user's machine."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.bundle import GOLDEN
from semise_sdk.errors import OutputError, ParityError
from semise_sdk.predictor import Predictor
from semise_sdk.spec import Precision
from semise_sdk.workflows.verify import (
    EMBEDDING_VALUES,
    EXPECTED,
    SCHEMA,
    Answer,
    answers,
    expected_file,
    largest_errors,
)

Picture = NDArray[np.uint8] | NDArray[np.uint16]

SEVERITY_TOLERANCE = 1e-3
PROBABILITY_TOLERANCE = 1e-3
AREA_TOLERANCE = 2e-3
EMBEDDING_TOLERANCE = 1e-3
"""Of the largest embedding value among the pictures."""

_SIDE = 96


def write_golden(folder: Path, predictor: Predictor) -> tuple[str, ...]:
    """Draws the pictures into ``folder/golden``, writes what ``predictor`` says of them and returns the file names.

    No pixel of a patient is among them. ``predictor`` should run torch, so that a replay on another engine is a check.

    Raises:
        ParityError: the model answers none of the pictures.
        OutputError: a file could not be written.
    """
    golden = folder / GOLDEN
    try:
        golden.mkdir(parents=True, exist_ok=True)
        for name, draw in PICTURES.items():
            Image.fromarray(draw()).save(golden / name, optimize=False)
        found = list(answers(predictor, [golden / name for name in PICTURES]))
        (golden / EXPECTED).write_text(json.dumps(_expected(found), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"could not write {golden}: {error.strerror}; free space or choose another --out") from error
    return (*PICTURES, EXPECTED)


def write_variant_golden(folder: Path, precision: Precision, backends: Sequence[str]) -> str:
    """Writes what a bundle says of the golden pictures in another precision than fp32 and returns the file's name.

    It is what the first backend answers: in few bits each runtime rounds on its own, so the tolerance is three times
    what the backends here differ by, at least ten times that of fp32.

    Args:
        folder: The bundle, whose golden pictures are drawn.
        precision: Which of its graphs answer.
        backends: The backends that computed in it.

    Raises:
        ParityError: it answers none of the pictures.
        OutputError: the file could not be written.
    """
    pictures = [folder / GOLDEN / name for name in PICTURES]
    found = [_answers_of(folder, pictures, backend=backend, precision=precision) for backend in backends]
    expected = _expected(found[0]) | {"answered_by": f"{backends[0]}, {precision}"}
    expected["tolerance"] = {
        name: max(10 * tolerance, 3 * max(largest_errors(found[0], other)[name] for other in found))
        for name, tolerance in _tolerances(found[0]).items()
    }
    name = expected_file(precision)
    try:
        (folder / GOLDEN / name).write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"could not write {name}: {error.strerror}; free space or choose another --out") from error
    return name


def _answers_of(folder: Path, pictures: Sequence[Path], *, backend: str, precision: Precision) -> list[Answer]:
    with Predictor.open(folder, backend=backend, precision=precision, isolate=False, calibrated=False) as predictor:
        return list(answers(predictor, pictures))


def _expected(found: list[Answer]) -> dict[str, object]:
    answered = [answer for answer in found if answer.severity is not None]
    if not answered:
        raise ParityError(f"expected the model to answer drawn pictures, found {found[0].reason} for the first")
    return {
        "schema": SCHEMA,
        "pictures": "drawn, no patient data",
        "answered_by": "torch, fp32",
        "embedding_values": EMBEDDING_VALUES,
        "tolerance": _tolerances(answered),
        "answers": [answer.to_json() for answer in found],
    }


def _tolerances(answered: list[Answer]) -> dict[str, float]:
    return {
        "severity": SEVERITY_TOLERANCE,
        "probabilities": PROBABILITY_TOLERANCE,
        "area_fraction": AREA_TOLERANCE,
        "embedding": EMBEDDING_TOLERANCE * max(abs(value) for answer in answered for value in answer.embedding),
    }


def _gradient() -> Picture:
    """Returns a colour gradient: every channel differs, so that swapped channels or a wrong mean show."""
    ramp = np.linspace(0, 255, _SIDE)
    down, across = np.meshgrid(ramp, ramp, indexing="ij")
    return np.stack([across, down, 255 - (across + down) / 2], axis=-1).astype(np.uint8)


def _discs() -> Picture:
    """Returns bright discs on a darker ground: edges and blobs, as lesions are."""
    down, across = np.mgrid[:_SIDE, :_SIDE]
    picture = np.full((_SIDE, _SIDE, 3), (40, 36, 48), np.uint8)
    for row, column, radius, colour in (
        (30, 34, 16, (210, 180, 90)),
        (64, 62, 22, (120, 40, 60)),
        (20, 78, 8, (250,) * 3),
    ):
        picture[(down - row) ** 2 + (across - column) ** 2 <= radius**2] = colour
    return picture


def _noise() -> Picture:
    """Returns coarse seeded noise: texture in every channel."""
    coarse = np.random.default_rng(0).integers(0, 256, (_SIDE // 4, _SIDE // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)


def _grey16() -> Picture:
    """Returns a 16-bit grey picture, whose way to 8 bits is the spec's intensity policy."""
    down, across = np.mgrid[:_SIDE, :_SIDE] / (_SIDE - 1)
    wave = 0.5 + 0.5 * np.sin(9 * across) * np.cos(7 * down)
    grey: NDArray[np.uint16] = (wave * 65535).astype(np.uint16)
    return grey


def _wide() -> Picture:
    """Returns a picture of odd sides and ratio, whose place on the canvas takes rounding."""
    down, across = np.mgrid[:37, :151]
    stripes = ((across // 9 + down // 5) % 2 * 160 + across // 2).astype(np.uint8)
    return np.stack([stripes, 255 - stripes, stripes // 2], axis=-1)


PICTURES: Mapping[str, Callable[[], Picture]] = {
    "gradient.png": _gradient,
    "discs.png": _discs,
    "noise.png": _noise,
    "grey16.png": _grey16,
    "wide.png": _wide,
}
