"""What a benchmark's figures were read on."""

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("semise-sdk", "torch", "onnxruntime", "openvino", "numpy", "pillow")


def describe_machine() -> dict[str, object]:
    """Returns processor, cores, Python and package versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
