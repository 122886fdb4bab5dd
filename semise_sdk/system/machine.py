"""What this process may use of the machine, container limits included, and what its measurements were read on."""

import os
import platform
import signal
import sys
from importlib import metadata
from pathlib import Path

from semise_sdk.version import __version__

PACKAGES = (
    "torch",
    "timm",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "openvino",
    "nncf",
    "numpy",
    "pillow",
    "pydicom",
    "pylibjpeg-openjpeg",
    "pyjpegls",
)
"""Packages whose versions a speed or an answer may depend on."""

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CPU_INFO = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia")


def usable_cores() -> int:
    """Returns how many cores this process may use, at least 1: its affinity and its container's quota both count."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _cpu_quota(_CPU_QUOTA) or cores))


def usable_memory() -> int | None:
    """Returns the bytes of memory that this process may use at most, None where the system does not say."""
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return min(installed, _memory_limit(_MEMORY_LIMIT) or installed)


def has_nvidia_gpu() -> bool:
    """Returns whether NVIDIA's driver shows a GPU, found without loading any library."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def end_of(code: int) -> str:
    """Returns how a process with this return code ended, such as ``was ended by SIGSEGV``."""
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in {member.value for member in signal.Signals} else str(-code)
    return f"was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


def peak_memory() -> int | None:
    """Returns the most bytes that this process ever held in memory, None where the system does not say.

    It is the Linux kernel's own mark (VmHWM), which starts anew with every program.
    """
    found = _value_of("VmHWM", Path("/proc/self/status"))
    return int(found.split()[0]) * 1024 if found else None


def describe_machine() -> dict[str, object]:
    """Returns processor, cores, memory, GPUs, system and versions: what stands beside every figure that counts."""
    memory = usable_memory()
    return {
        "processor": _value_of("model name", _CPU_INFO) or platform.processor() or "unknown",
        "cores": usable_cores(),
        "memory_gib": None if memory is None else round(memory / (1 << 30), 1),
        "gpus": nvidia_gpus(),
        "nvidia_driver": _first_line(_NVIDIA / "version") or None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {"semise-sdk": __version__} | {name: _version(name) for name in PACKAGES},
    }


def nvidia_gpus() -> list[str]:
    """Returns the names of the GPUs that NVIDIA's driver shows, found without loading any library."""
    return [_value_of("Model", path) for path in sorted(_NVIDIA.glob("gpus/*/information"))]


def _value_of(key: str, path: Path) -> str:
    """Returns what stands behind ``key:`` in a file of such lines, empty where it or the file is missing."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_quota(path: Path) -> int | None:
    """Returns the whole cores of a cgroup v2 ``cpu.max`` such as ``200000 100000``, None for no limit."""
    quota, _, period = _first_line(path).partition(" ")
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None
    return max(1, int(quota) // int(period))


def _memory_limit(path: Path) -> int | None:
    limit = _first_line(path)
    return int(limit) if limit.isdigit() else None


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""
