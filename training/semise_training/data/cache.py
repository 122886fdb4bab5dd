"""The uint8 image cache: every image and mask is decoded and resized once, through the runtime's own preprocessing."""

import contextlib
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from semise_sdk.errors import DataError, ImageReadError
from semise_sdk.images.preprocess import place_mask, to_canvas
from semise_sdk.images.readers import read_image
from semise_sdk.spec import InputSpec
from semise_sdk.system.atomic import write_text
from semise_sdk.system.machine import usable_cores
from semise_sdk.system.progress import Reporter
from semise_training.data.manifest import Sample
from semise_training.data.masks import read_mask


@dataclass(frozen=True, slots=True)
class ImageCache:
    """Decoded images in the manifest's order, memory-mapped.

    Args:
        canvases: uint8 ``[N, H, W, 3]``.
        masks: uint8 ``[N, H, W]`` of 0 and 255; zeros where an image has no mask.
    """

    canvases: NDArray[np.uint8]
    masks: NDArray[np.uint8]


def build_cache(folder: Path, samples: Sequence[Sample], spec: InputSpec, *, reporter: Reporter) -> ImageCache:
    """Returns the cache of ``samples``, reused when it was made from the same files with the same spec.

    Raises:
        DataError: images or masks that cannot be read, all of them at once.
    """
    done, key = folder / "done.json", _fingerprint(samples, spec)
    paths = folder / "canvases.npy", folder / "masks.npy"
    if _key_of(done) != key:
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)  # or a kill while filling would leave an old promise beside new pixels
        _fill(paths, samples, spec, reporter)
        write_text(done, json.dumps({"key": key}))
    return ImageCache(np.load(paths[0], mmap_mode="r"), np.load(paths[1], mmap_mode="r"))


def shared_cache(root: Path, samples: Sequence[Sample], spec: InputSpec, *, reporter: Reporter) -> ImageCache:
    """Returns the cache of ``samples`` in a folder of ``root`` that any number of runs share, also at the same time.

    Raises:
        DataError: images or masks that cannot be read, all of them at once.
    """
    folder = root / cache_key(samples, spec)
    if not folder.exists():
        # Filled under a name of its own and renamed whole, so that no run ever sees half of another's.
        scratch = root / f".{folder.name}.{secrets.token_hex(4)}"
        try:
            build_cache(scratch, samples, spec, reporter=reporter)
            with contextlib.suppress(OSError):  # another run was faster
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return build_cache(folder, samples, spec, reporter=reporter)


def cache_key(samples: Sequence[Sample], spec: InputSpec) -> str:
    """Returns 16 letters that name the decoded images: other files or another spec, another key."""
    return _fingerprint(samples, spec)[:16]


def _key_of(done: Path) -> str | None:
    try:
        return str(json.loads(done.read_text())["key"])
    except (OSError, ValueError, KeyError):
        return None


def _fill(paths: tuple[Path, Path], samples: Sequence[Sample], spec: InputSpec, reporter: Reporter) -> None:
    count = len(samples)
    canvases = open_memmap(paths[0], mode="w+", dtype=np.uint8, shape=(count, spec.height, spec.width, 3))
    masks = open_memmap(paths[1], mode="w+", dtype=np.uint8, shape=(count, spec.height, spec.width))
    problems = []
    reporter.start("decoding images", count)
    for index, decoded in enumerate(_decoded(samples, spec)):
        if isinstance(decoded, str):
            problems.append(decoded)
        else:
            canvases[index], masks[index] = decoded
        reporter.step("")
    if problems:
        raise DataError(f"{len(problems)} images or masks could not be read, first: {problems[0]}", problems)
    canvases.flush()
    masks.flush()


def _decoded(samples: Sequence[Sample], spec: InputSpec) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]] | str]:
    block = 64  # bounds what waits in memory between the pool and the file
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(samples), block):
            yield from pool.map(lambda sample: _decode(sample, spec), samples[start : start + block])


def _decode(sample: Sample, spec: InputSpec) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | str:
    try:
        canvas = to_canvas(read_image(sample.image, dicom=spec.dicom), spec).pixels
        if sample.mask is None:
            return canvas, np.zeros(canvas.shape[:2], np.uint8)
        return canvas, place_mask(np.where(read_mask(sample.mask), np.uint8(255), np.uint8(0)), spec)
    except ImageReadError as error:
        return f"row {sample.row}: {error}"


def _fingerprint(samples: Sequence[Sample], spec: InputSpec) -> str:
    digest = hashlib.sha256(spec.fingerprint().encode())
    for sample in samples:
        for path in (sample.image, sample.mask):
            # A missing file has no stamp; decoding it says so with its row.
            if path is not None and path.is_file():
                stat = path.stat()
                digest.update(f"{path}|{stat.st_size}|{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
