"""What this process may use of the machine: cores and memory, container limits included."""

import os
import sys
from pathlib import Path

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


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
