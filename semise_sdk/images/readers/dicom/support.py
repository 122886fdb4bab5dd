"""Which of the packages that read DICOM are installed, found without importing any of them."""

from dataclasses import dataclass
from importlib import metadata, util

PIP = "pip install 'semise-sdk[dicom]'"

_PACKAGES = (
    ("DICOM", "pydicom", "pydicom"),
    ("DICOM in JPEG 2000", "openjpeg", "pylibjpeg-openjpeg"),
    ("DICOM in JPEG-LS", "jpeg_ls", "pyjpegls"),
)


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a kind of file can be read here.

    Args:
        name: The kind.
        package: What reads it.
        version: The package's version, None where it is missing.
    """

    name: str
    package: str
    version: str | None


def dicom_support() -> tuple[Support, ...]:
    """Returns what of DICOM can be read here; native, RLE and JPEG baseline need pydicom alone."""
    return tuple(Support(name, package, _version(module, package)) for name, module, package in _PACKAGES)


def _version(module: str, package: str) -> str | None:
    try:
        return metadata.version(package) if util.find_spec(module) else None
    except (ValueError, metadata.PackageNotFoundError):
        return None
