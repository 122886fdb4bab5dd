"""Grey DICOM in the standard's order, against numbers worked by hand and against pydicom's own functions."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semise_sdk.errors import ImageReadError
from semise_sdk.images.preprocess import to_eight_bits
from semise_sdk.images.readers import read_image
from semise_sdk.spec import Intensity

TWELVE = {"BitsStored": 12}
CT = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400, **TWELVE}
HOUNSFIELD = np.array([[-1024, -160, -159, 40, 80, 239, 240, 3071]]) + 1024
"""Stored values of a CT, named by what they mean."""


def shown(data: bytes, policy: str = "dicom_voi") -> list[int]:
    return to_eight_bits(read_image(data), Intensity.parse(policy)).ravel().tolist()


IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"


def table(
    values: list[int], *, first: int = 0, depth: int = 16, first_vr: str = "US", packed: str | None = None
) -> object:
    """Returns a sequence of one lookup table, ``packed`` two entries a word in this byte order, low byte first."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    item = Dataset()
    item.add_new("LUTDescriptor", first_vr, [len(values) % 65536, first, depth])
    if packed is None:
        item.add_new("LUTData", "US", values)
    else:
        padded = np.array([*values, *[0] * (len(values) % 2)], np.uint8)
        item.add_new("LUTData", "OW", padded.view("<u2").astype(f"{packed}u2").tobytes())
    return Sequence([item])


def in_codec(dicom, cells: np.ndarray, codec: str, **tags: object) -> bytes:
    """Returns a file of unsigned 16-bit cells as they are, without loss."""
    from io import BytesIO

    from PIL import Image
    from pydicom import dcmread
    from pydicom.pixels import get_encoder
    from pydicom.uid import RLELossless

    if codec == "native":
        return dicom(cells, **tags)
    if codec == "RLE":
        frame = get_encoder(RLELossless).encode(dcmread(BytesIO(dicom(cells))), encoding_plugin="pydicom")
        return dicom(cells, frames=[frame], syntax=RLELossless, **tags)
    if codec == "JPEG-LS":
        jpeg_ls = pytest.importorskip("jpeg_ls", reason="needs pyjpegls: pip install 'semise-sdk[dicom]'")
        return dicom(cells, frames=[bytes(jpeg_ls.encode_array(cells))], syntax="1.2.840.10008.1.2.4.80", **tags)
    pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg: pip install 'semise-sdk[dicom]'")
    stream = BytesIO()
    Image.fromarray(cells).save(stream, "JPEG2000", no_jp2=True, num_resolutions=1)
    return dicom(cells, frames=[stream.getvalue()], syntax="1.2.840.10008.1.2.4.90", **tags)


def with_overlay(data: bytes, group: int, position: int) -> bytes:
    """Returns the file with an overlay at a bit of its cells."""
    from io import BytesIO

    from pydicom import dcmread

    dataset = dcmread(BytesIO(data))
    dataset.add_new((group, 0x0100), "US", 16)
    dataset.add_new((group, 0x0102), "US", position)
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


class TestWindow:
    def test_linear_by_hand(self, dicom) -> None:
        # PS3.3 C.11.2.1.2.1: (x - 39.5) / 399 + 0.5 between -160 and 239.
        # -159: 0.0025 is level 0.64; 40: 0.50125 is 127.82; 80: 0.6015 is 153.38; 239 is 1.
        assert shown(dicom(HOUNSFIELD.astype(np.uint16), **CT)) == [0, 0, 1, 128, 153, 255, 255, 255]

    def test_linear_exact_by_hand(self, dicom) -> None:
        # (x - 40) / 400 + 0.5: -159 is 0.64, 40 is 127.5 rounded up, 80 is 153, 239 is 254.36.
        data = dicom(HOUNSFIELD.astype(np.uint16), VOILUTFunction="LINEAR_EXACT", **CT)
        assert shown(data) == [0, 0, 1, 128, 153, 254, 255, 255]

    def test_sigmoid_by_hand(self, dicom) -> None:
        # 1 / (1 + exp(-4 (x - 40) / 400)): 80 is 1 / (1 + exp(-0.4)) = 0.5987, level 152.67;
        # -160 is 1 / (1 + exp(2)) = 0.1192, level 30.40; 240 is its complement, level 224.60.
        data = dicom(HOUNSFIELD.astype(np.uint16), VOILUTFunction="SIGMOID", **CT)
        assert shown(data) == [0, 30, 31, 128, 153, 224, 225, 255]

    def test_a_width_of_one_is_a_threshold(self, dicom) -> None:
        pixels = np.array([[99, 100]], np.uint8)
        assert shown(dicom(pixels, WindowCenter=100, WindowWidth=1)) == [0, 255]

    def test_the_first_of_several_windows_and_a_note(self, dicom) -> None:
        tags = CT | {"WindowCenter": [40, 9], "WindowWidth": [400, 9]}
        data = dicom(HOUNSFIELD.astype(np.uint16), **tags)
        assert shown(data) == shown(dicom(HOUNSFIELD.astype(np.uint16), **CT))
        assert "window 1 of 2" in read_image(data).notes

    def test_a_falling_rescale_does_not_turn_the_window(self, dicom) -> None:
        # The modality values are 0, -50 and -100: the highest is white.
        pixels = np.array([[0, 50, 100]], np.uint8)
        tags = {"RescaleSlope": -1, "RescaleIntercept": 0, "WindowCenter": -50, "WindowWidth": 100}
        assert shown(dicom(pixels, VOILUTFunction="LINEAR_EXACT", **tags)) == [255, 128, 0]

    @pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
    @pytest.mark.parametrize("width", [0, -5, [0, 400]])
    def test_a_window_without_a_width_is_none(self, dicom, width, function) -> None:
        center = [900, 40] if isinstance(width, list) else 900
        pixels = np.array([[100, 200, 300]], np.uint16)
        data = dicom(pixels, WindowCenter=center, WindowWidth=width, VOILUTFunction=function, **TWELVE)
        assert shown(data) == [0, 128, 255]
        first = -5 if width == -5 else 0
        assert f"window width {first} in the header, taken for no window" in read_image(data).notes

    @pytest.mark.parametrize("function", ["LINEAR", ""])
    def test_a_width_below_one_is_refused_where_the_standard_has_no_picture_of_it(self, dicom, function) -> None:
        tags = {"WindowCenter": 0.5, "WindowWidth": 0.5, "VOILUTFunction": function}
        with pytest.raises(ImageReadError, match=r"window width of at least 1 .* found 0\.5; have") as caught:
            read_image(dicom(np.zeros((2, 2), np.uint8), **tags))
        assert caught.value.code == "unsupported_format"

    def test_a_width_below_one_by_hand(self, dicom) -> None:
        # LINEAR_EXACT, PS3.3 C.11.2.1.3.2: (x - 0.5) / 0.5 + 0.5, x = 0.25, 0.5, 0.75.
        tags = {"WindowCenter": 0.5, "WindowWidth": 0.5, "RescaleSlope": 0.25, "RescaleIntercept": 0}
        data = dicom(np.array([[0, 1, 2, 3, 4]], np.uint8), VOILUTFunction="LINEAR_EXACT", **tags)
        assert shown(data) == [0, 0, 128, 255, 255]

    def test_an_empty_function_is_linear(self, dicom) -> None:
        data = dicom(HOUNSFIELD.astype(np.uint16), VOILUTFunction="", **CT)
        assert shown(data) == [0, 0, 1, 128, 153, 255, 255, 255]

    def test_without_one_eight_bits_are_as_they_are_and_deeper_ones_their_own_range(self, dicom) -> None:
        assert shown(dicom(np.array([[10, 20, 200]], np.uint8))) == [10, 20, 200]
        deep = dicom(np.array([[100, 200, 300]], np.uint16), **TWELVE)
        assert shown(deep) == [0, 128, 255]
        assert "no VOI LUT or window in the header" in read_image(deep).notes


class TestTables:
    def test_a_voi_table_of_eight_bits_with_more_than_256_entries(self, dicom) -> None:
        # Entry i is i / 16: pydicom itself would take entry 300 for entry 44.
        voi = table([i // 16 for i in range(4096)], depth=8)
        pixels = np.array([[0, 300, 2048, 4095]], np.uint16)
        assert shown(dicom(pixels, VOILUTSequence=voi, **TWELVE)) == [0, 18, 128, 255]

    def test_values_beyond_the_table_take_its_ends(self, dicom) -> None:
        voi = table([0, 100, 200], first=10, depth=16)
        pixels = np.array([[3, 10, 11, 12, 99]], np.uint8)
        assert shown(dicom(pixels, VOILUTSequence=voi)) == [0, 0, 128, 255, 255]

    def test_a_voi_table_is_indexed_by_modality_values(self, dicom) -> None:
        voi = table([0, 51, 255], first=-1, first_vr="SS")
        tags = {"RescaleSlope": 0.5, "RescaleIntercept": -1.0}
        assert shown(dicom(np.array([[0, 2, 4]], np.uint8), VOILUTSequence=voi, **tags)) == [0, 51, 255]

    def test_the_table_goes_before_the_window(self, dicom) -> None:
        voi = table([0, 100])
        assert shown(dicom(np.array([[0, 1]], np.uint8), VOILUTSequence=voi, WindowCenter=9, WindowWidth=2)) == [0, 255]

    @pytest.mark.parametrize("depth", [8, 12, 16])
    def test_a_modality_table_of_any_depth(self, dicom, depth) -> None:
        modality = table([i // 2 for i in range(400)], depth=depth)
        pixels = np.array([[0, 301, 399, 4000]], np.uint16)
        data = dicom(pixels, ModalityLUTSequence=modality, WindowCenter=100, WindowWidth=200, **TWELVE)
        record = read_image(data)
        assert record.grey.modality[[0, 301, 399, 4000]].tolist() == [0, 150, 199, 199]
        # LINEAR: 150 is (150 - 99.5) / 199 + 0.5 = 0.7538, level 192.2.
        assert shown(data) == [0, 192, 255, 255]

    @pytest.mark.parametrize(("syntax", "order"), [(IMPLICIT, "<"), (EXPLICIT, "<"), (BIG_ENDIAN, ">")])
    @pytest.mark.parametrize("entries", [256, 255, 4096])
    def test_entries_of_eight_bits_packed_two_a_word(self, dicom, syntax, order, entries) -> None:
        # PS3.3 C.11.1.1, C.11.2.1.1: of entry i, i * 255 // (entries - 1).
        values = [i * 255 // (entries - 1) for i in range(entries)]
        pixels = np.array([[0, 1, entries // 2, entries - 2, entries - 1]], np.uint16)
        expected = [values[index] for index in pixels[0]]
        data = dicom(pixels, syntax=syntax, VOILUTSequence=table(values, depth=8, packed=order), **TWELVE)
        assert shown(data) == expected
        modality = table(values, depth=8, packed=order)
        data = dicom(pixels, syntax=syntax, ModalityLUTSequence=modality, **TWELVE)
        assert read_image(data).grey.modality[pixels[0]].tolist() == expected

    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
    @pytest.mark.parametrize("intercept", [-1024, -65])
    def test_a_first_value_below_zero_whatever_its_vr_is(self, dicom, syntax, intercept) -> None:
        # PS3.3 C.11.2.1.1: the table's input may be negative after this rescale, so its first value is signed.
        tags = {"RescaleSlope": 1, "RescaleIntercept": intercept, **TWELVE}
        pixels = np.array([[0, -intercept - 64, -intercept, -intercept + 191]], np.uint16)
        voi = table(list(range(256)), first=65536 - 64)
        assert shown(dicom(pixels, syntax=syntax, VOILUTSequence=voi, **tags)) == [0, 0, 64, 255]

    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
    def test_a_first_value_of_a_signed_modality_table(self, dicom, syntax) -> None:
        modality = table([5, 6, 7], first=-1, first_vr="SS")
        data = dicom(np.array([[-2, -1, 0, 1, 2]], np.int16), syntax=syntax, ModalityLUTSequence=modality)
        record = read_image(data)
        assert record.grey.modality[record.pixels[0] - record.grey.first].tolist() == [5, 5, 6, 7, 7]

    def test_a_high_first_value_is_not_taken_for_a_negative_one(self, dicom) -> None:
        voi = table(list(range(256)), first=40000)
        pixels = np.array([[0, 40000, 40100, 65535]], np.uint16)
        for syntax in (IMPLICIT, EXPLICIT):
            assert shown(dicom(pixels, syntax=syntax, VOILUTSequence=voi)) == [0, 0, 100, 255]

    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
    def test_signed_values_that_a_rescale_makes_positive(self, dicom, syntax) -> None:
        voi = table(list(range(256)), first=40000)
        pixels = np.array([[-32768, 7232, 7332, 32767]], np.int16)
        tags = {"RescaleSlope": 1, "RescaleIntercept": 32768}
        assert shown(dicom(pixels, syntax=syntax, VOILUTSequence=voi, **tags)) == [0, 0, 100, 255]

    def test_modality_values_beyond_sixteen_bits(self, dicom) -> None:
        voi = table(list(range(60000)))
        pixels = np.array([[0, 750, 1500, 1639, 4095]], np.uint16)
        tags = {"RescaleSlope": 40, "RescaleIntercept": 0, **TWELVE}
        # 1639 is 65,560, which 16 bits would take for 24.
        data = dicom(pixels, syntax=IMPLICIT, VOILUTSequence=voi, **tags)  # explicit VR has no US of such a length
        assert shown(data) == [0, 128, 255, 255, 255]

    def test_a_table_that_is_cut_short_is_damaged(self, dicom) -> None:
        voi = table([0, 1, 2])
        voi[0].LUTDescriptor = [9, 0, 16]
        with pytest.raises(ImageReadError, match="of 9 entries, found 6") as caught:
            read_image(dicom(np.zeros((2, 2), np.uint8), VOILUTSequence=voi))
        assert caught.value.code == "damaged"

    def test_an_implicit_file_with_signed_tables(self, dicom) -> None:
        from pydicom.uid import ImplicitVRLittleEndian

        voi = table([0, 51, 255], first=-1, first_vr="SS")
        pixels = np.array([[-9, 0, 1]], np.int16)
        assert shown(dicom(pixels, VOILUTSequence=voi, syntax=ImplicitVRLittleEndian)) == [0, 51, 255]


def tagged(data: bytes, keyword: str, value: int, vr: str) -> bytes:
    """Returns the file with an element whose VR the writer is not asked about."""
    from io import BytesIO

    from pydicom import dcmread
    from pydicom.datadict import tag_for_keyword

    dataset = dcmread(BytesIO(data))
    dataset.add_new(tag_for_keyword(keyword), vr, value)
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


class TestPadding:
    """Padding is no part of an image's dynamic range (PS3.3 C.7.5.1.1.2): black, and the rest as without it."""

    @pytest.mark.parametrize("policy", ["dicom_voi", "percentile(0,100)", "percentile(20,80)"])
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    @pytest.mark.parametrize("padding", [-2000, 0, 1999])
    def test_the_image_is_as_it_is_alone(self, dicom, padding, photometric, policy) -> None:
        image = np.random.default_rng(7).integers(100, 900, (8, 9)).astype(np.int16)
        tags = {"PhotometricInterpretation": photometric, "BitsStored": 12, "PixelPaddingValue": padding}
        padded = np.full((8, 14), padding, np.int16)
        padded[:, 3:12] = image
        levels = np.reshape(shown(dicom(padded, **tags), policy), padded.shape)
        np.testing.assert_array_equal(levels[:, 3:12], np.reshape(shown(dicom(image, **tags), policy), image.shape))
        assert levels[:, 3:12].max() == 255
        assert set(levels[:, [0, 1, 2, 12, 13]].ravel()) == {0}

    @pytest.mark.parametrize(("low", "high"), [(-2048, -2000), (-2000, -2048)])
    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
    def test_a_range_of_values(self, dicom, low, high, syntax) -> None:
        pixels = np.array([[-2048, -2010, -2000, -1999, 0, 1999]], np.int16)
        tags = {"PixelPaddingValue": low, "PixelPaddingRangeLimit": high, "BitsStored": 12}
        assert shown(dicom(pixels, syntax=syntax, **tags)) == [0, 0, 0, 0, 128, 255]

    @pytest.mark.parametrize(("vr", "value"), [("SS", -2000), ("US", 63536), ("US", 2096)])
    def test_a_signed_value_of_any_vr_and_width(self, dicom, vr, value) -> None:
        # -2000 is 63536 in 16 bits and 2096 in 12.
        pixels = np.array([[-2000, 0, 50, 100]], np.int16)
        assert shown(tagged(dicom(pixels, BitsStored=12), "PixelPaddingValue", value, vr)) == [0, 0, 128, 255]

    @pytest.mark.parametrize(("vr", "value"), [("US", 65535), ("SS", -1)])
    def test_an_unsigned_value_of_any_vr(self, dicom, vr, value) -> None:
        pixels = np.array([[65535, 0, 50, 100]], np.uint16)
        assert shown(tagged(dicom(pixels), "PixelPaddingValue", value, vr)) == [0, 0, 128, 255]
        # Of 12 bits no pixel holds it.
        pixels = np.array([[4095, 0]], np.uint16)
        assert shown(tagged(dicom(pixels, **TWELVE), "PixelPaddingValue", value, vr)) == [255, 0]

    def test_eight_bits_keep_their_levels(self, dicom) -> None:
        pixels = np.array([[255, 10, 200]], np.uint8)
        assert shown(dicom(pixels, PixelPaddingValue=255)) == [0, 10, 200]

    @pytest.mark.parametrize("policy", ["dicom_voi", "window(50,101)"])
    def test_a_window_is_applied_to_every_value(self, dicom, policy) -> None:
        pixels = np.array([[100, 0, 100]], np.uint8)
        data = dicom(pixels, PixelPaddingValue=100, WindowCenter=50.5, WindowWidth=101)
        assert shown(data, policy)[0] > 250

    def test_an_image_of_padding_alone_is_black(self, dicom) -> None:
        assert set(shown(dicom(np.full((2, 2), 7, np.uint16), PixelPaddingValue=7))) == {0}

    def test_a_range_of_all_values_is_none(self, dicom) -> None:
        tags = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 65535}
        assert shown(dicom(np.array([[0, 50, 100]], np.uint16), **tags)) == [0, 128, 255]


class TestPresentation:
    @pytest.mark.parametrize(
        "policy", ["dicom_voi", "full_range", "window(500,700)", "percentile(1,90)", "percentile(0,100)"]
    )
    def test_monochrome1_is_the_same_picture_as_its_complement(self, dicom, policy) -> None:
        pixels = np.random.default_rng(4).integers(0, 1024, (20, 30)).astype(np.uint16)
        upright = dicom(pixels, BitsStored=10)
        turned = dicom(1023 - pixels, BitsStored=10, PhotometricInterpretation="MONOCHROME1")
        if policy.startswith("window"):
            policy_of_turned = f"window({1023 - 500},700)"
            assert shown(upright, policy) == shown(turned, policy_of_turned)
        else:
            assert shown(upright, policy) == shown(turned, policy)
        assert "low values are white, and the image is turned" in read_image(turned).notes

    def test_inverse_shape_turns_once(self, dicom) -> None:
        pixels = np.array([[0, 55, 255]], np.uint8)
        for photometric in ("MONOCHROME1", "MONOCHROME2"):
            data = dicom(pixels, PhotometricInterpretation=photometric, PresentationLUTShape="INVERSE")
            assert shown(data) == [255, 200, 0]
        assert shown(dicom(pixels, PresentationLUTShape="IDENTITY")) == [0, 55, 255]

    def test_a_flat_image_is_black_whatever_it_is(self, dicom) -> None:
        pixels = np.full((3, 3), 77, np.uint8)
        for photometric in ("MONOCHROME1", "MONOCHROME2"):
            assert set(shown(dicom(pixels, PhotometricInterpretation=photometric), "percentile(1,99)")) == {0}

    def test_brightness_rises_for_those_who_look_at_the_values(self, dicom) -> None:
        turned = {"PhotometricInterpretation": "MONOCHROME1"}
        assert read_image(dicom(np.array([[0, 255]], np.uint8), **turned)).brightness.tolist() == [[255, 0]]
        deep = read_image(dicom(np.array([[0, 1023]], np.uint16), BitsStored=10, **turned))
        assert (deep.brightness.tolist(), deep.brightness.dtype) == ([[1023, 0]], np.dtype(np.uint16))
        signed = read_image(dicom(np.array([[-128, 127]], np.int8), **turned))
        assert (signed.brightness.tolist(), signed.brightness.dtype) == ([[127, -128]], np.dtype(np.int32))
        upright = read_image(dicom(np.array([[0, 255]], np.uint8)))
        assert upright.brightness is upright.pixels

    def test_a_presentation_table_is_refused(self, dicom) -> None:
        with pytest.raises(ImageReadError, match="presentation LUT") as caught:
            read_image(dicom(np.zeros((2, 2), np.uint8), PresentationLUTSequence=table([0, 1])))
        assert caught.value.code == "unsupported_format"


class TestStored:
    def test_signed_twelve_bits_in_sixteen(self, dicom) -> None:
        values = np.array([[-2048, -1, 0, 2047]], np.int16)
        junk = (values & 0x0FFF) | 0x5000  # the unused bits may hold anything
        record = read_image(dicom(junk.astype(np.int16), BitsStored=12))
        np.testing.assert_array_equal(record.pixels, values)
        assert (record.bits, record.pixels.dtype, record.grey.first, record.grey.last) == (12, np.int32, -2048, 2047)
        # -1 is 2047 / 4095 of the range, level 127.47; 0 is 127.53.
        assert to_eight_bits(record, Intensity("full_range")).tolist() == [[0, 127, 128, 255]]

    @pytest.mark.parametrize("is_signed", [False, True])
    def test_bits_that_are_not_the_lowest(self, dicom, is_signed) -> None:
        values = np.array([[-2048, -1, 0, 5, 2047]]) if is_signed else np.array([[0, 1, 2048, 4095]])
        cells = ((values & 0x0FFF) << 4 | 0x000F).astype(np.uint16)
        data = dicom(cells, BitsStored=12, HighBit=15, PixelRepresentation=int(is_signed))
        np.testing.assert_array_equal(read_image(data).pixels, values)

    @pytest.mark.parametrize("is_signed", [False, True])
    @pytest.mark.parametrize("group", [0x6000, 0x601E])
    @pytest.mark.parametrize("codec", ["native", "RLE", "JPEG 2000", "JPEG-LS"])
    def test_overlays_in_the_unused_bits(self, dicom, codec, group, is_signed) -> None:
        values = np.random.default_rng(5).integers(-2048, 2048, (16, 16)) + 2048 * (not is_signed)
        drawn = np.random.default_rng(6).integers(0, 16, (16, 16))
        cells = ((values & 0x0FFF) | drawn << 12).astype(np.uint16)
        data = in_codec(dicom, cells, codec, BitsStored=12, PixelRepresentation=int(is_signed))
        declared = with_overlay(data, group, 12)
        np.testing.assert_array_equal(read_image(declared).pixels, values)

    def test_values_beyond_the_stored_bits_without_an_overlay_are_damage(self, dicom) -> None:
        cells = np.array([[0, 4095], [4096, 65535]], np.uint16).repeat(8, axis=0).repeat(8, axis=1)
        data = in_codec(dicom, cells, "JPEG-LS", BitsStored=12)
        for file in (data, with_overlay(data, 0x6000, 0)):
            with pytest.raises(ImageReadError, match="expected values of 12 bits, found larger ones"):
                read_image(file)

    def test_single_bits(self, dicom) -> None:
        bits = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], np.uint8)
        packed = np.packbits(bits, bitorder="little").tobytes() + b"\0"
        data = dicom(bits, BitsAllocated=1, BitsStored=1, PixelData=packed)
        record = read_image(data)
        np.testing.assert_array_equal(record.pixels, bits)
        np.testing.assert_array_equal(to_eight_bits(record, Intensity("full_range")), bits * 255)

    def test_big_endian_values_are_the_same(self, dicom) -> None:
        from pydicom.uid import ExplicitVRBigEndian

        values = np.array([[1, 258, 4095]], np.uint16)
        np.testing.assert_array_equal(read_image(dicom(values, syntax=ExplicitVRBigEndian, **TWELVE)).pixels, values)


class TestPolicies:
    def test_window_and_percentile_act_on_modality_values(self, dicom) -> None:
        pixels = HOUNSFIELD.astype(np.uint16)
        # [-160, 240] of Hounsfield units; the header's own window is not asked.
        assert shown(dicom(pixels, **CT | {"WindowCenter": 900}), "window(40,400)") == [
            0, 0, 1, 128, 153, 254, 255, 255,
        ]  # fmt: skip
        assert shown(dicom(pixels, **CT), "percentile(0,100)")[3] == 66  # 1064 / 4095 * 255 = 66.26

    @pytest.mark.parametrize("slope", [2, -3])
    @pytest.mark.parametrize("ends", [(0, 100), (1, 99), (12.5, 60)])
    def test_percentiles_are_numpys(self, dicom, slope, ends) -> None:
        pixels = np.random.default_rng(2).integers(0, 4096, (31, 17)).astype(np.uint16)
        data = dicom(pixels, RescaleSlope=slope, RescaleIntercept=7, **TWELVE)
        modality = pixels.astype(float) * slope + 7
        low, high = np.percentile(modality, ends)
        expected = np.floor(np.clip((modality - low) / (high - low), 0, 1) * 255 + 0.5)
        difference = np.abs(np.reshape(shown(data, f"percentile({ends[0]},{ends[1]})"), pixels.shape) - expected)
        assert difference.max() <= 1  # halves, which arithmetic in another order rounds the other way
        assert (difference > 0).mean() < 0.01

    def test_full_range_is_that_of_the_stored_bits(self, dicom) -> None:
        pixels = np.array([[0, 8, 9, 2048, 4095]], np.uint16)
        assert shown(dicom(pixels, **TWELVE), "full_range") == [0, 0, 1, 128, 255]

    def test_full_range_of_eight_bits_is_the_png_of_them(self, dicom) -> None:
        pixels = np.random.default_rng(1).integers(0, 256, (9, 12), dtype=np.uint8)
        for window in ({}, {"WindowCenter": 128, "WindowWidth": 256}, {"WindowCenter": 127.5, "WindowWidth": 255}):
            levels = to_eight_bits(read_image(dicom(pixels, **window)), Intensity("full_range"))
            np.testing.assert_array_equal(levels, to_eight_bits(read_image(pixels), Intensity("full_range")))

    def test_full_range_of_what_the_header_shows_otherwise_is_refused(self, dicom) -> None:
        for tags in (CT, {"VOILUTSequence": table([0, 1, 2]), **TWELVE}, {"WindowCenter": 100, "WindowWidth": 80}):
            with pytest.raises(ImageReadError, match="dicom_voi, window or percentile") as caught:
                shown(dicom(HOUNSFIELD.astype(np.uint16), **tags), "full_range")
            assert caught.value.code == "no_full_range"
            assert "\n" not in str(caught.value)

    def test_a_rescale_to_nothing_is_refused(self, dicom) -> None:
        with pytest.raises(ImageReadError, match="several values") as caught:
            read_image(dicom(np.zeros((2, 2), np.uint8), RescaleSlope=0, RescaleIntercept=1))
        assert caught.value.code == "damaged"


@pytest.mark.parametrize("per_frame", [False, True])
def test_a_frames_own_rescale_and_window_are_found_in_its_groups(dicom, per_frame) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def group(intercept: float) -> Dataset:
        rescale, window, group = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = 2, intercept
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 100, 200, "LINEAR_EXACT"
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = Sequence([rescale]), Sequence([window])
        return group

    stack = np.array([[[0, 50, 75, 75]], [[0, 50, 75, 75]]], np.uint8)
    groups = {"SharedFunctionalGroupsSequence": Sequence([group(0)])}
    if per_frame:
        groups["PerFrameFunctionalGroupsSequence"] = Sequence([group(50), group(0)])
    # Frame 1 has 0, 100, 150, or 50 more where its own group says so, of the window 0 to 200.
    assert shown(dicom(stack, **groups)) == ([64, 191, 255, 255] if per_frame else [0, 128, 191, 191])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.integers(1, 16),
    is_signed=st.booleans(),
    rescale=st.none() | st.tuples(st.sampled_from([0.5, 1.0, -2.0]), st.integers(-2000, 2000)),
    window=st.none() | st.tuples(st.integers(-500, 500), st.integers(2, 900)),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    is_inverted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_pydicoms_pipeline(
    dicom, bits, is_signed, rescale, window, function, is_inverted, seed, tmp_path
) -> None:
    """Every pixel, through pydicom's functions one after the other; and a path and its bytes give one record."""
    from io import BytesIO

    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_windowing

    low = -(1 << (bits - 1)) if is_signed else 0
    values = np.random.default_rng(seed).integers(low, low + (1 << bits), (5, 8))
    tags: dict[str, object] = {"BitsStored": bits}
    if rescale is not None:
        tags |= {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]}
    if window is not None:
        tags |= {"WindowCenter": window[0], "WindowWidth": window[1], "VOILUTFunction": function}
    tags["PhotometricInterpretation"] = "MONOCHROME1" if is_inverted else "MONOCHROME2"
    data = dicom(values.astype(f"{'i' if is_signed else 'u'}{1 if bits <= 8 else 2}"), **tags)
    dataset = dcmread(BytesIO(data))
    modality = np.asarray(apply_modality_lut(dataset.pixel_array, dataset), float)
    record = read_image(data)
    np.testing.assert_array_equal(record.grey.modality[record.pixels - record.grey.first], modality)
    if window is not None:
        with np.errstate(over="ignore"):
            by_pydicom = apply_windowing(modality, dataset)
        ends = [low * rescale[0] + rescale[1], (low + 2**bits - 1) * rescale[0] + rescale[1]] if rescale else None
        black, white = ends or (low, low + 2**bits - 1)
        share = (by_pydicom - black) / (white - black)
        levels = np.clip((1 - share if is_inverted else share) * 255, 0, 255)
        found = to_eight_bits(record, Intensity("dicom_voi"))
        assert np.abs(found - levels).max() <= 0.5 + 1e-6
    path = tmp_path / "x"
    path.write_bytes(data)
    other = read_image(path)
    np.testing.assert_array_equal(other.pixels, record.pixels)
    assert (other.bits, other.notes, other.format) == (record.bits, record.notes, "DICOM")


def test_every_policy_gives_a_canvas_of_the_images_shape(dicom) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 7)).astype(np.uint16)
    for policy, photometric in itertools.product(
        ("dicom_voi", "full_range", "window(9,9)", "percentile(1,99)"), ("MONOCHROME1", "MONOCHROME2")
    ):
        data = dicom(pixels, PhotometricInterpretation=photometric, **TWELVE)
        levels = to_eight_bits(read_image(data), Intensity.parse(policy))
        assert (levels.shape, levels.dtype) == ((6, 7), np.dtype(np.uint8))
