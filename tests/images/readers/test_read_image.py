"""Any source gives the same record, and whatever is wrong with one is an ImageReadError with a stable code."""

import os
import socket
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from semise_sdk.errors import ImageReadError
from semise_sdk.images import readers
from semise_sdk.images.readers import read_image
from semise_sdk.images.record import ImageRecord

LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}


def picture(height: int = 13, width: int = 17) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def code_of(source: str | Path | bytes | NDArray[np.generic], **options: int) -> str:
    with pytest.raises(ImageReadError) as caught:
        read_image(source, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.reason.startswith(f"{caught.value.code}: ")
    return caught.value.code


def assert_same(first: ImageRecord, second: ImageRecord) -> None:
    assert first.pixels.dtype == second.pixels.dtype
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (first.bits, first.notes, first.height, first.width) == (
        second.bits,
        second.notes,
        second.height,
        second.width,
    )


@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG"])
def test_path_bytes_and_array_agree(kind: str, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(picture()), kind, **LOSSLESS.get(kind, {}))
    path = tmp_path / "picture.txt"  # the suffix lies: the content decides
    path.write_bytes(data)
    from_path, from_text, from_bytes = read_image(path), read_image(str(path)), read_image(data)
    from_array = read_image(np.asarray(Image.open(BytesIO(data))))
    for other in (from_text, from_bytes, from_array, read_image(bytearray(data)), read_image(memoryview(data))):
        assert_same(from_path, other)
    assert from_path.format == from_bytes.format == kind
    assert (from_path.source, from_bytes.source, from_array.source) == (str(path), "<bytes>", "<array>")
    assert from_array.format == "array"
    if kind != "JPEG":
        np.testing.assert_array_equal(from_path.pixels, picture())


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16", "I", "F", "1"])
def test_file_and_array_agree_in_every_mode(mode: str) -> None:
    values = picture()[:, :, 0]
    if mode in ("I;16", "I", "F"):
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        image = Image.fromarray((values * 200.0).astype(kinds[mode]))
    else:
        image = Image.fromarray(np.dstack([picture(), values])).convert(mode)
    data = encoded(image, "TIFF")
    assert_same(read_image(data), read_image(np.asarray(Image.open(BytesIO(data)))))


@pytest.mark.parametrize(
    ("array", "expected", "bits"),
    [
        (np.array([[True, False]]), np.array([[255, 0]], np.uint8), 8),
        (np.array([[[3], [4]]], np.uint8), np.array([[3, 4]], np.uint8), 8),
        (np.array([[1, 65535]], ">u2"), np.array([[1, 65535]], np.uint16), 16),
        (np.array([[-5, 7]], np.int32), np.array([[-5, 7]], np.int32), 32),
        (np.array([[0.5, np.nan]], np.float32), np.array([[0.5, np.nan]], np.float32), 0),
        (np.array([[[200, 100, 0, 51]]], np.uint8), np.array([[[40, 20, 0]]], np.uint8), 8),
        (np.array([[[200, 51]]], np.uint8), np.array([[40]], np.uint8), 8),
        (np.array([[[50000, 13107]]], np.uint16), np.array([[39]], np.uint8), 8),
        (np.array([[[50000, 1, 2, 13107]]], np.uint16), np.array([[[39, 0, 0]]], np.uint8), 8),
        (np.array([[[50000, 1, 65535]]], np.uint16), np.array([[[195, 0, 255]]], np.uint8), 8),
    ],
)
def test_arrays_of_each_kind(array: NDArray[np.generic], expected: NDArray[np.generic], bits: int) -> None:
    record = read_image(array)
    assert record.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(record.pixels, expected)
    assert record.bits == bits
    is_colour = array.ndim == 3 and array.shape[2] > 1
    notes = ["16-bit colour reduced to the high byte of each sample"] if is_colour and array.dtype == np.uint16 else []
    notes += ["alpha composited on black"] if is_colour and array.shape[2] in (2, 4) else []
    assert record.notes == tuple(notes)


def test_pixels_cannot_be_written_and_the_callers_array_still_can() -> None:
    array = picture()
    record = read_image(array)
    with pytest.raises(ValueError, match="read-only"):
        record.pixels[0, 0] = 0
    array[0, 0] = 0


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float64),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), np.int8),
        np.array([["a"]]),
        np.array([[None]], object),
        np.zeros(4, np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4, 4), np.float32),
        np.zeros((4, 4, 2), np.int32),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_other_arrays_are_refused(array: NDArray[np.generic]) -> None:
    assert code_of(array) == "unsupported_array"


def test_a_source_of_another_type_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        read_image(3)  # type: ignore[arg-type]


def test_what_is_no_file_is_said_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert code_of(tmp_path / "s") == "not_a_file"
    assert code_of(tmp_path / "pipe.png") == "not_a_file"
    assert code_of(tmp_path) == "not_a_file"
    assert code_of("/dev/zero") == "not_a_file"


def test_missing_and_impossible_names(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_bytes(b"")
    assert code_of(tmp_path / "absent.png") == "not_found"
    assert code_of(tmp_path / "file" / "below.png") == "not_found"
    assert code_of("a\0b.png") == "not_found"
    assert code_of(tmp_path / "loop") == "not_readable"
    assert code_of(tmp_path / ("n" * 300)) == "not_readable"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "secret.png").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageReadError, match="expected a readable file, found 'permission denied'") as caught:
        read_image(tmp_path / "secret.png")
    assert caught.value.code == "not_readable"


def test_empty_and_foreign_content(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    dicom = b"II\x2a\x00" + bytes(124) + b"DICM" + bytes(100)  # a TIFF header in the preamble changes nothing
    assert code_of(tmp_path / "empty.png") == "empty_file"
    assert code_of(b"") == "empty_file"
    assert code_of(b"GIF89a" + bytes(50)) == "not_an_image"
    assert code_of(b"file,severity\n") == "not_an_image"
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    assert code_of(dicom) == "damaged"  # and not what a TIFF reader would say of it


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        stream.truncate(readers.MAX_FILE_BYTES + 1)  # sparse: takes no disk
    assert code_of(tmp_path / "huge.png") == "file_too_large"


def test_too_many_pixels_is_known_before_decoding() -> None:
    def header(width: int, height: int) -> bytes:
        # A bitmap with no pixels behind its header: decoding it fails, so the code tells how far reading went.
        return (
            b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, *[0] * 6)
        )

    assert code_of(header(10_001, 10_000)) == "too_many_pixels"
    assert code_of(header(60_000, 60_000)) == "too_many_pixels"
    assert code_of(header(9_500, 9_500)) == "truncated"  # Pillow warns from 89 million pixels on; 100 are allowed
    assert code_of(header(5, 5), max_pixels=24) == "too_many_pixels"
    assert code_of(np.zeros((5, 5), np.uint8), max_pixels=24) == "too_many_pixels"
    assert read_image(np.zeros((5, 5), np.uint8), max_pixels=25).width == 5


@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG"])
def test_a_file_cut_short_is_an_error(kind: str) -> None:
    data = encoded(Image.fromarray(picture(64, 64)), kind)
    assert code_of(data[: len(data) // 2]) in ("truncated", "damaged")
    assert code_of(data[:20]) in ("truncated", "damaged")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (OSError("x"), "damaged"),
        (SyntaxError("broken PNG file"), "damaged"),
        (ValueError(), "damaged"),
        (struct.error("x"), "damaged"),
        (KeyError(3), "damaged"),
        (IndexError("x"), "damaged"),
        (ZeroDivisionError("x"), "damaged"),
        (RecursionError("x"), "damaged"),
        (EOFError("x"), "damaged"),
        (OSError("image file is truncated (3 bytes not processed)"), "truncated"),
        (MemoryError(), "out_of_memory"),
        (Image.DecompressionBombError("x"), "too_many_pixels"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_whatever_pillow_raises_gets_a_code(raised: Exception, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise raised

    monkeypatch.setattr(Image, "open", fail)
    assert code_of(b"BM" + bytes(100)) == code


def test_messages_name_the_file_in_printable_characters(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\n\xff.png")
    with pytest.raises(ImageReadError) as caught:
        read_image(tmp_path / name)
    assert str(caught.value).startswith(r"'a\n\udcff.png': expected an image file")
    assert str(caught.value).isprintable()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([*LOSSLESS, "JPEG"]),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
    kept=st.floats(0.1, 1),
)
def test_damage_never_escapes_as_another_error(kind: str, edits: list[tuple[float, int]], kept: float) -> None:
    data = bytearray(encoded(Image.fromarray(picture()), kind))
    for position, value in edits:
        data[int(position * len(data))] = value
    try:
        record = read_image(bytes(data[: int(kept * len(data))]), max_pixels=1_000_000)
    except ImageReadError:
        return
    assert record.pixels.size > 0


def test_sixteen_threads_read_what_one_reads(assert_sixteen_threads_read_what_one_reads) -> None:
    sources: list[bytes] = []
    for kind in [*LOSSLESS, "JPEG"]:
        data = encoded(Image.fromarray(picture(40, 50)), kind)
        sources += [data, data[: len(data) // 2]]
    assert_sixteen_threads_read_what_one_reads(sources)
