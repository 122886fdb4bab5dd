"""R2: small files that ask for gigabytes or hours. Each is refused by name in 2 s, and the predictor hardly notices."""

import io
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import psutil
from PIL import Image

from semise_sdk.predictor import Predictor

SECONDS = 2.0
MAIN_BYTES = 300 << 20
SIZES = ("too_many_pixels", "damaged")
Bomb = tuple[str, bytes, tuple[str, ...]]


def png(width: int, height: int, *, bits: int = 1, extra: bytes = b"") -> bytes:
    row = bytes(1 + -(-width * bits // 8))
    compressor = zlib.compressobj(9)
    data = b"".join(compressor.compress(row * 64) for _ in range(-(-height // 64))) + compressor.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zeros(megabytes: int) -> bytes:
    compressor, block = zlib.compressobj(9, wbits=-15), bytes(1 << 20)
    return b"".join(compressor.compress(block) for _ in range(megabytes)) + compressor.flush()


def tiff(**wrong: int) -> bytes:
    """Returns a TIFF of 16 x 16 whose directory says otherwise: ``side``, ``strips``, ``following`` itself."""
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "TIFF")
    data = bytearray(stream.getvalue())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", data, place)
        if tag in (256, 257) and "side" in wrong:
            struct.pack_into("<HII", data, place + 2, 4, 1, wrong["side"])
        if tag in (273, 279) and "strips" in wrong:
            struct.pack_into("<II", data, place + 4, wrong["strips"], 8)
    if "following" in wrong:
        struct.pack_into("<I", data, start + 2 + 12 * entries, start)
    return bytes(data)


def jpeg_of(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def scans(count: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "JPEG", progressive=True)
    data = bytearray(stream.getvalue())
    last = data[data.rindex(b"\xff\xda") : -2]
    place = data.index(b"\xff\xc2") + 5
    data[place : place + 4] = struct.pack(">HH", 9_000, 9_000)
    return bytes(data[:-2] + last * count + data[-2:])


def j2k_of(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "JPEG2000", no_jp2=True)
    data = bytearray(stream.getvalue())
    data[8:16] = struct.pack(">II", width, height)
    data[24:32] = struct.pack(">II", width, height)  # one tile
    return bytes(data)


def raster_bombs() -> Iterator[Bomb]:
    yield "PNG of 12000 x 12000 in 1 bit", png(12_000, 12_000), SIZES
    yield "PNG of 30000 x 30000", png(30_000, 30_000), SIZES
    yield "PNG of 10001 x 10000 in 1 bit", png(10_001, 10_000), SIZES
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20), 9))
    yield "PNG whose text inflates to 200 MiB, which is not inflated", png(8, 8, extra=text), ("ok",)
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200 << 20), 9))
    yield "PNG whose colour profile inflates to 200 MiB, which is not inflated", png(8, 8, extra=profile), ("ok",)
    yield (
        "PNG of 4 million empty text chunks",
        png(8, 8, extra=chunk(b"tEXt", b"a\0") * 4_000_000),
        ("unsupported_format",),
    )
    yield "JPEG that claims 65500 x 65500", jpeg_of(65_500, 65_500), SIZES
    small = jpeg_of(16, 16)
    comments = small[:2] + b"\xff\xfe\x00\x02" * 4_000_000 + small[2:]
    yield "JPEG of 4 million empty comments", comments, ("unsupported_format",)
    yield "JPEG of 80 million pixels in 20,000 scans", scans(20_000), ("unsupported_format",)
    yield "TIFF that claims 60000 x 60000", tiff(side=60_000), ("too_many_pixels",)
    yield "TIFF that claims 4 billion squared", tiff(side=0xFFFFFFFF), SIZES
    yield "TIFF of half a billion strips", tiff(strips=0x1FFFFFFF), ("damaged", "truncated")
    yield "TIFF whose directory leads to itself", tiff(following=1), ("ok",)  # its first frame is sound
    bmp = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 1, *[0] * 6)
    yield "BMP that claims 60000 x 60000", bmp, SIZES
    webp = (
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff\xff\xff\xff"
    )
    yield "WebP that claims 16 million squared", webp, SIZES
    yield "PostScript, which Pillow hands to Ghostscript", b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n", ("not_an_image",)


def dicom_bombs(dicom: Callable[..., bytes], inflated: int, items: int) -> Iterator[Bomb]:
    small = np.zeros((8, 8), np.uint8)
    plain = dicom(small)
    deflated = dicom(small, syntax="1.2.840.10008.1.2.1.99")
    head = deflated[: 128 + 4 + 12 + struct.unpack_from("<I", deflated, 140)[0]]
    yield f"deflated DICOM of {inflated} MiB of zeros", head + zeros(inflated), ("unsupported_transfer_syntax",)
    # Ahead of the pixels, as the file's order of tags asks for.
    place = plain.index(b"\x28\x00\x02\x00")
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
    empty = b"\xfe\xff\x00\xe0\0\0\0\0" * items
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    many = plain[:place] + sequence + empty + end + plain[place:]
    yield f"DICOM with a sequence of {items:,} empty items", many, ("unsupported_format",)
    opened, closed = sequence + b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0" + end
    nested = plain[:place] + opened * 300 + closed * 300 + plain[place:]
    yield "DICOM with sequences 300 deep", nested, ("damaged",)
    deep = plain[:place] + opened * 20_000 + closed * 20_000 + plain[place:]
    yield "DICOM with sequences 20,000 deep", deep, ("damaged",)
    for side in (60_000, 65_000):
        for name, frame, syntax in (
            ("JPEG 2000", j2k_of(side, side), "1.2.840.10008.1.2.4.90"),
            ("JPEG", jpeg_of(side, side), "1.2.840.10008.1.2.4.50"),
        ):
            honest = dicom(small, frames=[frame], syntax=syntax, Rows=side, Columns=side)
            yield f"DICOM in {name} that claims {side} x {side}", honest, ("too_many_pixels",)
            hidden = dicom(small, frames=[frame], syntax=syntax)
            yield f"DICOM in {name} whose frame alone claims {side} x {side}", hidden, ("damaged",)
    many_scans = dicom(small, frames=[scans(20_000)], syntax="1.2.840.10008.1.2.4.50", Rows=9_000, Columns=9_000)
    yield "DICOM in JPEG of 20,000 scans", many_scans, ("unsupported_format",)
    yield "DICOM of 2 ** 31 - 1 frames", dicom(small, NumberOfFrames=2**31 - 1), ("truncated",)
    yield "DICOM of 65535 x 65535 with 64 bytes of pixels", dicom(small, Rows=65_535, Columns=65_535), SIZES
    wide = dicom(small, Rows=9_000, Columns=9_000)
    yield "DICOM of 9000 x 9000 with 64 bytes of pixels", wide, ("truncated",)


class Watch:
    """The most memory of this process while it is watched."""

    def __init__(self) -> None:
        self.highest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(0.002):
            self.highest = max(self.highest, me.memory_info().rss)


def test_bombs(lenient_bundle, dicom, amount, figure, tmp_path):
    bombs = [*raster_bombs(), *dicom_bombs(dicom, amount(64, 1024), amount(100_000, 2_500_000))]
    paths = []
    for index, (_, data, _) in enumerate(bombs):
        paths.append(tmp_path / f"{index}.bin")
        paths[-1].write_bytes(data)
    verdicts, seconds, growths = [], [], []
    with Predictor.open(lenient_bundle, backend="onnxruntime", workers=1) as predictor:
        predictor.rank(dicom(np.zeros((8, 8), np.uint8)))  # a warm reader
        for path in paths:
            with Watch() as watch:
                before, started = psutil.Process().memory_info().rss, time.perf_counter()
                (row,) = predictor.rank(path).rows
                seconds.append(time.perf_counter() - started)
            growths.append(watch.highest - before)
            verdicts.append(row.reason.partition(":")[0] or "ok")
    table = [
        f"{name}, {len(data):,} bytes: {verdict}, {took:.2f} s, {max(0, growth) >> 20} MiB"
        for (name, data, _), verdict, took, growth in zip(bombs, verdicts, seconds, growths, strict=True)
    ]
    hostile = [verdict for verdict, bomb in zip(verdicts, bombs, strict=True) if bomb[2] != ("ok",)]
    figure(f"{len(hostile)} bombs, refused by name", sum(verdict != "ok" for verdict in hostile))
    figure("slowest in s", round(max(seconds), 2))
    figure("largest growth of the main process in MiB", max(0, *growths) >> 20)
    for line in table:
        figure("bomb", line)
    wrong = [line for line, verdict, bomb in zip(table, verdicts, bombs, strict=True) if verdict not in bomb[2]]
    assert wrong == []
    assert max(seconds) < SECONDS
    assert max(growths) < MAIN_BYTES
