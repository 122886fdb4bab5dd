"""The header of a DICOM file: only the elements that reading needs, so that nothing of the patient is ever parsed."""

from dataclasses import dataclass
from io import BytesIO
from typing import Self

from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.codec import refused_syntax

MAX_ITEMS = 50_000
"""Most items of sequences, and fragments of pixels, in a file: pydicom parses 30,000 of them a second."""

_META_START = 132
_ITEM = {"little": b"\xfe\xff\x00\xe0", "big": b"\xff\xfe\xe0\x00"}
_IMAGE = (
    "SOPClassUID", "PresentationIntentType", "BurnedInAnnotation", "LossyImageCompression",
    "LossyImageCompressionRatio", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "PatientOrientation",
    "ImageLaterality", "Laterality",
)  # fmt: skip
_MEANING = (
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "VOILUTSequence", "PresentationLUTShape", "PresentationLUTSequence", "PixelPresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip
_FRAMES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PIXELS = ("PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths")
OVERLAY_BITS = tuple(Tag(group, 0x0102) for group in range(0x6000, 0x6020, 2))
"""Where each overlay lies in the cells of the pixels: 0 for one that has data of its own."""

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_OTHER_COLOUR = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")


def transfer_syntax(data: bytes) -> str:
    """Returns the transfer syntax UID from the file's meta information, the only part read.

    Raises:
        ImageReadError: ``unsupported_format`` for none, ``damaged`` without such information,
            ``unsupported_transfer_syntax`` for a deflated data set: parsing one would inflate it first, a thousandfold
            and more.
    """
    stream = BytesIO(data)
    stream.seek(_META_START)
    meta = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != 2
    )
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if meta and not syntax and stream.tell() < len(data):
        raise missing("TransferSyntaxUID")
    if not syntax:
        raise ImageReadError("damaged", "expected a transfer syntax in the file's meta information, found none")
    if syntax == DeflatedExplicitVRLittleEndian:
        raise refused_syntax(syntax)
    return syntax


def check_items(data: bytes, syntax: str) -> None:
    """Refuses a file with so many items that parsing it takes minutes, counted by their mark.

    Raises:
        ImageReadError: ``unsupported_format``.
    """
    found = data.count(_ITEM["big" if syntax == ExplicitVRBigEndian else "little"])
    if found > MAX_ITEMS:
        raise ImageReadError("unsupported_format", f"expected at most {MAX_ITEMS:,} items in a file, found {found:,}")


def read_header(data: bytes, *, with_frames: bool = False) -> tuple[Dataset, bool]:
    """Returns what the header says of the image, without the tables that give pixels meaning, and if pixels follow it.

    Args:
        data: The file.
        with_frames: Whether to parse what it says of each frame, too.
    """
    stream = BytesIO(data)
    tags = [*_IMAGE, *(_FRAMES if with_frames else ())]
    return dcmread(stream, stop_before_pixels=True, specific_tags=tags), stream.tell() < len(data)


def read_pixels(data: bytes) -> Dataset:
    """Returns the data set with its pixels, encoded as they are, and all that gives them their meaning."""
    return dcmread(BytesIO(data), specific_tags=[*_IMAGE, *_MEANING, *_FRAMES, *_PIXELS, *OVERLAY_BITS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How pixels are stored, as the header says it (PS3.3 C.7.6.3).

    Args:
        rows: Height in pixels.
        columns: Width in pixels.
        frames: How many frames there are.
        samples: Samples of a pixel: 1 or 3.
        photometric: One of GREY, PALETTE and COLOUR.
        allocated: Bits of a sample's cell: 1, 8 or 16.
        stored: Bits of them that are used, 1 to 16.
        high_bit: Place of the highest one used.
        is_signed: True for two's complement.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high_bit: int
    is_signed: bool

    @classmethod
    def of(cls, header: Dataset) -> Self:
        """Returns the layout of a header; what is missing and follows from the rest is filled in.

        Raises:
            ImageReadError: ``damaged`` where an element is impossible, ``unsupported_format`` for one that is missing,
                and for a photometric interpretation or depth that is not read.
        """
        photometric = _photometric(header)
        high_bit = header.get("HighBit")
        # PS3.5 8.1.1: the high bit is one less than the bits stored.
        stored = _whole(header, "BitsStored", lowest=1, default=None if high_bit is None else int(high_bit) + 1)
        layout = cls(
            rows=_whole(header, "Rows", lowest=1),
            columns=_whole(header, "Columns", lowest=1),
            frames=_whole(header, "NumberOfFrames", lowest=0, default=1) or 1,
            samples=_whole(header, "SamplesPerPixel", lowest=1, default=_samples_of(photometric)),
            photometric=photometric,
            allocated=_whole(header, "BitsAllocated", lowest=1),
            stored=stored,
            high_bit=_whole(header, "HighBit", lowest=0, default=stored - 1),
            is_signed=_whole(header, "PixelRepresentation", lowest=0) == 1,
        )
        layout._check()
        return layout

    @property
    def first(self) -> int:
        """The lowest value that can be stored."""
        return -(1 << (self.stored - 1)) if self.is_signed else 0

    @property
    def last(self) -> int:
        """The highest value that can be stored."""
        return self.first + (1 << self.stored) - 1

    @property
    def frame_bits(self) -> int:
        """Bits of one uncompressed frame; YBR_FULL_422 holds two samples a pixel."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated

    def _check(self) -> None:
        if self.allocated not in (1, 8, 16):
            raise ImageReadError(
                "unsupported_format", f"expected samples of 1, 8 or 16 bits, found {self.allocated}; convert the image"
            )
        if self.stored > self.allocated or not self.stored - 1 <= self.high_bit < self.allocated:
            raise ImageReadError(
                "damaged",
                f"expected a sample within its {self.allocated} bits, found {self.stored} bits up to bit "
                f"{self.high_bit}",
            )
        if self.samples != _samples_of(self.photometric):
            raise ImageReadError("damaged", f"expected the samples of {self.photometric}, found {self.samples} a pixel")


def _whole(header: Dataset, keyword: str, *, lowest: int, default: int | None = None) -> int:
    value = header.get(keyword)
    if value is None:
        if default is None:
            raise missing(keyword)
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = lowest - 1
    if number < lowest:
        raise ImageReadError("damaged", f"expected a whole number of at least {lowest} as {keyword}, found none such")
    return number


def missing(keyword: str) -> ImageReadError:
    """Returns the refusal of a header without an element that says how pixels are stored."""
    return ImageReadError(
        "unsupported_format",
        f"expected {keyword} in the header, found none; have it added by the system that sent the image",
    )


def _samples_of(photometric: str) -> int:
    return 3 if photometric in COLOUR else 1


def _photometric(header: Dataset) -> str:
    found = str(header.get("PhotometricInterpretation") or "").strip()
    if not found:
        raise missing("PhotometricInterpretation")
    if found in (*GREY, PALETTE, *COLOUR):
        return found
    named = found if found in _OTHER_COLOUR else "another"  # a damaged header may hold anything there
    raise ImageReadError(
        "unsupported_format",
        f"expected a photometric interpretation of {', '.join((*GREY, PALETTE, *COLOUR))}, found {named}; convert it",
    )
