"""One process that reads images, as its parent sees it."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TypeVar

from semise_sdk.errors import BackendError, ImageReadError
from semise_sdk.images.isolation.answers import MAX_ANSWER_BYTES, Request, checked
from semise_sdk.images.isolation.limits import ReaderLimits
from semise_sdk.images.isolation.protocol import Message, ProtocolError, receive, send
from semise_sdk.system.machine import end_of

Answer = TypeVar("Answer")

START_SECONDS = 60.0
"""How long a process may take to start: seconds on a machine that is busy."""

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from semise_sdk.images.isolation.worker import main; main()"
)
_PIPE_BYTES = 1 << 20  # a canvas in one go
_APART_ON_WINDOWS = 0x08000200  # CREATE_NO_WINDOW, CREATE_NEW_PROCESS_GROUP
# What a dynamic linker and a locale need; nothing that the host keeps from others belongs into such a process.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL", "LC_CTYPE")
# Each thread of a numeric library reserves address space, and reading an image uses none of them.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class _End:
    """How a process ended, in a few words, where an answer was expected of it."""

    how: str


class ReaderProcess:
    """A process that reads one image at a time.

    It is started by a thread that lives as long as it does: Linux ends it with the thread that started it, and a host
    may ask from threads that come and go. The same thread exchanges the messages, so that a process that the system
    cannot even end keeps nobody waiting beyond the limit.

    Args:
        limits: What it may use.
    """

    def __init__(self, limits: ReaderLimits) -> None:
        self.asked = 0
        self._limits = limits
        self._requests: SimpleQueue[Message | None] = SimpleQueue()
        self._answers: SimpleQueue[Message | _End] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._drive, name="semise-reader", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """True while the process may answer."""
        process = self._process
        return self._thread.is_alive() and process is not None and process.poll() is None

    def wait_until_ready(self) -> None:
        """Returns when the process can be asked.

        Raises:
            BackendError: it cannot be started.
        """
        try:
            greeting = self._answers.get(timeout=START_SECONDS)
        except Empty:
            self.kill()
            greeting = _End(f"took more than {START_SECONDS:g} s to start")
        if isinstance(greeting, _End):
            raise BackendError(
                f"expected to start a process that reads images with {sys.executable or 'no known Python'}, found it "
                f"{greeting.how}; open the predictor with isolate=False (--no-isolate) if you trust the files"
            )

    def ask(self, request: Request, parse: Callable[[Message], Answer]) -> Answer:
        """Returns what ``parse`` makes of the answer to a request.

        Raises:
            ImageReadError: why the image cannot be read; after ``reader_died`` and ``reader_timeout`` the process
                has ended, after ``out_of_memory`` it is of no more use.
        """
        message = request.message()
        self.asked += 1
        self._requests.put(message)
        try:
            answer = self._answers.get(timeout=self._limits.seconds)
        except Empty:
            self.kill()
            raise ImageReadError(
                "reader_timeout",
                f"{request.name}: expected to read the image within {self._limits.seconds:g} s, found no end; look at "
                "the file, or allow more time",
            ) from None
        try:
            if isinstance(answer, Message):
                return parse(checked(answer))
        except ProtocolError as error:
            self.kill()
            answer = _End(f"answered wrongly ({error})")
        raise ImageReadError(
            "reader_died",
            f"{request.name}: expected to read the image, found that the process reading it {answer.how}; look at the "
            "file",
        )

    def retire(self) -> None:
        """Lets the process end once it has answered what it was asked."""
        self._requests.put(None)

    def kill(self) -> None:
        """Ends the process at once."""
        self.retire()
        process = self._process
        if process is not None:
            process.kill()

    def join(self, timeout: float) -> bool:
        """Returns whether the process has ended, after at most ``timeout`` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _drive(self) -> None:
        try:
            with _started(self._limits) as process:
                self._process = process
                self._exchange(process)
        except OSError as error:
            problem = error.strerror or "an error"
            self._answers.put(_End(f"refused by the system: {problem[:1].lower()}{problem[1:]}"))
        finally:
            self._answers.put(_End("was closed"))  # whoever asks one that has retired is not to wait

    def _exchange(self, process: subprocess.Popen[bytes]) -> None:
        requests, answers = process.stdin, process.stdout
        if requests is None or answers is None:  # it was started with both
            return
        self._answers.put(self._answer(process, answers))
        while (request := self._requests.get()) is not None:
            with contextlib.suppress(OSError):  # it is gone, or has said why it takes no more
                send(requests, request.header, request.payload)
            del request  # an image's bytes are not to be held while the next one is awaited
            self._answers.put(self._answer(process, answers))

    def _answer(self, process: subprocess.Popen[bytes], answers: IO[bytes]) -> Message | _End:
        try:
            message = receive(answers, max_payload=MAX_ANSWER_BYTES)
        except ProtocolError as error:
            process.kill()
            return _End(f"answered wrongly ({error})")
        except MemoryError:
            process.kill()
            return _End("had an answer that does not fit into memory")
        return message if message is not None else _End(end_of(process.wait()))


def _started(limits: ReaderLimits) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [_interpreter(), "-I", "-c", _CODE, json.dumps(_setup(limits))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD,
        start_new_session=True,  # Ctrl-C in the terminal is for the parent
        creationflags=_APART_ON_WINDOWS if sys.platform == "win32" else 0,
    )
    if sys.platform == "linux" and process.stdout is not None:
        import fcntl

        with contextlib.suppress(OSError):  # a user may have so much of wide pipes
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return process


def _interpreter() -> str:
    # A frozen program's executable is the program: it would start itself, and so on without end.
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError(0, "the host has no Python interpreter to start")
    return sys.executable


def _setup(limits: ReaderLimits) -> Mapping[str, object]:
    return {
        # It imports from where this process does, and never from the working folder, which may hold anything.
        "path": [str(Path(folder).absolute()) for folder in sys.path if folder],
        "parent": os.getpid(),
        "memory_bytes": limits.memory_bytes,
        "seconds": limits.seconds,
    }
