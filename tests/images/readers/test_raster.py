"""Every kind of raster file reaches the same few pixel types, upright, with its values intact."""

import struct
import zlib
from io import BytesIO

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers import read_image

GREY = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9) * 4
ORIENTED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 1),
}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(samples: NDArray[np.generic], *, depth: int, colour: int, width: int, extra: bytes = b"") -> bytes:
    """Returns a PNG of rows of raw bytes, written without Pillow."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(samples), depth, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    body = (chunk(b"tRNS", extra) if extra else b"") + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def tiff(samples: NDArray[np.generic], *, order: str = "<", bits: int, photometric: int = 1, kind: int = 1) -> bytes:
    """Returns an uncompressed one-strip grey TIFF, written without Pillow."""
    height, width = samples.shape if bits != 12 else (samples.shape[0], samples.shape[1] * 2 // 3)
    data = samples.tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data), 339: kind}
    entries = b"".join(
        struct.pack(order + "HHII", tag, 4, 1, value)
        if tag in (273, 279)
        else struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
        for tag, value in sorted(tags.items())
    )
    offset = 8 + len(data) + len(data) % 2
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, offset)
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
    return header + data + b"\0" * (len(data) % 2) + directory


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_orientation_of_lossless_formats(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"exif": exif, "lossless": True} if kind == "WEBP" else {"exif": exif}
    record = read_image(encoded(Image.fromarray(GREY), kind, **options))
    upright = record.pixels if record.pixels.ndim == 2 else record.pixels[:, :, 0]
    np.testing.assert_array_equal(upright, ORIENTED[orientation](GREY))
    assert record.notes == ((f"EXIF orientation {orientation} applied",) if orientation > 1 else ())


@pytest.mark.parametrize("orientation", ORIENTED)
def test_orientation_of_jpeg(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = read_image(encoded(Image.fromarray(GREY), "JPEG")).pixels
    turned = read_image(encoded(Image.fromarray(GREY), "JPEG", exif=exif)).pixels
    np.testing.assert_array_equal(turned, ORIENTED[orientation](plain))


def test_a_damaged_exif_block_does_not_cost_the_image() -> None:
    data = encoded(Image.fromarray(GREY), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(data).pixels, GREY)


def test_sixteen_bit_grey_is_kept_whatever_the_byte_order() -> None:
    values = np.array([[0, 1, 258], [4660, 65534, 65535]], np.uint16)
    files = {
        "png": png(values.astype(">u2"), depth=16, colour=0, width=3),
        "little": tiff(values.astype("<u2"), bits=16),
        "big": tiff(values.astype(">u2"), bits=16, order=">"),
        "deflate": encoded(Image.fromarray(values), "TIFF", compression="tiff_adobe_deflate"),
    }
    for name, data in files.items():
        record = read_image(data)
        assert (record.pixels.dtype, record.bits) == (np.dtype(np.uint16), 16), name
        np.testing.assert_array_equal(record.pixels, values, err_msg=name)


def test_white_is_zero_reads_alike_at_every_depth() -> None:
    eight = read_image(tiff(np.array([[0, 3, 255]], np.uint8), bits=8, photometric=0))
    sixteen = read_image(tiff(np.array([[0, 3, 65535]], "<u2"), bits=16, photometric=0))
    np.testing.assert_array_equal(eight.pixels, [[255, 252, 0]])
    np.testing.assert_array_equal(sixteen.pixels, [[65535, 65532, 0]])


def test_twelve_packed_bits_are_twelve_bits() -> None:
    packed = np.array([[0x12, 0x3F, 0xFF]], np.uint8)  # 0x123 and 0xFFF, high bits first
    record = read_image(tiff(packed, bits=12))
    np.testing.assert_array_equal(record.pixels, [[0x123, 0xFFF]])
    assert (record.pixels.dtype, record.bits) == (np.dtype(np.uint16), 12)


def test_wide_samples_are_kept() -> None:
    signed = read_image(tiff(np.array([[-1024, 3071]], "<i2"), bits=16, kind=2))
    wide = read_image(tiff(np.array([[-7, 2**31 - 1]], "<i4"), bits=32, kind=2))
    real = read_image(tiff(np.array([[-0.25, 1e9]], "<f4"), bits=32, kind=3))
    assert [(r.pixels.dtype.name, r.bits) for r in (signed, wide, real)] == [
        ("int32", 32),
        ("int32", 32),
        ("float32", 0),
    ]
    np.testing.assert_array_equal(signed.pixels, [[-1024, 3071]])
    np.testing.assert_array_equal(wide.pixels, [[-7, 2**31 - 1]])
    np.testing.assert_array_equal(real.pixels, np.array([[-0.25, 1e9]], np.float32))


def test_samples_that_pillow_would_misread_are_refused() -> None:
    for data in (
        tiff(np.array([[-1, 5]], np.int8), bits=8, kind=2),
        tiff(np.array([[2**31, 5]], "<u4"), bits=32),
    ):
        with pytest.raises(ImageReadError) as caught:
            read_image(data)
        assert caught.value.code == "unsupported_format"
    np.testing.assert_array_equal(read_image(tiff(np.array([[9, 5]], "<u4"), bits=32)).pixels, [[9, 5]])


def test_sixteen_bit_colour_keeps_the_high_byte_and_says_so() -> None:
    colours = np.array([[0x1234, 0x80FF, 0xFFFF, 0x0080, 0x00FF, 0xFE80]], ">u2")
    record = read_image(png(colours, depth=16, colour=2, width=2))
    np.testing.assert_array_equal(record.pixels, [[[0x12, 0x80, 0xFF], [0, 0, 0xFE]]])
    assert record.notes == ("16-bit colour reduced to the high byte of each sample",)


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (2, 4), (3, 2), (4, 6)])
@pytest.mark.parametrize("highest", [4095, 8191, 8192, 65535])
def test_sixteen_bits_are_the_same_of_file_and_array(channels: int, colour: int, highest: int) -> None:
    pixels = np.random.default_rng(1).integers(0, highest + 1, (60, 70, channels), dtype=np.uint16)
    pixels[0, 0] = highest
    if channels in (2, 4):
        pixels[:, 0::2, -1] = 65535
    file = read_image(png(pixels.astype(">u2").reshape(60, -1), depth=16, colour=colour, width=70))
    array = read_image(pixels)
    assert (file.pixels.dtype, file.bits, file.notes) == (array.pixels.dtype, array.bits, array.notes)
    grey_as_rgb = np.dstack([array.pixels] * 3) if channels == 2 else array.pixels  # so Pillow reads grey and alpha
    np.testing.assert_array_equal(file.pixels, grey_as_rgb)
    note = "no sample reaches an eighth of the 16-bit range: the image may have fewer bits"
    assert (note in array.notes) == (highest < 8192)


KEYED = {
    "2-bit": (png(np.array([[0b00011011]], np.uint8), depth=2, colour=0, width=4, extra=b"\0\2"), [[0, 85, 0, 255]]),
    "4-bit": (png(np.array([[0x1F]], np.uint8), depth=4, colour=0, width=2, extra=b"\0\x0f"), [[17, 0]]),
    "8-bit": (png(np.array([[9, 200]], np.uint8), depth=8, colour=0, width=2, extra=b"\0\x09"), [[0, 200]]),
    "16-bit": (png(np.array([[9, 40000]], ">u2"), depth=16, colour=0, width=2, extra=b"\x9c\x40"), [[9, 0]]),
    "rgb": (
        png(np.array([[1, 2, 3, 1, 2, 4]], np.uint8), depth=8, colour=2, width=2, extra=b"\0\1\0\2\0\3"),
        [[[0, 0, 0], [1, 2, 4]]],
    ),
    "rgb-16-bit": (
        png(
            np.array([[0x1234, 0x5678, 0x9ABC]], ">u2"), depth=16, colour=2, width=1, extra=b"\x12\x34\x56\x78\x9a\xbc"
        ),
        [[[0, 0, 0]]],
    ),
}


@pytest.mark.parametrize("name", KEYED)
def test_the_transparent_colour_of_a_png_becomes_black(name: str) -> None:
    data, expected = KEYED[name]
    record = read_image(data)
    np.testing.assert_array_equal(record.pixels, expected)
    assert "alpha composited on black" in record.notes


def test_alpha_is_composited_on_black_with_exact_rounding() -> None:
    colour, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    expected = np.floor(colour.astype(np.float64) * alpha / 255 + 0.5).astype(np.uint8)
    grey = read_image(encoded(Image.fromarray(np.dstack([colour, alpha])), "PNG"))
    rgba = read_image(encoded(Image.fromarray(np.dstack([colour, colour, colour, alpha])), "PNG"))
    np.testing.assert_array_equal(grey.pixels, expected)
    np.testing.assert_array_equal(rgba.pixels, np.dstack([expected] * 3))
    assert grey.notes == rgba.notes == ("alpha composited on black",)


def test_an_opaque_alpha_is_dropped_without_a_word() -> None:
    record = read_image(encoded(Image.fromarray(GREY).convert("RGBA"), "PNG"))
    np.testing.assert_array_equal(record.pixels, np.dstack([GREY] * 3))
    assert record.notes == ()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_an_alpha_of_0_everywhere_is_no_alpha(kind: str) -> None:
    image = Image.fromarray(np.dstack([GREY, GREY, GREY, np.zeros_like(GREY)]))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encoded(image, kind, **options) if kind != "BMP" else bmp_with_alpha(image)
    record = read_image(data)
    np.testing.assert_array_equal(record.pixels, np.dstack([GREY] * 3))
    assert record.notes == ("alpha is 0 everywhere, so it is left out",)


def bmp_with_alpha(image: Image.Image) -> bytes:
    """Returns a BMP whose header (version 4) gives alpha a mask; Pillow writes none."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, image.width, -image.height, 1, 32, 3, 0, 0, 0, 0, 0)
    pixels = image.tobytes("raw", "BGRA")
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + info + masks + bytes(52) + pixels


def test_a_grey_alpha_of_0_everywhere_is_no_alpha() -> None:
    record = read_image(encoded(Image.fromarray(np.dstack([GREY, np.zeros_like(GREY)])), "PNG"))
    np.testing.assert_array_equal(record.pixels, GREY)


def test_palettes_become_their_colours() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).copy()
    image.putpalette([10, 20, 30, 40, 50, 60, 200, 100, 0])
    plain = read_image(encoded(image, "PNG"))
    np.testing.assert_array_equal(plain.pixels, [[[10, 20, 30], [40, 50, 60]], [[200, 100, 0], [40, 50, 60]]])
    one_key = read_image(encoded(image, "PNG", transparency=1))
    np.testing.assert_array_equal(one_key.pixels[:, 1], 0)
    alphas = read_image(encoded(image, "PNG", transparency=bytes([255, 0, 51])))
    np.testing.assert_array_equal(alphas.pixels, [[[10, 20, 30], [0, 0, 0]], [[40, 20, 0], [0, 0, 0]]])


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False, True]]))
    for kind in ("PNG", "TIFF", "BMP"):
        record = read_image(encoded(image, kind))
        values = record.pixels if record.pixels.ndim == 2 else record.pixels[:, :, 0]
        np.testing.assert_array_equal(values, [[255, 0, 255]], err_msg=kind)
        assert record.bits == 8


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(kind: str) -> None:
    # Cyan, magenta, yellow, black in per cent of ink: 0, 100, 100, 0 is red.
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    record = read_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind, **options))
    np.testing.assert_allclose(record.pixels.astype(int), np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=2)
    assert record.notes == ("CMYK converted to RGB without its colour profile",)


def test_lab_becomes_rgb() -> None:
    white = read_image(encoded(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF"))  # a and b of 0
    black = read_image(encoded(Image.new("LAB", (2, 2), (0, 128, 128)), "TIFF"))
    np.testing.assert_allclose(white.pixels.astype(int), 255, atol=1)
    np.testing.assert_allclose(black.pixels.astype(int), 0, atol=1)


@pytest.mark.skipif(int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow 11 cannot read its own YCbCr TIFF")
def test_ycbcr_becomes_rgb() -> None:
    red = read_image(encoded(Image.new("YCbCr", (2, 2), (76, 85, 255)), "TIFF"))  # red by BT.601
    np.testing.assert_allclose(red.pixels[0, 0].astype(int), [255, 0, 0], atol=2)


@pytest.mark.parametrize(("kind", "frames"), [("TIFF", "several"), ("PNG", "3"), ("WEBP", "3"), ("MPO", "3")])
def test_the_first_of_several_frames_is_read(kind: str, frames: str) -> None:
    images = [Image.new("RGB", (20, 10), (level, level, level)) for level in (50, 120, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    record = read_image(encoded(images[0], kind, save_all=True, append_images=images[1:], **options))
    np.testing.assert_array_equal(record.pixels, 50)
    assert record.notes == (f"frame 1 of {frames}",)
    assert record.format == ("JPEG" if kind == "MPO" else kind)


def test_the_directories_of_a_tiff_are_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(tiff(np.zeros((1, 1), np.uint8), bits=8))
    first = struct.unpack_from("<I", data, 4)[0]
    directory = bytes(data[first:-4])
    for _ in range(50):
        data[-4:] = struct.pack("<I", len(data))
        data += directory + bytes(4)
    loaded: list[int] = []
    load = TiffImagePlugin.ImageFileDirectory_v2.load
    monkeypatch.setattr(
        TiffImagePlugin.ImageFileDirectory_v2, "load", lambda self, file: (loaded.append(1), load(self, file))[1]
    )
    assert read_image(bytes(data)).notes == ("frame 1 of several",)
    assert len(loaded) < 10  # counting 51 frames takes at least 51: a file of a million would take minutes
