"""R14: canaries in names, metadata and broken headers of 50 inputs; with --phi drop none of them is told anywhere."""

import json
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

NAME, PATIENT, BIRTH = "QXCANARYNAME", "QXCANARYPATIENT", "18991231"
CANARIES = (NAME, PATIENT, BIRTH, "1899-12-31")
PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.4"
TEXT_INSTEAD = {"WindowCenter": "LO", "NumberOfFrames": "LO"}  # a number would be refused before it is written


@pytest.fixture(scope="module")
def ward(tmp_path_factory) -> Path:
    """50 files in a folder of a telling name: 20 PNG, 10 JPEG, 10 DICOM, 10 that are broken in telling ways."""
    folder = tmp_path_factory.mktemp("ward") / "images" / f"{NAME}_ward"
    folder.mkdir(parents=True)
    for number in range(20):
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", PATIENT)
        text.add_itxt("Patient", PATIENT)
        picture(number).save(folder / f"{NAME}_{number}.png", pnginfo=text)
    for number in range(10):
        exif = Image.Exif()
        exif[0x010E], exif[0x013B], exif[0x0132] = PATIENT, PATIENT, BIRTH
        picture(number).save(folder / f"{NAME}_{number}.jpg", exif=exif)
    for number in range(10):
        write_dicom(folder / f"{NAME}_{number}.dcm", number)
    broken = sorted(folder.iterdir())[:: 40 // 9]
    for number, path in enumerate(broken[:9]):
        content = path.read_bytes()
        (folder / f"{NAME}_broken_{number}").write_bytes(content[: len(content) * (number + 1) // 11])
    (folder / f"{NAME}_tiff").write_bytes(b"II*\0" + struct.pack("<I", 8) + PATIENT.encode() * 9)
    assert len(list(folder.iterdir())) == 50
    visits = [f"{path.relative_to(folder.parent.parent)},{PATIENT},1899-12-31,{PATIENT}" for path in folder.iterdir()]
    (folder.parent.parent / "visits.csv").write_text("\n".join(["image,patient,date,site", *sorted(visits)]))
    return folder.parent


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (24, 20), (9 * number, 40, 200 - 9 * number))


def write_dicom(path: Path, number: int) -> None:
    """Writes a DICOM file of a patient; all but three say something in the wrong place as well."""
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    from pydicom import config
    from pydicom.datadict import dictionary_VR
    from pydicom.dataset import Dataset, FileMetaDataset

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID = PHOTOGRAPH, "2.25.1"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{PATIENT}^A", PATIENT, BIRTH
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 20, 24, 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = np.full((20, 24, 3), 20 * number, np.uint8).tobytes()
    dataset["PixelData"].VR = "OB"
    wrong = {
        3: {"PhotometricInterpretation": PATIENT},
        4: {"WindowCenter": PATIENT, "PhotometricInterpretation": "MONOCHROME2", "SamplesPerPixel": 1},
        5: {"SOPClassUID": PATIENT},
        6: {"SpecificCharacterSet": PATIENT},
        7: {"NumberOfFrames": PATIENT},
        8: {"BurnedInAnnotation": "YES", "ImageType": [PATIENT, "PRIMARY"]},
        9: {"PresentationLUTShape": PATIENT, "VOILUTFunction": PATIENT, "RescaleType": PATIENT},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says what is wrong with them
        mode, config.settings.writing_validation_mode = config.settings.writing_validation_mode, config.IGNORE
        for keyword, value in wrong.get(number, {}).items():
            dataset.add_new(keyword, TEXT_INSTEAD.get(keyword) or dictionary_VR(keyword), value)
        dataset.save_as(path, enforce_file_format=True)
        config.settings.writing_validation_mode = mode


# A process of its own, so that what libraries write to descriptor 2 is caught too.
COMMANDS = """
import json, os, sys
from semise_sdk.cli.app import run
codes = []
for number, arguments in enumerate(json.loads(sys.argv[1])):
    os.environ["SEMISE_DEBUG"] = "1" if number % 2 else ""
    codes.append(run(["--verbose", *arguments]))
open("codes.json", "w").write(json.dumps(codes))
"""


class Scene:
    """Commands, and everything that they leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.told: list[bytes] = []

    def semise(self, *commands: Sequence[object]) -> list[int]:
        """Returns the exit codes of the commands; every second one with SEMISE_DEBUG."""
        environment = os.environ | {"TMPDIR": str(self.temporary), "SQLITE_TMPDIR": str(self.temporary)}
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps([[str(part) for part in command] for command in commands])],
            capture_output=True,
            cwd=self.folder,
            env=environment | {"OMP_NUM_THREADS": "1"},
            check=True,
        )
        self.told += [done.stdout, done.stderr]
        return json.loads((self.folder / "codes.json").read_text())

    def hits(self, canaries: tuple[str, ...]) -> list[str]:
        """Returns what was told and written that holds a canary, in UTF-8 or UTF-16."""
        written = {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        written |= {f"name of {path}": os.fsencode(path.relative_to(self.folder)) for path in self.folder.rglob("*")}
        written |= {f"output {place}": text for place, text in enumerate(self.told)}
        spellings = [canary.encode(code) for canary in canaries for code in ("utf-8", "utf-16-le")]
        return [
            f"{spelling!r} in {name}" for name, text in written.items() for spelling in spellings if spelling in text
        ]


@pytest.fixture
def scene(tmp_path) -> Scene:
    folder = tmp_path / "scene"
    folder.mkdir()
    return Scene(folder)


def test_nothing_is_told_under_drop(scene, ward, colour_bundle, write_colour_bundle, tmp_path, figure):
    drawing = ("--bundle", write_colour_bundle(tmp_path / "unet"), "--phi", "drop")
    drop = ("--bundle", colour_bundle, "--phi", "drop")
    patients = ward / f"{NAME}_ward"
    rank = ("rank", ward, *drop)
    commands = {
        (*rank, "--format", "jsonl"): 3,
        (*rank, "--run", "run", "--out", "ranking.json"): 3,
        (*rank, "--run", "run", "--out", "ranking.json", "--quiet"): 3,
        ("classify", ward, *drop, "--run", "graded"): 3,
        ("verify-run", "run", ward): 0,
        ("merge", "run", "--out", "merged.csv"): 3,
        ("rank", ward / f"{NAME}_nowhere", *drop): 2,
        (*rank, "--reference", patients / f"{NAME}_tiff"): 2,
        (*rank, "--out", patients / f"{NAME}_0.png" / "out.csv"): 74,
        (*rank, "--run", patients): 2,
        (*rank, f"--{NAME}"): 2,
        ("rank", ward, "--phi", "drop", "--bundle", patients): 2,
        ("rank", ward, *drawing, "--maps", "maps"): 3,
        (*rank, "--reference", patients / f"{NAME}_0.png", "--format", "json"): 3,
        ("embed", ward, *drop): 3,
        ("segment", ward, *drawing, "--overlays", "overlays"): 3,
        ("analyze", ward, *drawing, "--reference", patients / f"{NAME}_0.png", "--format", "json"): 3,
        ("compare-images", patients / f"{NAME}_0.png", patients / f"{NAME}_tiff", *drop): 3,
        ("compare-images", patients / f"{NAME}_0.png", patients / f"{NAME}_1.png", *drop, "--json"): 0,
        ("timeline", ward.parent / "visits.csv", *drop): 3,
        ("timeline", ward.parent / "visits.csv", *drop, "--out", "timeline.json"): 3,
    }
    assert scene.semise(*commands) == list(commands.values())
    rows = (scene.folder / "merged.csv").read_text().splitlines()
    assert len(rows) == 51
    assert sum(",error," in row for row in rows) >= 10
    hits = scene.hits(CANARIES)
    assert hits == []
    figure("inputs, commands", f"50, {len(commands)}")
    figure("canaries told under --phi drop", len(hits))


def test_journal_trail_and_messages_name_nobody_by_default(scene, ward, colour_bundle, figure):
    rank = ("rank", ward, "--bundle", colour_bundle, "--run", "run", "--out", "ranking.csv")
    assert scene.semise(rank, rank, ("verify-run", "run", ward)) == [3, 3, 0]
    assert NAME in (scene.folder / "ranking.csv").read_text()  # the answer itself names the files
    (scene.folder / "ranking.csv").unlink()
    hits = scene.hits(CANARIES)
    assert hits == []
    figure("canaries told by journal, trail and messages under the default, hash", len(hits))


def test_the_canaries_sing_where_names_are_kept(scene, ward, colour_bundle):
    """Else the tests above would prove nothing."""
    keep = ("rank", ward, "--bundle", colour_bundle, "--phi", "keep")
    assert scene.semise((*keep, "--run", "run"), (*keep, "--reference", ward / f"{NAME}_gone")) == [3, 2]
    found = scene.hits((NAME,))
    assert {"audit.jsonl", "journal.sqlite", "output"} <= {
        part for hit in found for part in ("audit.jsonl", "journal.sqlite", "output") if part in hit
    }
