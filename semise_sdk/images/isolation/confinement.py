"""How a process that reads images gives up what reading does not need."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_GRACE_SECONDS = 5.0


def private_pipes() -> tuple[BufferedReader, BufferedWriter]:
    """Returns the pipes from and to the parent, out of reach of libraries that print: descriptors 0 and 1 are null."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


def confine(*, parent: int, memory_bytes: int) -> None:
    """Limits this process's memory, leaves no core dump, and ties its life to that of ``parent``.

    A core dump would hold the patient's pixels. Where the system has no such limit, it is left out.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if sys.platform != "win32":
        _limit(memory_bytes)
    if sys.platform == "linux":
        _die_with(parent)
        _be_killed_first()


@contextlib.contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Ends this process when the block takes much longer than ``seconds``, in case the parent no longer does."""
    if sys.platform == "win32":
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(memory_bytes: int) -> None:
    import resource

    for kind, wanted in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS may refuse a limit on memory
            resource.setrlimit(kind, (most, most))


def _die_with(parent: int) -> None:
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the first line took effect
        os._exit(0)


def _be_killed_first() -> None:
    # When memory runs out after all, the kernel is to end this process and not the one with the results.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
