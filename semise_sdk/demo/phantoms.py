"""Seeded phantom images, ultrasound-like, with lesions that grow with severity: for the demo, tests and pictures."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.errors import OutputError

LABELS = ("healthy", "mild", "moderate", "severe", "critical")
"""Grade names of the phantoms in severity order."""

COLUMNS = ("image", "severity", "label", "mask", "group")

_MIN_SIZE, _UNLABELED_SHARE = 32, 16
_JPEG_EVERY, _JPEG_QUALITY = 8, 92

Plane = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """One drawn image and where its lesions are.

    Args:
        image: ``uint8 [H, W]``, grey.
        mask: ``uint8 [H, W]``: 255 in a lesion, 0 elsewhere.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def draw_phantom(severity: int, *, seed: int, size: int = 160, view: int = 0) -> Phantom:
    """Returns a phantom of one severity level; equal arguments give equal pixels.

    Layers of tissue, speckle, shadows, brightness and contrast differ from patient to patient at every level, so
    that severity is not the mean grey; size, contrast, irregularity and number of the lesions grow with severity.
    One seed at rising severity is one patient growing worse.

    Args:
        severity: Level 0 (healthy, no lesion) to 4.
        seed: The patient: anatomy and lesions.
        size: Height and width in pixels.
        view: Another picture of the same patient: shifted a little, with other speckle and gain.

    Raises:
        ValueError: a level, seed, view or size outside its range.

    Example:
        >>> phantom = draw_phantom(3, seed=7, size=64)
        >>> phantom.image.shape, bool(phantom.mask.any())
        ((64, 64), True)
    """
    _check(severity=severity, seed=seed, size=size, view=view)
    camera = np.random.default_rng([seed, view, 1])
    shift = camera.uniform(-0.05, 0.05, 2)
    echo = _tissue(np.random.default_rng([seed, 2]), size=size, shift=shift)
    lesion, absorbed = _lesions(np.random.default_rng([seed, 3]), severity=severity, size=size, shift=shift)
    picture = _developed(echo * absorbed, camera, size=size)
    return Phantom(image=picture, mask=np.where(lesion, 255, 0).astype(np.uint8))


def write_phantoms(
    folder: Path,
    *,
    count: int,
    seed: int = 0,
    levels: int = 5,
    size: int = 160,
    on_image: Callable[[], None] | None = None,
) -> Path:
    """Returns the manifest ``data.csv`` of ``count`` phantoms written below ``folder``; equal arguments, equal bytes.

    Writes ``images/*.png`` with some ``.jpg`` among them, and ``masks/*.png``. The levels are about equally frequent,
    one image in 16 is unlabeled (empty severity, label and mask), and a group is a patient of one or two images.

    Args:
        folder: Created where absent; images of another call must not lie in it.
        count: Images in all, at least ``2 * levels``.
        seed: Every seed is another set of patients.
        levels: Severity levels, 2 to 5.
        size: Height and width in pixels.
        on_image: Called after each image that was written.

    Raises:
        OutputError: a file could not be written, or ``folder`` holds images that this call would not write.
        ValueError: ``count``, ``levels``, ``seed`` or ``size`` outside its range.
    """
    if not 2 <= levels <= len(LABELS) or count < 2 * levels:
        raise ValueError(f"expected 2 to {len(LABELS)} levels and 2 images a level, found {levels} and {count} images")
    _check(severity=levels - 1, seed=seed, size=size, view=0)
    plan = list(_plan(count, levels=levels, seed=seed))
    try:
        _prepare(folder, {Path(item.image).name for item in plan})
        for item in plan:
            _write_images(folder, item, size=size)
            if on_image is not None:
                on_image()
        return _write_manifest(folder / "data.csv", plan)
    except OSError as error:
        raise OutputError(f"could not write phantoms to {folder}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """One row to be: what is drawn, and what the manifest says of it."""

    image: str
    mask: str
    severity: int
    labeled: bool
    group: str
    patient_seed: int
    view: int

    def row(self) -> tuple[str, ...]:
        known = (str(self.severity), LABELS[self.severity], self.mask) if self.labeled else ("", "", "")
        return (self.image, *known, self.group)


def _plan(count: int, *, levels: int, seed: int) -> Iterator[_Planned]:
    """Yields ``count`` images patient by patient; the patients' levels are shuffled, so names tell nothing."""
    rng = np.random.default_rng([seed, 4])
    number = 0
    for patient, (severity, images, labeled) in enumerate(_patients(count, levels=levels, rng=rng)):
        patient_seed = int(np.random.SeedSequence([seed, patient]).generate_state(1, np.uint64)[0])
        for view in range(images):
            suffix = "jpg" if number % _JPEG_EVERY == _JPEG_EVERY - 1 else "png"
            yield _Planned(
                image=f"images/phantom_{number:04d}.{suffix}",
                mask=f"masks/phantom_{number:04d}.png",
                severity=severity,
                labeled=labeled,
                group=f"patient_{patient:04d}",
                patient_seed=patient_seed,
                view=view,
            )
            number += 1


def _patients(count: int, *, levels: int, rng: Random) -> list[tuple[int, int, bool]]:
    """Returns (severity, images, labeled) per patient in random order."""
    unlabeled = count // _UNLABELED_SHARE
    shares = [(level, True, (count - unlabeled + level) // levels) for level in range(levels)]
    shares += [(level, False, (unlabeled + level) // levels) for level in range(levels)]
    patients: list[tuple[int, int, bool]] = []
    for severity, labeled, images in shares:
        left = images
        while left > 0:
            taken = min(left, int(rng.integers(1, 3)))
            patients.append((severity, taken, labeled))
            left -= taken
    return [patients[index] for index in rng.permutation(len(patients))]


def _prepare(folder: Path, names: set[str]) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    strangers = sorted(path.name for path in (folder / "images").iterdir() if path.name not in names)
    if strangers:
        raise OutputError(f"expected no other images in {folder}, found {strangers[0]}: choose another folder")


def _write_images(folder: Path, item: _Planned, *, size: int) -> None:
    phantom = draw_phantom(item.severity, seed=item.patient_seed, size=size, view=item.view)
    Image.fromarray(phantom.image).save(folder / item.image, quality=_JPEG_QUALITY)  # which PNG ignores
    if item.labeled:
        Image.fromarray(phantom.mask).save(folder / item.mask)


def _write_manifest(path: Path, plan: list[_Planned]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(item.row() for item in plan)
    return path


def _check(*, severity: int, seed: int, size: int, view: int) -> None:
    if not 0 <= severity < len(LABELS) or min(seed, view) < 0 or size < _MIN_SIZE:
        raise ValueError(
            f"expected a severity of 0 to {len(LABELS) - 1}, a seed and a view of 0 or more and a size of at least "
            f"{_MIN_SIZE}, found severity {severity}, seed {seed}, view {view} and size {size}"
        )


def _tissue(rng: Random, *, size: int, shift: Plane) -> Plane:
    """Returns the echo strength of healthy layered tissue, ``[H, W]``, about 0 to 1."""
    x, y = _grid(size, shift)
    radius = np.exp(rng.uniform(np.log(0.9), np.log(4.0)))
    depth = np.hypot(x, y + radius) - radius + 0.5 * shift[1]
    depth = depth + _wave(rng, x, amplitude=rng.uniform(0.01, 0.05))
    edges = np.cumsum(rng.uniform([0.03, 0.08, 0.30, 0.10], [0.07, 0.22, 0.50, 0.20]))
    levels = rng.uniform([0.8, 0.25, 0.5, 0.3, 0.15], [0.9, 0.45, 0.75, 0.6, 0.4])
    echo = np.full_like(depth, levels[0])
    for edge, before, after in zip(edges, levels[:-1], levels[1:], strict=True):
        bent = depth - edge - _wave(rng, x, amplitude=0.015)
        echo += (after - before) * _smooth_step(bent / rng.uniform(0.006, 0.03))
        echo += rng.uniform(0.05, 0.4) * np.exp(-((bent / 0.008) ** 2))
    fibres = _smooth_noise(rng, size=size, shift=shift, lengths=(rng.uniform(0.02, 0.04), rng.uniform(0.06, 0.15)))
    lobules = _smooth_noise(rng, size=size, shift=shift, lengths=(0.05, 0.08))
    echo += rng.uniform(0.05, 0.3) * np.exp(-((fibres / 0.15) ** 2)) * _smooth_step((depth - edges[0]) / 0.01)
    return np.asarray(np.maximum(echo * np.exp(0.15 * lobules), 0.03) * _ducts(rng, x, y))


def _ducts(rng: Random, x: Plane, y: Plane) -> Plane:
    """Returns the dimming by zero to three thin dark ducts, which healthy tissue has too."""
    dimming = np.ones((1, 1))
    for _ in range(int(rng.integers(0, 4))):
        offset = y - rng.uniform(0.2, 0.85) - rng.uniform(-0.3, 0.3) * x - _wave(rng, x, amplitude=0.02)
        along = (x - rng.uniform(-0.4, 0.4)) / rng.uniform(0.08, 0.2)
        dimming = dimming * (1 - rng.uniform(0.3, 0.7) * np.exp(-((offset / 0.012) ** 2) - along**4))
    return dimming


def _lesions(rng: Random, *, severity: int, size: int, shift: Plane) -> tuple[NDArray[np.bool_], Plane]:
    """Returns where the lesions are, and the factor by which they and their shadow dim the echo, each ``[H, W]``."""
    lesion, factor = np.zeros((size, size), dtype=np.bool_), np.ones((size, size))
    if severity == 0:
        return lesion, factor
    x, y = _grid(size, shift)
    rough = _smooth_noise(rng, size=size, shift=shift, lengths=(0.022, 0.022))
    place = np.array([rng.uniform(-0.24, 0.24), rng.uniform(0.36, 0.62)])
    radius = 0.048 + 0.038 * (severity + rng.uniform(-0.25, 0.25))
    main = x - place[0], y - place[1]
    for number in range(1 + int(rng.integers(0, severity))):
        angle, away, share = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.5, 2.0), rng.uniform(0.3, 0.5)
        if number == 0:
            away, share = 0.0, 1.0
        across, down = main[0] - away * np.cos(angle), main[1] - away * np.sin(angle)
        inside = _inside(rng, across, down, rough, radius=radius * share, severity=severity)
        contrast = 0.45 + 0.09 * (severity + rng.uniform(-0.35, 0.35))
        factor = np.minimum(factor, 1 - min(contrast, 0.88) * _smooth_step(inside / 0.012))
        lesion |= inside > 0
    return lesion, factor * _shadow(rng, *main, radius=radius, severity=severity)


def _inside(rng: Random, x: Plane, y: Plane, rough: Plane, *, radius: float, severity: int) -> Plane:
    """Returns how far inside one lesion each pixel lies, negative outside; its outline is rougher with severity."""
    angle = np.arctan2(y, x)
    outline = 1 + rng.uniform(0.08, 0.22) * np.cos(2 * (angle - rng.uniform(-0.4, 0.4)))
    unevenness = 0.02 + 0.04 * (severity + rng.uniform(-0.5, 0.5))
    for lobes in (3, 4, 5):
        outline += unevenness * rng.normal() * np.cos(lobes * angle + rng.uniform(0, 2 * np.pi)) * 2 / lobes
    return radius * (np.clip(outline, 0.5, 1.5) + 0.6 * unevenness * np.clip(rough, -2, 2)) - np.hypot(x, y)


def _shadow(rng: Random, x: Plane, y: Plane, *, radius: float, severity: int) -> Plane:
    """Returns the dimming below a lesion, deeper with severity and absent at the mild end."""
    strength = max(0.0, 0.1 * (severity - 1) + rng.uniform(-0.1, 0.1))
    beam = np.exp(-((x / (0.8 * radius)) ** 4))
    return 1 - strength * beam * _smooth_step((y - 0.5 * radius) / (0.5 * radius))


def _developed(echo: Plane, camera: Random, *, size: int) -> NDArray[np.uint8]:
    """Returns the echo as this picture's settings show it: attenuation, shading, speckle, gain and tone curve."""
    still = np.zeros(2)
    x, y = _grid(size, still)
    shading = camera.uniform(-0.5, 0.5) * x - camera.uniform(0.1, 0.9) * y + _wave(camera, x, amplitude=0.12)
    waves = [_smooth_noise(camera, size=size, shift=still, lengths=(0.006, 0.011)) for _ in range(3)]
    strength = camera.uniform(0.3, 0.6)
    signal = echo * np.exp(shading) * (1 - strength + strength * np.sqrt(sum(wave**2 for wave in waves)) / 1.6)
    shown = 1 - np.exp(-camera.uniform(0.9, 1.9) * signal)
    return np.round(255 * (camera.uniform(0.0, 0.06) + 0.94 * shown)).astype(np.uint8)


def _grid(size: int, shift: Plane) -> tuple[Plane, Plane]:
    """Returns x in -0.5 to 0.5, ``[1, W]``, and depth y in 0 to 1, ``[H, 1]``, moved by ``shift``."""
    steps = (np.arange(size) + 0.5) / size
    return steps[np.newaxis, :] - 0.5 - shift[0], steps[:, np.newaxis] - shift[1]


def _wave(rng: Random, x: Plane, *, amplitude: float) -> Plane:
    """Returns a slow random wave along x."""
    total = np.zeros_like(x)
    for cycles in (0.6, 1.3, 2.2):
        total += np.sin(2 * np.pi * cycles * x + rng.uniform(0, 2 * np.pi)) * rng.normal() / cycles
    return amplitude * total


def _smooth_step(distance: Plane) -> Plane:
    return 0.5 + 0.5 * np.tanh(distance)


def _smooth_noise(rng: Random, *, size: int, shift: Plane, lengths: tuple[float, float]) -> Plane:
    """Returns Gaussian noise of unit variance whose correlation has these lengths in y and x, ``[H, W]``."""
    vertical, horizontal = np.fft.fftfreq(size)[:, None] * size, np.fft.rfftfreq(size)[None, :] * size
    decay = np.exp(-2 * np.pi**2 * ((vertical * lengths[0]) ** 2 + (horizontal * lengths[1]) ** 2))
    moved = np.exp(-2j * np.pi * (horizontal * shift[0] + vertical * shift[1]))
    # A stream of its own: the number of pixels does not change what is drawn next, a size shows the same patient.
    white = rng.spawn(1)[0].standard_normal((size, size))
    noise: Plane = np.fft.irfft2(np.fft.rfft2(white) * decay * moved, s=(size, size))
    return noise / float(noise.std())
