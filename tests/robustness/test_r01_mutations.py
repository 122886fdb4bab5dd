"""R1: mutated images of eight codecs. The predictor lives, nothing hangs, and healthy neighbours score as ever."""

import csv
import io
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from semise_sdk.images.isolation import ReaderLimits
from semise_sdk.images.record import NamedImage
from semise_sdk.predictor import Predictor

PACK = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "robustness"
SYNTAXES = {
    "DICOM native": ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
    "DICOM JPEG": ("1.2.840.10008.1.2.4.50",),
    "DICOM J2K": ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    "DICOM JPEG-LS": ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),
    "DICOM RLE": ("1.2.840.10008.1.2.5",),
}
CODECS = ("PNG", "JPEG", "TIFF", *SYNTAXES)
# Of the packs: what is small, and reads.
PACK_RASTERS = {
    "PNG": ("pngsuite", ".png"),
    "JPEG": ("pillow_tests", ".jpg"),
    "TIFF": ("pillow_tests", ".tif"),
}
LARGEST_SOURCE = 60_000
OF_A_PACK = 6
NEIGHBOUR_EVERY = 10
LIMIT = 4.0
"""Seconds for an image, so that it has its row within 5: CharLS turns in a circle on one JPEG-LS of 2,000."""


def smooth(shape: tuple[int, ...], depth: int = 8) -> np.ndarray:
    coarse = np.random.default_rng(len(shape) + depth).integers(0, 1 << depth, (6, 5, *shape[2:]))
    grown = coarse.repeat(-(-shape[0] // 6), 0).repeat(-(-shape[1] // 5), 1)[: shape[0], : shape[1]]
    return grown.astype(np.uint8 if depth <= 8 else np.uint16)


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def made(codec: str, dicom) -> list[bytes]:
    colour, grey, deep = smooth((48, 40, 3)), smooth((48, 40)), smooth((48, 40), 12)
    if codec == "PNG":
        palette = Image.fromarray(colour).quantize(16)
        stream = io.BytesIO()
        palette.save(stream, "PNG", bits=4)
        return [encoded(colour, "PNG"), encoded(deep, "PNG"), stream.getvalue()]
    if codec == "JPEG":
        return [encoded(colour, "JPEG"), encoded(colour, "JPEG", progressive=True), encoded(grey, "JPEG", quality=30)]
    if codec == "TIFF":
        kinds = ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")
        return [encoded(colour, "TIFF", compression=kind) for kind in kinds] + [encoded(deep, "TIFF")]
    if codec == "DICOM JPEG":
        ybr = {"PhotometricInterpretation": "YBR_FULL_422", "syntax": SYNTAXES[codec][0]}
        in_colour = dicom(colour, frames=[encoded(colour, "JPEG")], **ybr)
        progressive = dicom(colour, frames=[encoded(colour, "JPEG", progressive=True)], **ybr)
        return [dicom(grey, frames=[encoded(grey, "JPEG")], syntax=SYNTAXES[codec][0]), in_colour, progressive]
    plain = [dicom(grey), dicom(colour), dicom(deep, BitsStored=12, WindowCenter=1000, WindowWidth=900)]
    return plain if codec == "DICOM native" else [compressed(data, SYNTAXES[codec][0]) for data in plain]


def compressed(data: bytes, syntax: str) -> bytes:
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.compress(syntax, generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def of_the_pack(codec: str) -> list[bytes]:
    if not PACK.is_dir():
        return []
    with (PACK / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["decodes"] == "ok" and int(row["bytes"]) < LARGEST_SOURCE]
    if codec in PACK_RASTERS:
        kind, suffix = PACK_RASTERS[codec]
        found = [row["file"] for row in rows if row["kind"] == kind and row["file"].endswith(suffix)]
    else:
        found = [row["file"] for row in rows if syntax_of(PACK / row["file"]) in SYNTAXES[codec]]
    return [(PACK / file).read_bytes() for file in found[:: max(1, len(found) // OF_A_PACK)][:OF_A_PACK]]


def syntax_of(path: Path) -> str:
    import pydicom

    if not path.parent.name.startswith("dicom"):
        return ""
    return str(pydicom.dcmread(path, force=True, stop_before_pixels=True).get("file_meta", {}).get("TransferSyntaxUID"))


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Returns ``data`` with one to four injuries: bits, bytes, lengths, pieces missing or twice, or an early end."""
    found = bytearray(data)
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(0, min(len(found), 400) if random.random() < 0.4 else len(found)))
        size = int(random.integers(1, 40))
        match random.integers(0, 7):
            case 0:
                found[place] ^= 1 << int(random.integers(0, 8))
            case 1:
                found[place : place + size] = random.bytes(len(found[place : place + size]))
            case 2:
                found[place : place + 4] = random.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])
            case 3:
                found[place : place + 2] = random.choice([b"\xff\xff", b"\x00\x01", b"\xff\x7f", b"\x00\x80"])
            case 4:
                del found[place : place + size]
            case 5:
                found[place:place] = found[place : place + size]
            case 6:
                del found[max(place, 16) :]
        if not found:
            return data[:1]
    return bytes(found)


class Timed:
    """A predictor's reader with a watch."""

    def __init__(self, reader) -> None:
        self._reader = reader
        self.slowest = 0.0

    def read(self, image: NamedImage, spec):
        started = time.perf_counter()
        slot = self._reader.read(image, spec)
        self.slowest = max(self.slowest, time.perf_counter() - started)
        return slot

    def close(self) -> None:
        self._reader.close()


def highest_memory(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0]) * 1024 if lines else 0


def stream(sources: list[bytes], count: int, healthy: bytes, seed: int) -> Iterator[bytes]:
    random = np.random.default_rng(seed)
    for index in range(count):
        if index % NEIGHBOUR_EVERY == 0:
            yield healthy
        yield mutated(sources[index % len(sources)], random)
    yield healthy


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("codec", CODECS)
def test_mutated(codec, lenient_bundle, dicom, amount, figure):
    count, healthy, mine = amount(50, 2000), encoded(smooth((37, 41, 3)), "PNG"), made(codec, dicom)
    with Predictor.open(lenient_bundle, backend="onnxruntime", isolate=False) as predictor:
        (expected,) = predictor.iter_severity(healthy)
        assert {row.status for row in predictor.iter_severity(mine)} == {"ok"}, "sources read before they are hurt"
        theirs = of_the_pack(codec)
        sources = mine + [
            data for data, row in zip(theirs, predictor.iter_severity(theirs), strict=True) if row.severity
        ]
    me, rows, readers = psutil.Process(), [], 0
    before = highest = me.memory_info().rss
    # CharLS, where it goes round in a circle, takes 300 MB a second: on an idle machine the memory's limit comes first.
    limits = ReaderLimits(seconds=LIMIT, memory_bytes=1 << 30)
    with Predictor.open(lenient_bundle, backend="onnxruntime", limits=limits) as predictor:
        timed = predictor._reader = Timed(predictor._reader)
        for row in predictor.iter_severity(stream(sources, count, healthy, seed=CODECS.index(codec))):
            rows.append(row)
            if len(rows) % 25 == 0:
                highest = max(highest, me.memory_info().rss)
                readers = max([readers, *(highest_memory(child.pid) for child in me.children())])
    neighbours = [row for index, row in enumerate(rows) if index % (NEIGHBOUR_EVERY + 1) == 0 or row is rows[-1]]
    codes = Counter(row.reason.partition(":")[0] or "read" for row in rows)
    codes["read"] -= len(neighbours)
    figure(f"{codec}, {count} mutations of {len(sources)} images", dict(codes.most_common()))
    figure(f"{codec}, deaths of the main process", 0)
    figure(f"{codec}, deaths of readers", codes["reader_died"])
    figure(f"{codec}, images given up after {LIMIT:g} s", codes["reader_timeout"])
    figure(f"{codec}, slowest image in s", round(timed.slowest, 2))
    figure(f"{codec}, growth of the main process in MiB", (highest - before) >> 20)
    figure(f"{codec}, most memory of a reader in MiB", readers >> 20)
    assert len(rows) == count + len(neighbours)
    assert {(row.status, row.severity) for row in neighbours} == {("ok", expected.severity)}
    assert codes["unforeseen"] == 0
    assert codes["reader_timeout"] <= count // 500
    assert timed.slowest < 5
    assert max(highest - before, readers) < 1 << 30
