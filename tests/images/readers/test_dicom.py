"""Colour, frames, codecs and refusals of DICOM: one record or one coded sentence, and nothing of the patient in it."""

import logging
import sys
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from semise_sdk.errors import ImageReadError
from semise_sdk.images.preprocess import to_eight_bits
from semise_sdk.images.readers import find_images, read_image
from semise_sdk.images.readers.dicom import dicom_support
from semise_sdk.images.readers.dicom.codestream import coded_size
from semise_sdk.spec import DicomPolicy, Intensity

ROOT = "1.2.840.10008.5.1.4.1.1."
JPEG, EXTENDED, LOSSLESS = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70))
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def refusal(data: bytes | Path, **options: object) -> ImageReadError:
    with pytest.raises(ImageReadError) as caught:
        read_image(data, **options)
    assert "\n" not in caught.value.reason
    return caught.value


def without(data: bytes, keyword: str, *, is_empty: bool = False) -> bytes:
    """Returns the file without an element, or with an empty one."""
    from pydicom import dcmread

    dataset = dcmread(BytesIO(data))
    setattr(dataset, keyword, None) if is_empty else delattr(dataset, keyword)
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def with_palette(entries: int, depth: int, data: list[bytes], *, first: int = 0) -> dict[str, object]:
    tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for channel, values in zip(("Red", "Green", "Blue"), data, strict=True):
        tags[f"{channel}PaletteColorLookupTableDescriptor"] = [entries, first, depth]
        tags[f"{channel}PaletteColorLookupTableData"] = values
    return tags


class TestColour:
    def test_rgb_by_pixel_and_by_plane(self, dicom) -> None:
        by_plane = np.ascontiguousarray(COLOUR.transpose(2, 0, 1)).tobytes()
        for data in (dicom(COLOUR), dicom(COLOUR, PlanarConfiguration=1, PixelData=by_plane)):
            record = read_image(data)
            np.testing.assert_array_equal(record.pixels, COLOUR)
            assert (record.bits, record.format, record.grey) == (8, "DICOM", None)

    def test_every_policy_takes_colour_as_a_png_of_it(self, dicom) -> None:
        record, array = read_image(dicom(COLOUR)), read_image(COLOUR)
        np.testing.assert_array_equal(to_eight_bits(record, Intensity("dicom_voi")), COLOUR)
        for policy in ("full_range", "window(90,40)", "percentile(5,95)"):
            intensity = Intensity.parse(policy)
            np.testing.assert_array_equal(to_eight_bits(record, intensity), to_eight_bits(array, intensity))

    def test_ybr_by_hand(self, dicom) -> None:
        # R = Y + 1.402 (Cr - 128), G = Y - 0.344136 (Cb - 128) - 0.714136 (Cr - 128), B = Y + 1.772 (Cb - 128):
        # (100, 90, 200) is 100 + 100.94, 100 + 13.08 - 51.42, 100 - 67.34.
        pixels = np.array([[[76, 85, 255], [100, 90, 200]]], np.uint8)
        rgb = read_image(dicom(pixels, PhotometricInterpretation="YBR_FULL")).pixels
        np.testing.assert_allclose(rgb.astype(int), [[[254, 0, 0], [201, 62, 33]]], atol=1)

    def test_subsampled_ybr(self, dicom) -> None:
        # Two pixels share Cb and Cr: Y1 Y2 Cb Cr. At 128 both are grey.
        pixels = np.zeros((1, 2, 3), np.uint8)
        data = dicom(pixels, PhotometricInterpretation="YBR_FULL_422", PixelData=bytes([40, 90, 128, 128]))
        np.testing.assert_array_equal(read_image(data).pixels, [[[40] * 3, [90] * 3]])

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", BIG_ENDIAN])
    def test_deep_colour_keeps_the_high_byte_and_says_so(self, dicom, syntax) -> None:
        pixels = np.array([[[0x1234, 0x80FF, 0xFFFF]]], np.uint16)
        record = read_image(dicom(pixels, syntax=syntax))
        np.testing.assert_array_equal(record.pixels, [[[0x12, 0x80, 0xFF]]])
        assert "colour of 16 bits reduced to the high byte of each sample" in record.notes

    def test_a_palette_of_eight_bits(self, dicom) -> None:
        tags = with_palette(3, 8, [b"\x0a\x14\xff\0", b"\x01\x02\x03\0", b"\x28\x32\x3c\0"], first=1)
        record = read_image(dicom(np.array([[0, 1], [2, 9]], np.uint8), **tags))
        np.testing.assert_array_equal(record.pixels, [[[10, 1, 40], [10, 1, 40]], [[20, 2, 50], [255, 3, 60]]])

    def test_a_palette_of_eight_bits_with_more_than_256_entries(self, dicom) -> None:
        ramp = bytes(index // 2 for index in range(512))
        tags = with_palette(512, 8, [ramp, ramp, ramp])
        record = read_image(dicom(np.array([[0, 300, 511]], np.uint16), **tags))
        np.testing.assert_array_equal(record.pixels[0, :, 0], [0, 150, 255])

    def test_a_palette_packed_two_a_word_in_a_big_endian_file(self, dicom) -> None:
        channels = [bytes([values[1], values[0], 0, values[2]]) for values in ((10, 20, 255), (1, 2, 3), (40, 50, 60))]
        record = read_image(dicom(np.array([[0, 1, 2]], np.uint8), syntax=BIG_ENDIAN, **with_palette(3, 8, channels)))
        np.testing.assert_array_equal(record.pixels, [[[10, 1, 40], [20, 2, 50], [255, 3, 60]]])

    @pytest.mark.parametrize(("syntax", "order"), [("1.2.840.10008.1.2.1", "<"), (BIG_ENDIAN, ">")])
    def test_a_palette_of_sixteen_bits_in_either_byte_order(self, dicom, syntax, order) -> None:
        channels = [np.array(values, f"{order}u2").tobytes() for values in ([0x1200, 0xFF34], [1, 0x8000], [0, 0x0100])]
        record = read_image(dicom(np.array([[0, 1]], np.uint8), syntax=syntax, **with_palette(2, 16, channels)))
        np.testing.assert_array_equal(record.pixels, [[[0x12, 0, 0], [0xFF, 0x80, 1]]])

    def test_a_segmented_palette(self, dicom) -> None:
        # PS3.3 C.7.9.2: a discrete segment (0) of 2 entries, then a linear one (1) of 2 up to 19, and a padding byte.
        tags = with_palette(4, 8, [b""] * 3)
        for channel in ("Red", "Green", "Blue"):
            del tags[f"{channel}PaletteColorLookupTableData"]
            tags[f"Segmented{channel}PaletteColorLookupTableData"] = bytes([0, 2, 7, 9, 1, 2, 19, 0])
        record = read_image(dicom(np.array([[0, 1, 2, 3]], np.uint8), **tags))
        np.testing.assert_array_equal(record.pixels[0, :, 0], [7, 9, 14, 19])
        for channel in ("Red", "Green", "Blue"):
            tags[f"{channel}PaletteColorLookupTableDescriptor"] = [300, 0, 8]
        assert refusal(dicom(np.array([[0, 1]], np.uint8), **tags)).code == "unsupported_format"

    @pytest.mark.parametrize("photometric", ["CMYK", "HSV", "YBR_PARTIAL_420"])
    def test_other_colour_is_refused_by_name(self, dicom, photometric) -> None:
        error = refusal(dicom(COLOUR, PhotometricInterpretation=photometric))
        assert error.code == "unsupported_format"
        assert f"found {photometric};" in str(error)


SMOOTH = np.dstack([np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * k for k in (2, 4, 8)])
YBR, TRANSFORMED = ("YBR_FULL", "YBR_FULL_422"), ("YBR_ICT", "YBR_RCT")
JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"


def adobe(transform: int) -> bytes:
    return b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


def jpeg_frame(markers: bytes, *, is_rgb: bool, ids: bytes = b"\x01\x02\x03") -> bytes:
    """Returns SMOOTH as a JPEG with these APP segments and component ids alone; ``is_rgb``: its components are RGB."""
    frame = encoded(SMOOTH, "JPEG", quality=95, subsampling=0, keep_rgb=is_rgb)
    own = 4 + int.from_bytes(frame[4:6], "big")  # SOI, and the segment that libjpeg writes first
    frame = bytearray(frame[:2] + markers + frame[own:])
    header, scan = frame.find(b"\xff\xc0"), frame.find(b"\xff\xda")
    for index, value in enumerate(ids):
        frame[header + 10 + 3 * index] = frame[scan + 5 + 2 * index] = value
    return bytes(frame)


class TestCodedColour:
    """The codestream says how colour is read (PS3.5 8.2.1, 8.2.3, 8.2.4); a header that says otherwise is noted."""

    @pytest.mark.parametrize("said", ["RGB", *YBR, *TRANSFORMED])
    @pytest.mark.parametrize(
        ("markers", "ids", "is_rgb"),
        [
            (b"", b"\x01\x02\x03", False),
            (b"", b"RGB", True),
            (b"", b"rgb", True),
            (JFIF, b"\x01\x02\x03", False),
            (adobe(1), b"\x01\x02\x03", False),
            (adobe(0), b"\x01\x02\x03", True),
            (adobe(0), b"RGB", True),
            (JFIF + adobe(1), b"\x01\x02\x03", False),
        ],
    )
    def test_of_jpeg(self, dicom, markers, ids, is_rgb, said) -> None:
        frame = jpeg_frame(markers, is_rgb=is_rgb, ids=ids)
        record = read_image(dicom(SMOOTH, frames=[frame], syntax=JPEG, PhotometricInterpretation=said))
        assert np.abs(record.pixels.astype(int) - SMOOTH).mean() < 3
        agrees = said == "RGB" if is_rgb else said in YBR
        assert any(note.startswith(f"the header says {said}, the JPEG stream holds") for note in record.notes) != agrees

    @pytest.mark.parametrize("is_colour", [False, True])
    @pytest.mark.parametrize("damage", ["cut", "zeroed"])
    def test_a_damaged_scan_of_jpeg_is_refused_as_in_a_file_of_its_own(self, dicom, is_colour, damage) -> None:
        pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3) if is_colour else (64, 64), np.uint8)
        tags = {"PhotometricInterpretation": "YBR_FULL_422"} if is_colour else {}
        frame = encoded(pixels, "JPEG", quality=90)
        sound = read_image(dicom(pixels, frames=[frame], syntax=JPEG, **tags))
        assert not any("could not be checked" in note for note in sound.notes)
        third = len(frame) // 3
        broken = frame[:third] + (b"\xff\xd9" if damage == "cut" else bytes(third) + frame[2 * third :])
        assert refusal(broken).code == "damaged"
        assert refusal(dicom(pixels, frames=[broken], syntax=JPEG, **tags)).code == "damaged"

    def test_of_jpeg_in_cells_of_sixteen_bits(self, dicom) -> None:
        data = dicom(GREY, frames=[encoded(GREY, "JPEG")], syntax=JPEG)
        wide = dicom(GREY, frames=[encoded(GREY, "JPEG")], syntax=JPEG, BitsAllocated=16)
        np.testing.assert_array_equal(read_image(wide).pixels, read_image(data).pixels)

    @pytest.mark.parametrize("said", ["RGB", *YBR, *TRANSFORMED])
    @pytest.mark.parametrize("is_lossy", [False, True])
    def test_of_jpeg_2000(self, dicom, is_lossy, said) -> None:
        pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg: pip install 'semise-sdk[dicom]'")
        for no_jp2 in (True, False):
            frame = encoded(COLOUR, "JPEG2000", mct=1, no_jp2=no_jp2, num_resolutions=1, irreversible=is_lossy)
            record = read_image(dicom(COLOUR, frames=[frame], syntax=JPEG_2000, PhotometricInterpretation=said))
            assert np.abs(record.pixels.astype(int) - COLOUR).max() <= 2
            assert any(note.startswith(f"the header says {said},") for note in record.notes) == (
                said not in TRANSFORMED
            )

    @pytest.mark.parametrize("said", ["RGB", *YBR, *TRANSFORMED])
    def test_of_jpeg_2000_without_a_transform(self, dicom, said) -> None:
        pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg: pip install 'semise-sdk[dicom]'")
        frame = encoded(COLOUR, "JPEG2000", mct=0, no_jp2=True, num_resolutions=1)
        record = read_image(dicom(COLOUR, frames=[frame], syntax=JPEG_2000, PhotometricInterpretation=said))
        by_header = read_image(dicom(COLOUR, PhotometricInterpretation="YBR_FULL" if said in YBR else "RGB"))
        np.testing.assert_array_equal(record.pixels, by_header.pixels)
        assert any(note.startswith(f"the header says {said},") for note in record.notes) == (said in TRANSFORMED)

    @pytest.mark.parametrize("said", ["RGB", *YBR])
    @pytest.mark.parametrize("ids", [b"\x01\x02\x03", b"RGB"])
    def test_of_jpeg_ls(self, dicom, ids, said) -> None:
        jpeg_ls = pytest.importorskip("jpeg_ls", reason="needs pyjpegls: pip install 'semise-sdk[dicom]'")
        frame = bytearray(jpeg_ls.encode_array(COLOUR, interleave_mode=2))
        header, scan = frame.find(b"\xff\xf7"), frame.find(b"\xff\xda")
        for index, value in enumerate(ids):
            frame[header + 10 + 3 * index] = frame[scan + 5 + 2 * index] = value
        record = read_image(dicom(COLOUR, frames=[bytes(frame)], syntax=JPEG_LS, PhotometricInterpretation=said))
        is_ybr = said in YBR and ids != b"RGB"
        by_header = read_image(dicom(COLOUR, PhotometricInterpretation="YBR_FULL" if is_ybr else "RGB"))
        np.testing.assert_array_equal(record.pixels, by_header.pixels)
        assert any("JPEG-LS stream" in note for note in record.notes) == (said in YBR and not is_ybr)


class TestFrames:
    STACK = np.stack([GREY, 255 - GREY, GREY // 2])

    @pytest.mark.parametrize(("choice", "index"), [("first", 0), ("middle", 1)])
    def test_one_frame_is_read_and_said(self, dicom, choice, index) -> None:
        record = read_image(dicom(self.STACK), dicom=DicomPolicy(frames=choice))
        np.testing.assert_array_equal(record.pixels, self.STACK[index])
        assert f"frame {index + 1} of 3" in record.notes

    def test_the_middle_of_two_is_the_later(self, dicom) -> None:
        record = read_image(dicom(self.STACK[:2]), dicom=DicomPolicy(frames="middle"))
        np.testing.assert_array_equal(record.pixels, self.STACK[1])

    def test_several_may_be_refused_and_one_never_is(self, dicom) -> None:
        policy = DicomPolicy(frames="fail")
        error = refusal(dicom(self.STACK), dicom=policy)
        assert (error.code, "found 3" in str(error)) == ("several_frames", True)
        np.testing.assert_array_equal(read_image(dicom(self.STACK[:1]), dicom=policy).pixels, GREY)

    def test_no_other_frame_is_decoded(self, dicom) -> None:
        good = encoded(GREY, "JPEG", quality=95)
        frames = [good, b"\xff\xd8 no JPEG at all"]
        data = dicom(self.STACK[:2], frames=frames, syntax=JPEG)
        assert np.abs(read_image(data).pixels.astype(int) - GREY).max() < 12
        assert refusal(data, dicom=DicomPolicy(frames="middle")).code == "damaged"

    def test_the_limit_is_that_of_the_one_frame(self, dicom) -> None:
        assert read_image(dicom(self.STACK), max_pixels=48).width == 8
        assert refusal(dicom(self.STACK), max_pixels=47).code == "too_many_pixels"


class TestCodecs:
    def test_rle_and_jpeg_2000_keep_every_value(self, dicom) -> None:
        from pydicom import dcmread
        from pydicom.uid import RLELossless

        dataset = dcmread(BytesIO(dicom(GREY)))
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        stream = BytesIO()
        dataset.save_as(stream)
        np.testing.assert_array_equal(read_image(stream.getvalue()).pixels, GREY)
        assert read_image(stream.getvalue()).notes[0] == "RLE decoded by pydicom"
        pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg: pip install 'semise-sdk[dicom]'")
        lossless = {"no_jp2": True, "num_resolutions": 1}
        for pixels in (GREY, COLOUR):
            frame = encoded(pixels, "JPEG2000", mct=0, **lossless)
            record = read_image(dicom(pixels, frames=[frame], syntax=JPEG_2000))
            np.testing.assert_array_equal(record.pixels, pixels)
            assert record.notes[0] == "JPEG 2000 decoded by pylibjpeg-openjpeg"

    def test_jpeg_is_pillows(self, dicom) -> None:
        smooth = np.dstack([np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * k for k in (2, 4, 8)])
        frame = encoded(smooth, "JPEG", quality=95, subsampling=0)
        record = read_image(dicom(smooth, frames=[frame], syntax=JPEG, PhotometricInterpretation="YBR_FULL"))
        difference = record.pixels.astype(int) - np.asarray(Image.open(BytesIO(frame)))
        assert np.abs(difference).max() <= 2  # colours are converted by pydicom, in other roundings
        assert record.notes[0] == "JPEG decoded by pillow"

    @pytest.mark.parametrize(
        ("syntax", "named", "fix"),
        [
            (LOSSLESS, "JPEG Lossless", "dcmdjpeg"),
            (DEFLATED, "Deflated Explicit VR Little Endian", "dcmconv"),
            ("1.2.840.10008.1.2.4.102", "MPEG-4", "the system that sent it"),
            ("1.2.3.4", "1.2.3.4", "the system that sent it"),
        ],
    )
    def test_other_syntaxes_are_refused_by_name_with_a_way_out(self, dicom, syntax, named, fix) -> None:
        error = refusal(with_syntax(dicom(GREY), syntax))
        assert error.code == "unsupported_transfer_syntax"
        assert named in str(error)
        assert fix in str(error)

    def test_twelve_bit_jpeg_is_refused(self, dicom) -> None:
        data = dicom(GREY.astype(np.uint16), frames=[encoded(GREY, "JPEG")], syntax=EXTENDED, BitsStored=12)
        assert refusal(data).code == "unsupported_transfer_syntax"

    def test_a_missing_decoder_names_the_command(self, dicom, monkeypatch) -> None:
        from pydicom.pixels import get_decoder

        monkeypatch.setattr(get_decoder(JPEG_LS), "_available", {})
        error = refusal(dicom(GREY, frames=[b"\xff\xd8\xff\xf7"], syntax=JPEG_LS))
        assert error.code == "missing_package"
        assert "needs pyjpegls, found none; pip install 'semise-sdk[dicom]'" in str(error)

    def test_gdcm_is_never_asked(self, dicom, monkeypatch) -> None:
        from pydicom.pixels import get_decoder

        from semise_sdk.images.readers.dicom.codec import remove_gdcm

        def abort(*_arguments: object) -> None:
            raise AssertionError("GDCM was asked")

        decoder = get_decoder(JPEG)
        monkeypatch.setattr(decoder, "_available", {"gdcm": abort, **decoder._available})
        data = dicom(GREY, frames=[encoded(GREY, "JPEG")], syntax=JPEG)
        read_image(data)  # the plugin is named
        remove_gdcm()
        assert "gdcm" not in decoder.available_plugins
        remove_gdcm()
        for syntax in (JPEG, EXTENDED, LOSSLESS, JPEG_LS, JPEG_2000):
            assert not any("gdcm" in plugin for plugin in get_decoder(syntax).missing_dependencies)

    def test_a_frame_of_another_size_is_refused_before_it_is_decoded(self, dicom) -> None:
        for kind, syntax in (("JPEG", JPEG), ("JPEG2000", JPEG_2000)):
            frame = encoded(np.zeros((300, 500), np.uint8), kind)
            error = refusal(dicom(GREY, frames=[frame], syntax=syntax))
            assert error.code in ("damaged", "missing_package")
            if error.code == "damaged":
                assert "found one of 500 x 300" in str(error)

    def test_the_coded_size(self) -> None:
        for kind, options in (
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("JPEG2000", {}),
            ("JPEG2000", {"no_jp2": True}),
        ):
            assert coded_size(encoded(np.zeros((30, 50), np.uint8), kind, **options)) == (30, 50), kind
        # JPEG-LS (ISO/IEC 14495-1): SOI, SOF55 of 11 bytes: precision 8, 7 lines of 9 samples.
        assert coded_size(bytes.fromhex("ffd8 fff7 000b 08 0007 0009 01 011100")) == (7, 9)
        assert coded_size(b"RLE") is None
        assert coded_size(b"\xff\xd8\x00\x00\x00\x00") is None
        assert coded_size(b"\x00\x00\x00\x0cjP  ") is None


def with_syntax(data: bytes, syntax: str) -> bytes:
    """Returns the file with another transfer syntax written over its own, whatever its pixels are."""
    import struct

    own = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    assert data.count(own) == 1
    length = struct.unpack_from("<I", data, 140)[0] + len(text) - 20
    data = data[:140] + struct.pack("<I", length) + data[144:]
    return data.replace(own, b"\x02\x00\x10\x00UI" + struct.pack("<H", len(text)) + text)


class TestPreamble:
    """A file without its preamble is DICOM beyond doubt by its meta information (PS3.10, 7.1)."""

    @pytest.mark.parametrize("mark", [b"", b"DICM"])
    @pytest.mark.parametrize("first", ["group length", "version", "SOP class", "SOP instance", "transfer syntax"])
    def test_the_first_element_of_the_meta_information_is_enough(self, dicom, tmp_path, first, mark) -> None:
        import struct

        data = dicom(GREY)
        meta = data[132:]
        place = 0
        for name in ("group length", "version", "SOP class", "SOP instance", "transfer syntax"):
            if name == first:
                break
            has_long_length = name == "version"  # OB
            length = struct.unpack_from("<I" if has_long_length else "<H", meta, place + (8 if has_long_length else 6))
            place += (12 if has_long_length else 8) + length[0]
        cut = mark + meta[place:]
        path = tmp_path / "x"
        path.write_bytes(cut)
        for source in (cut, path):
            np.testing.assert_array_equal(read_image(source).pixels, GREY)
        assert read_image(cut).notes == read_image(data).notes

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN])
    def test_a_data_set_alone_is_refused_with_a_way_out(self, dicom, tmp_path, syntax) -> None:
        import struct

        data = dicom(GREY, syntax=syntax)
        alone = data[144 + struct.unpack_from("<I", data, 140)[0] :]
        path = tmp_path / "x"
        path.write_bytes(alone)
        for source in (alone, path):
            error = refusal(source)
            assert error.code == "not_an_image"
            assert "a DICOM data set without the header of its file; write it as a file with DCMTK's dcmconv" in str(
                error
            )

    @pytest.mark.parametrize("data", [b"DICM", b"\x02\0\0\0", b"\x02\0\x10\0OB", bytes(200), b"\x08\0\x60\0CS"])
    def test_what_only_resembles_it_is_not(self, data) -> None:
        error = refusal(data)
        assert (error.code, "found none of them" in error.reason) == ("not_an_image", True)


class TestPolicy:
    @pytest.mark.parametrize(
        "suffix", ["1", "1.1", "1.2", "3.1", "6.1", "7", "7.3", "77.1.1", "77.1.4", "77.1.5.1", "77.1.5.7"]
    )
    def test_images_of_the_usual_classes_are_read(self, dicom, suffix) -> None:
        assert read_image(dicom(GREY, sop_class=ROOT + suffix)).width == 8

    @pytest.mark.parametrize(
        ("suffix", "name"),
        [
            ("66.4", "Segmentation Storage"),
            ("88.33", "Comprehensive SR Storage"),
            ("11.1", "Grayscale Softcopy Presentation State Storage"),
            ("481.3", "RT Structure Set Storage"),
            ("104.1", "Encapsulated PDF Storage"),
            ("30", "Parametric Map Storage"),
        ],
    )
    def test_what_is_no_image_is_refused_whatever_the_policy_is(self, dicom, suffix, name) -> None:
        data = dicom(GREY, sop_class=ROOT + suffix)
        for policy in (DicomPolicy(), DicomPolicy(sop_classes=("any",)), DicomPolicy(sop_classes=(ROOT + suffix,))):
            error = refusal(data, dicom=policy)
            assert error.code == "unsupported_sop_class"
            assert f"expected an image, found '{name}'" in str(error)

    def test_other_images_are_refused_unless_the_model_takes_them(self, dicom) -> None:
        ct = dicom(GREY, sop_class=ROOT + "2")
        error = refusal(ct)
        assert (error.code, "'CT Image Storage'" in str(error)) == ("unsupported_sop_class", True)
        assert refusal(ct, dicom=DicomPolicy(sop_classes=("MG",))).code == "unsupported_sop_class"
        for accepted in ("any", ROOT + "2"):
            assert read_image(ct, dicom=DicomPolicy(sop_classes=(accepted,))).width == 8

    def test_a_file_without_a_class(self, dicom) -> None:
        data = dicom(GREY).replace((ROOT + "7").encode(), b"\0" * len(ROOT + "7"))
        assert "found no SOP class" in str(refusal(data))
        assert read_image(data, dicom=DicomPolicy(sop_classes=("any",))).width == 8

    def test_raw_images_are_refused_unless_the_model_takes_them(self, dicom) -> None:
        by_intent = dicom(GREY, sop_class=ROOT + "1", PresentationIntentType="FOR PROCESSING")
        by_class = dicom(GREY, sop_class=ROOT + "1.2.1")
        for data in (by_intent, by_class):
            assert refusal(data).code == "for_processing"
            assert read_image(data, dicom=DicomPolicy(for_processing="accept")).width == 8
        assert read_image(dicom(GREY, PresentationIntentType="FOR PRESENTATION")).width == 8

    def test_burned_in_text(self, dicom) -> None:
        data = dicom(GREY, BurnedInAnnotation="YES")
        assert refusal(data, dicom=DicomPolicy(burned_in="refuse")).code == "burned_in"
        assert "text burned into the pixels, says the header" in read_image(data).notes
        assert read_image(dicom(GREY, BurnedInAnnotation="NO"), dicom=DicomPolicy(burned_in="refuse")).width == 8

    def test_a_side_that_the_header_does_not_name_is_not_guessed(self, dicom) -> None:
        plain = dicom(GREY)
        assert read_image(plain).width == 8
        for side in ("known", "left", "right"):
            error = refusal(plain, dicom=DicomPolicy(laterality=side))
            assert error.code == "no_laterality"
            assert "found none; have it added, or use a bundle that takes any" in str(error)

    @pytest.mark.parametrize(("named", "taken"), [("L", "left"), ("R", "right"), ("B", None), ("U", None)])
    def test_a_model_of_one_side_takes_that_side_alone(self, dicom, named, taken) -> None:
        data = dicom(GREY, Laterality=named)
        assert read_image(data, dicom=DicomPolicy(laterality="known")).width == 8
        for side in ("left", "right"):
            if side == taken:
                assert read_image(data, dicom=DicomPolicy(laterality=side)).width == 8
            else:
                error = refusal(data, dicom=DicomPolicy(laterality=side))
                assert error.code == "other_laterality"
                assert f"expected an image of the {side} side, found laterality {named}" in str(error)

    def test_the_side_of_the_image_goes_before_that_of_the_series(self, dicom) -> None:
        data = dicom(GREY, ImageLaterality="R", Laterality="L")
        assert read_image(data, dicom=DicomPolicy(laterality="right")).width == 8
        assert refusal(data, dicom=DicomPolicy(laterality="left")).code == "other_laterality"
        assert refusal(dicom(GREY, Laterality="CANARY"), dicom=DicomPolicy(laterality="left")).code == "no_laterality"

    @pytest.mark.parametrize("is_shared", [True, False])
    def test_the_side_of_a_frame(self, dicom, is_shared) -> None:
        pydicom = pytest.importorskip("pydicom")

        def group(side: str):
            item, anatomy = pydicom.Dataset(), pydicom.Dataset()
            anatomy.FrameLaterality = side
            item.FrameAnatomySequence = [anatomy]
            return item

        sides = {"SharedFunctionalGroupsSequence": [group("R")]}
        if not is_shared:
            sides = {"PerFrameFunctionalGroupsSequence": [group("L"), group("R")]}
        data = dicom(np.stack([GREY, GREY]), Laterality="L", **sides)
        policy = DicomPolicy(laterality="right", frames="middle")
        assert "laterality R" in read_image(data, dicom=policy).notes
        assert refusal(data, dicom=DicomPolicy(laterality="left", frames="middle")).code == "other_laterality"

    def test_what_no_answer_shows_is_noted(self, dicom) -> None:
        data = dicom(
            GREY, PixelSpacing=[0.2, 0.1], PatientOrientation=["A", "FR"], ImageLaterality="R",
            LossyImageCompression="01", LossyImageCompressionRatio=12.5, WindowCenter=9, WindowWidth=9,
        )  # fmt: skip
        assert read_image(data).notes == (
            "uncompressed pixels decoded by pydicom",
            "lossy compression of 12.5 to 1",
            "pixels are not square (height 2 times width), and are read as if they were",
            "orientation A/FR, not applied",
            "laterality R",
        )

    def test_square_pixels_are_not_worth_a_note(self, dicom) -> None:
        data = dicom(GREY, PixelAspectRatio=[1, 1], PixelSpacing=[0.3, 0.1], WindowCenter=9, WindowWidth=9)
        assert read_image(data).notes == ("uncompressed pixels decoded by pydicom",)


# The end of a UID may be what is missing.
CUT_SHORT = ("truncated", "damaged", "unsupported_sop_class", "unsupported_transfer_syntax")


class TestDamage:
    def test_pixel_data_of_the_wrong_length(self, dicom) -> None:
        assert refusal(dicom(GREY, PixelData=bytes(40))).code == "truncated"
        assert refusal(dicom(GREY, NumberOfFrames=3)).code == "truncated"
        assert refusal(dicom(GREY, PixelData=b"")).code == "truncated"
        assert refusal(dicom(GREY, PixelData=bytes(96))).code == "damaged"
        assert read_image(dicom(GREY, PixelData=bytes(50))).width == 8  # padding

    def test_a_claim_of_too_many_pixels_is_refused_before_decoding(self, dicom) -> None:
        assert refusal(dicom(GREY, Rows=65535, Columns=65535)).code == "too_many_pixels"
        assert refusal(dicom(GREY, NumberOfFrames=2**31 - 1)).code == "truncated"

    @pytest.mark.parametrize(
        ("tags", "code"),
        [
            ({"Rows": 0}, "damaged"),
            ({"BitsStored": 9}, "damaged"),
            ({"BitsStored": 4, "HighBit": 2}, "damaged"),
            ({"HighBit": 9}, "damaged"),
            ({"BitsAllocated": 32, "BitsStored": 32}, "unsupported_format"),
            ({"BitsAllocated": 12, "BitsStored": 12}, "unsupported_format"),
            ({"SamplesPerPixel": 3}, "damaged"),
            ({"SamplesPerPixel": 2}, "damaged"),
            ({"PhotometricInterpretation": "CANARY"}, "unsupported_format"),
            ({"PhotometricInterpretation": "PALETTE COLOR"}, "damaged"),
            ({"VOILUTFunction": "CANARY", "WindowCenter": 1, "WindowWidth": 9}, "damaged"),
        ],
        ids=str,
    )
    def test_impossible_headers(self, dicom, tags, code) -> None:
        error = refusal(dicom(GREY, **tags))
        assert error.code == code
        assert "CANARY" not in error.reason

    @pytest.mark.parametrize("is_empty", [True, False])
    @pytest.mark.parametrize("keyword", ["SamplesPerPixel", "BitsStored", "HighBit"])
    def test_a_missing_element_that_follows_from_others(self, dicom, keyword, is_empty) -> None:
        deep = GREY.astype(np.uint16) * 16
        for pixels, tags in ((deep, {"BitsStored": 12, "HighBit": 11}), (COLOUR, {"BitsStored": 8, "HighBit": 7})):
            data = dicom(pixels, **tags)
            record = read_image(without(data, keyword, is_empty=is_empty))
            np.testing.assert_array_equal(record.pixels, pixels)
            assert record.bits == read_image(data).bits

    @pytest.mark.parametrize("is_empty", [True, False])
    @pytest.mark.parametrize(
        "keyword", ["PhotometricInterpretation", "PixelRepresentation", "PlanarConfiguration", "Rows", "BitsAllocated"]
    )
    def test_a_missing_element_that_does_not_is_named(self, dicom, keyword, is_empty) -> None:
        error = refusal(without(dicom(COLOUR), keyword, is_empty=is_empty))
        assert error.code == "unsupported_format"
        assert f"expected {keyword} in the header, found none; have it added" in error.reason

    def test_both_elements_of_the_depth_are_missing(self, dicom) -> None:
        error = refusal(without(without(dicom(GREY), "HighBit"), "BitsStored"))
        assert "expected BitsStored in the header, found none" in error.reason

    def test_a_missing_transfer_syntax_is_named(self, dicom) -> None:
        own = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
        data = dicom(GREY)
        assert data.count(own) == 1
        error = refusal(data.replace(own, b""))
        assert error.code == "unsupported_format"
        assert "expected TransferSyntaxUID in the header, found none; have it added" in error.reason

    def test_a_stream_says_its_planes_itself(self, dicom) -> None:
        pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg: pip install 'semise-sdk[dicom]'")
        frame = encoded(COLOUR, "JPEG2000", mct=0, no_jp2=True, num_resolutions=1)
        data = without(dicom(COLOUR, frames=[frame], syntax=JPEG_2000), "PlanarConfiguration")
        np.testing.assert_array_equal(read_image(data).pixels, COLOUR)

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", BIG_ENDIAN])
    def test_more_items_than_can_be_parsed_in_time_are_refused(self, dicom, syntax, monkeypatch) -> None:
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence

        from semise_sdk.images.readers.dicom import header

        data = dicom(GREY, syntax=syntax, ReferencedImageSequence=Sequence([Dataset() for _ in range(9)]))
        assert read_image(data).width == 8
        monkeypatch.setattr(header, "MAX_ITEMS", 8)
        error = refusal(data)
        assert (error.code, "found 9" in str(error)) == ("unsupported_format", True)

    def test_a_file_cut_short_anywhere_is_an_error(self, dicom) -> None:
        data = dicom(GREY)
        for length in range(132, len(data) - 1, 7):
            assert refusal(data[:length]).code in CUT_SHORT, length

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        is_compressed=st.booleans(),
        edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
        kept=st.floats(0.1, 1),
    )
    def test_damage_never_escapes_as_another_error(self, dicom, is_compressed, edits, kept) -> None:
        options = {"frames": [encoded(GREY, "JPEG")], "syntax": JPEG} if is_compressed else {}
        data = bytearray(dicom(GREY, WindowCenter=9, WindowWidth=30, **options))
        for position, value in edits:
            data[int(position * len(data))] = value
        try:
            record = read_image(bytes(data[: int(kept * len(data))]), max_pixels=1_000_000)
        except ImageReadError:
            return
        assert record.pixels.size > 0


CANARIES = {
    "PatientName": "CANARY^NAME",
    "PatientID": "CANARYID",
    "PatientBirthDate": "19700101",
    "ImageComments": "CANARY COMMENT",
    "StudyDescription": "CANARY STUDY",
    "PatientOrientation": ["CANARY", "CANARY"],
    "Laterality": "CANARY",
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"CS\x0c\x00MONOCHROME2 ", b"CS\x0c\x00CANARYCANARY"),
        (b"DS\x06\x00123456", b"DS\x06\x00CANARY"),
        (b"19700101", b"CANARYCA"),
        (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00DS\x02\x00"),
        (b"US1.2.840.10008.1.2.1\0", b"CANARY"),
    ],
)
@pytest.mark.parametrize("window", [9, 123456])
def test_nothing_of_the_patient_is_said_anywhere(
    before, after, window, dicom, caplog, capsys, recwarn, tmp_path
) -> None:
    caplog.set_level(logging.DEBUG)
    data = dicom(GREY, WindowCenter=window, WindowWidth=50, **CANARIES)
    try:
        record = read_image(data.replace(before, after))
    except ImageReadError as error:
        import traceback

        said = "".join(traceback.format_exception(error))
    else:
        said = f"{record.notes} {record.source} {record.format}"
    said += caplog.text + "".join(capsys.readouterr()) + "".join(str(warning.message) for warning in recwarn)
    assert "CANARY" not in said
    assert "19700101" not in said


def test_pydicoms_warnings_reach_its_host_and_no_reader_of_ours(dicom) -> None:
    from pydicom import dcmread

    # The suite turns warnings into errors: a warning of the reader's own reading would be one here.
    data = dicom(GREY, WindowCenter=9, WindowWidth=9, NumberOfFrames=1).replace(b"IS\x02\x001 ", b"IS\x02\x000 ")
    assert read_image(data).width == 8
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "pydicom"]
    held = [vars(module)["warnings"] for module in modules if "warnings" in vars(module)]
    assert held
    assert all(found is warnings for found in held)
    with pytest.warns(UserWarning, match="Number of Frames"):
        assert dcmread(BytesIO(data)).pixel_array.shape == GREY.shape


def test_without_pydicom_the_command_is_named(dicom, monkeypatch) -> None:
    data = dicom(GREY)
    for name in [name for name in sys.modules if name.startswith("semise_sdk.images.readers.dicom.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refusal(data)
    assert error.code == "missing_package"
    assert "pip install 'semise-sdk[dicom]'" in str(error)


def test_what_of_dicom_can_be_read_here() -> None:
    kinds = {kind.package: kind.version for kind in dicom_support()}
    assert set(kinds) == {"pydicom", "pylibjpeg-openjpeg", "pyjpegls"}
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    assert kinds["pydicom"] == pydicom.__version__


def test_files_of_a_folder_are_found_whatever_they_are_called(dicom, tmp_path) -> None:
    for name in ("a.dcm", "b.dicom", "c.IMA", "IM0001"):
        (tmp_path / name).write_bytes(dicom(GREY))
    found = list(find_images(tmp_path))
    assert sorted(image.file for image in found) == ["IM0001", "a.dcm", "b.dicom", "c.IMA"]
    for image in found:
        np.testing.assert_array_equal(read_image(image.source).pixels, GREY)


def test_sixteen_threads_read_what_one_reads(dicom, assert_sixteen_threads_read_what_one_reads) -> None:
    sources = [dicom(GREY), dicom(COLOUR), dicom(GREY, frames=[encoded(GREY, "JPEG")], syntax=JPEG), dicom(GREY)[:400]]
    assert_sixteen_threads_read_what_one_reads(sources)
