"""Which decoder reads which transfer syntax: one named plugin of pydicom's each, and never GDCM.

GDCM ended the process (an uncaught C++ exception) on 13 of 6,000 damaged files, and pydicom prefers it wherever it is
installed. So it is taken out of pydicom's decoders as soon as this module is loaded, for the host's own use as well.
Naming the plugin also keeps pixels the same everywhere: decoders of lossy JPEG differ in their last bit.
"""

import contextlib
import re
from dataclasses import dataclass

from pydicom import uid
from pydicom.pixels import get_decoder

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers.dicom.support import PIP


@dataclass(frozen=True, slots=True)
class Codec:
    """A decoder.

    Args:
        name: What it decodes.
        plugin: pydicom's name of the plugin; empty for what pydicom reads without one.
        package: The package behind it.
    """

    name: str
    plugin: str
    package: str


_NATIVE = Codec("uncompressed pixels", "", "pydicom")
_RLE = Codec("RLE", "pydicom", "pydicom")
_JPEG = Codec("JPEG", "pillow", "pillow")
_JPEG_LS = Codec("JPEG-LS", "pyjpegls", "pyjpegls")
_JPEG_2000 = Codec("JPEG 2000", "pylibjpeg", "pylibjpeg-openjpeg")

CODECS = {
    uid.ImplicitVRLittleEndian: _NATIVE,
    uid.ExplicitVRLittleEndian: _NATIVE,
    uid.ExplicitVRBigEndian: _NATIVE,
    uid.RLELossless: _RLE,
    uid.JPEGBaseline8Bit: _JPEG,
    uid.JPEGExtended12Bit: _JPEG,
    uid.JPEGLSLossless: _JPEG_LS,
    uid.JPEGLSNearLossless: _JPEG_LS,
    uid.JPEG2000Lossless: _JPEG_2000,
    uid.JPEG2000: _JPEG_2000,
    uid.HTJ2KLossless: _JPEG_2000,
    uid.HTJ2KLosslessRPCL: _JPEG_2000,
    uid.HTJ2K: _JPEG_2000,
}

_CONVERSIONS = {
    uid.DeflatedExplicitVRLittleEndian: "DCMTK's dcmconv +te",
    uid.JPEGExtended12Bit: "DCMTK's dcmdjpeg",
    uid.JPEGLossless: "DCMTK's dcmdjpeg",
    uid.JPEGLosslessSV1: "DCMTK's dcmdjpeg",
}
_UID = re.compile(r"[0-9.]{1,64}")


def remove_gdcm() -> None:
    """Takes GDCM out of pydicom's decoders; a second call changes nothing."""
    for syntax in (*CODECS, uid.JPEGLossless, uid.JPEGLosslessSV1):
        with contextlib.suppress(ValueError):  # it has none
            get_decoder(syntax).remove_plugin("gdcm")


def codec_for(syntax: str) -> Codec:
    """Returns the decoder of a transfer syntax.

    Raises:
        ImageReadError: ``unsupported_transfer_syntax`` for one that is not read, ``missing_package`` where its
            decoder is not installed.
    """
    codec = CODECS.get(uid.UID(syntax))
    if codec is None:
        raise refused_syntax(syntax)
    if codec.plugin and codec.plugin not in get_decoder(syntax).available_plugins:
        raise ImageReadError(
            "missing_package", f"reading {codec.name} in DICOM needs {codec.package}, found none; {PIP}"
        )
    return codec


def refused_syntax(syntax: str) -> ImageReadError:
    """Returns the refusal of a transfer syntax, with what converts it."""
    conversion = _CONVERSIONS.get(uid.UID(syntax), "the system that sent it")
    return ImageReadError(
        "unsupported_transfer_syntax",
        f"expected pixels uncompressed or in RLE, JPEG, JPEG-LS or JPEG 2000, found {name_of(syntax)!r}; convert it to "
        f"Explicit VR Little Endian with {conversion}",
    )


def name_of(identifier: str) -> str:
    """Returns the standard's name of a UID, the UID itself where it has none; a damaged one is not repeated."""
    return str(uid.UID(identifier).name) if _UID.fullmatch(identifier) else "an unreadable UID"


remove_gdcm()
