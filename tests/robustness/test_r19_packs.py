"""The 1,089 files of the robustness pack through an isolated predictor: one row each, compared with its manifest."""

import csv
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.images.isolation import InProcessReader, IsolatedReader
from semise_sdk.images.readers.dicom import dicom_support
from semise_sdk.images.reading import FailedImage, Slot
from semise_sdk.images.record import NamedImage
from semise_sdk.predictor import Predictor

PACK = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "robustness"
# What the manifest's Pillow and pydicom (with GDCM's rival under the GPL, and every format that they know) decode, and
# we refuse: code and format, or transfer syntax or SOP class for DICOM, with the number of files.
EXPLAINED = {
    ("not_an_image", "GIF"): 32,
    ("not_an_image", "PPM"): 4,
    ("not_an_image", "JPEG2000"): 3,
    ("unsupported_transfer_syntax", "JPEG Lossless"): 7,
    ("unsupported_sop_class", "segmentation or parametric map"): 7,
    ("unsupported_format", "samples of 32 bits"): 4,
    ("damaged", "JPEG-LS that GDCM alone reads"): 1,
    ("damaged", "JPEG"): 8,  # libjpeg warns of their scans; test_robustness_pack.py names them
}
NAMES = {
    "unsupported_transfer_syntax": "JPEG Lossless",
    "unsupported_sop_class": "segmentation or parametric map",
    "unsupported_format": "samples of 32 bits",
    "damaged": "JPEG-LS that GDCM alone reads",
}
REFUSALS = ("damaged", "truncated", "not_an_image", "too_many_pixels", "unsupported_format")
DICOM_REFUSALS = ("unsupported_transfer_syntax", "unsupported_sop_class")

pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(not PACK.is_dir(), reason="needs the image packs at ../shared"),
    pytest.mark.skipif(any(kind.version is None for kind in dicom_support()), reason="needs semise-sdk[dicom]"),
    pytest.mark.timeout(900),
]


def manifest(step: int) -> list[dict[str, str]]:
    with (PACK / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))[::step]


def what(row: dict[str, str], code: str) -> str:
    return NAMES[code] if row["kind"].startswith("dicom") else row["format"]


def test_every_file_has_its_row(lenient_bundle, amount, figure):
    rows = manifest(amount(7, 1))
    started = time.perf_counter()
    with Predictor.open(lenient_bundle, backend="onnxruntime") as predictor:
        found = list(predictor.iter_severity([PACK / row["file"] for row in rows]))
    assert [answer.file for answer in found] == [str(PACK / row["file"]) for row in rows]
    codes = [answer.reason.partition(":")[0] or "ok" for answer in found]
    agreed, disagreed, opposite = 0, Counter[tuple[str, str]](), []
    for row, code in zip(rows, codes, strict=True):
        if (row["decodes"] == "ok") == (code == "ok"):
            agreed += 1
            assert code in ("ok", *REFUSALS, *DICOM_REFUSALS), (row["file"], code)
        elif code == "ok":
            opposite.append(row["file"])
        else:
            disagreed[code, what(row, code)] += 1
    figure(f"{len(rows)} files, rows", len(found))
    figure("statuses that agree with the manifest", agreed)
    figure("read by us and not by the manifest", opposite)
    for (code, reason), count in sorted(disagreed.items()):
        figure(f"in the manifest ok, by us {code}", f"{count}: {reason}")
    figure("readers that died or were given up", codes.count("reader_died") + codes.count("reader_timeout"))
    figure("files a second", round(len(rows) / (time.perf_counter() - started)))
    assert opposite == []
    assert all(count <= EXPLAINED.get(key, 0) for key, count in disagreed.items()), disagreed
    if amount(0, 1):
        assert disagreed == Counter(EXPLAINED)


def test_isolated_is_in_process(lenient_bundle, amount, figure):
    rows = manifest(amount(40, 1))
    with Predictor.open(lenient_bundle, backend="onnxruntime", isolate=False) as predictor:
        spec = predictor.model.spec
    apart, here = IsolatedReader(1), InProcessReader()
    different = []
    for row in rows:
        image = NamedImage(row["file"], PACK / row["file"])
        if not same(apart.read(image, spec), here.read(image, spec)):
            different.append(row["file"])
    apart.close()
    figure(f"{len(rows)} files whose canvas or reason differs apart and in this process", len(different))
    assert different == []


def same(first: Slot, second: Slot) -> bool:
    if isinstance(first, FailedImage) or isinstance(second, FailedImage):
        return first == second
    is_same = np.array_equal(first.canvas.pixels, second.canvas.pixels)
    return is_same and first.canvas.geometry == second.canvas.geometry
