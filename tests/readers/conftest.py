"""DICOM files of every kind, written in memory by pydicom, and what every reader must bear."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest

from semise_sdk.errors import ImageReadError
from semise_sdk.readers import read_image

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture(scope="session")
def dicom() -> Callable[..., bytes]:
    """Returns a function from pixels, or encoded frames, and further tags to the bytes of a DICOM file."""
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

    def build(
        pixels: np.ndarray,
        *,
        frames: list[bytes] | None = None,
        syntax: str = ExplicitVRLittleEndian,
        sop_class: str = SECONDARY_CAPTURE,
        **tags: object,
    ) -> bytes:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.1"
        samples = 3 if pixels.ndim > 2 and pixels.shape[-1] == 3 else 1
        shape = pixels.shape[:-1] if samples == 3 else pixels.shape
        dataset.Rows, dataset.Columns = shape[-2:]
        if len(shape) == 3:
            dataset.NumberOfFrames = shape[0]
        dataset.SamplesPerPixel = samples
        dataset.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
        if samples == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        for name, value in tags.items():
            setattr(dataset, name, value)
        if "HighBit" not in tags:
            dataset.HighBit = dataset.BitsStored - 1
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        if "PixelData" not in tags:
            dataset.PixelData = data + b"\0" * (len(data) % 2) if frames is None else encapsulate(frames)
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
        dataset["PixelData"].is_undefined_length = frames is not None
        stream = BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    return build


@pytest.fixture(scope="session")
def assert_sixteen_threads_read_what_one_reads() -> Callable[[Sequence[bytes]], None]:
    """Returns a check that 16 threads get from each source, over and over, what one thread gets."""

    def outcome(data: bytes) -> tuple[str, bytes]:
        try:
            record = read_image(data)
        except ImageReadError as error:
            return error.reason, b""
        return record.format, record.pixels.tobytes()

    def check(sources: Sequence[bytes]) -> None:
        serial = [outcome(data) for data in sources]
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(outcome, list(sources) * 20)) == serial * 20

    return check
