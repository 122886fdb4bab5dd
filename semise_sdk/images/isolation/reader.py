"""Reads images for a predictor: in this process, or each in one that may die of it."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import CLOSED, BackendError, ImageReadError, SpecError
from semise_sdk.images.isolation.answers import Request, canvas_of, display_of
from semise_sdk.images.isolation.limits import ReaderLimits
from semise_sdk.images.isolation.process import ReaderProcess
from semise_sdk.images.isolation.protocol import Message
from semise_sdk.images.preprocess import display_pixels
from semise_sdk.images.readers import read_image
from semise_sdk.images.reading import FailedImage, ReadImage, Slot, read_slot
from semise_sdk.images.record import AnyImage
from semise_sdk.spec import InputSpec

Answer = TypeVar("Answer")

_END_SECONDS = 5.0
# What an earlier image may have left behind in the process: such a verdict counts from a fresh one only.
_MAY_BE_ANOTHERS = ("reader_died", "out_of_memory")
_LEAVE_NO_PROCESS = (*_MAY_BE_ANOTHERS, "reader_timeout")


class ImageReader(Protocol):
    """How a predictor reads images, from any number of threads."""

    def read(self, image: AnyImage, spec: InputSpec) -> Slot:
        """Returns the image on its canvas, or why that cannot be."""

    def display(self, image: AnyImage, spec: InputSpec) -> NDArray[np.uint8]:
        """Returns the image as the model's policy shows it, ``uint8 [H, W, 3]``; raises ImageReadError."""

    def close(self) -> None:
        """Releases what the reader holds; closing twice is harmless."""


class InProcessReader:
    """Reads images in this process: for files that are trusted."""

    def read(self, image: AnyImage, spec: InputSpec) -> Slot:
        """Returns the image on its canvas, or why that cannot be."""
        return read_slot(image, spec)

    def display(self, image: AnyImage, spec: InputSpec) -> NDArray[np.uint8]:
        """Returns the image as the model's policy shows it, ``uint8 [H, W, 3]``; raises ImageReadError."""
        try:
            return display_pixels(read_image(image.source, dicom=spec.dicom), spec)
        except SpecError as error:
            raise ImageReadError("does_not_fit", str(error)) from error

    def close(self) -> None:
        """Does nothing: nothing is held."""


class IsolatedReader:
    """Reads files and bytes in processes of their own, so that one that dies or hangs costs its image and no other.

    Processes are started when images come, kept for the next ones, and replaced when they have read as many as the
    limits say, when they died, and when they ran out of memory. Arrays are already decoded and stay here.

    Args:
        processes: How many there may be at once.
        limits: What each may use.
    """

    def __init__(self, processes: int, limits: ReaderLimits | None = None) -> None:
        self._limits = limits or ReaderLimits()
        self._places = threading.Semaphore(processes)
        self._lock = threading.Lock()
        self._idle: list[ReaderProcess] = []
        self._all: set[ReaderProcess] = set()
        self._is_closed = False
        self._finalizer = weakref.finalize(self, _end, self._all, os.getpid())

    def read(self, image: AnyImage, spec: InputSpec) -> Slot:
        """Returns the image on its canvas, or why that cannot be.

        Raises:
            BackendError: no process can be started, or the reader is closed.
        """
        if isinstance(image.source, np.ndarray):
            return read_slot(image, spec)
        request = Request("canvas", image.source, spec)
        try:
            return ReadImage(image.file, self._ask(request, lambda message: canvas_of(message, spec)))
        except ImageReadError as error:
            return FailedImage(image.file, error.reason)

    def display(self, image: AnyImage, spec: InputSpec) -> NDArray[np.uint8]:
        """Returns the image as the model's policy shows it, ``uint8 [H, W, 3]``.

        Raises:
            ImageReadError: it cannot be read or shown.
            BackendError: no process can be started, or the reader is closed.
        """
        if isinstance(image.source, np.ndarray):
            return InProcessReader().display(image, spec)
        return self._ask(Request("display", image.source, spec), display_of)

    def close(self) -> None:
        """Ends every process, those that are reading after a few seconds; closing twice is harmless."""
        with self._lock:
            self._is_closed = True
            self._idle.clear()
        self._finalizer()

    def _ask(self, request: Request, parse: Callable[[Message], Answer]) -> Answer:
        with self._places:
            process = self._taken()
            is_fresh = process.asked == 0
            try:
                return self._answer(process, request, parse)
            except ImageReadError as error:
                self._check_open()  # closing ends what hangs
                if is_fresh or error.code not in _MAY_BE_ANOTHERS:
                    raise
            return self._answer(self._started(), request, parse)

    def _answer(self, process: ReaderProcess, request: Request, parse: Callable[[Message], Answer]) -> Answer:
        try:
            answer = process.ask(request, parse)
        except ImageReadError as error:
            self._leave(process, is_usable=error.code not in _LEAVE_NO_PROCESS)
            raise
        self._leave(process, is_usable=True)
        return answer

    def _taken(self) -> ReaderProcess:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
        return self._started()

    def _started(self) -> ReaderProcess:
        with self._lock:
            self._check_open()
            self._all.difference_update([process for process in self._all if process.join(0)])
            process = ReaderProcess(self._limits)
            self._all.add(process)
        try:
            process.wait_until_ready()
        except BackendError:
            self._check_open()  # closing ends what starts
            raise
        return process

    def _check_open(self) -> None:
        if self._is_closed:
            raise BackendError(CLOSED)

    def _leave(self, process: ReaderProcess, *, is_usable: bool) -> None:
        with self._lock:
            if is_usable and not self._is_closed and process.asked < self._limits.images:
                self._idle.append(process)
                return
        process.retire()


def _end(processes: Collection[ReaderProcess], owner: int) -> None:
    if os.getpid() != owner:  # a forked child has none of the threads, and its parent still reads
        return
    alive = tuple(processes)
    for process in alive:
        process.retire()
    deadline = time.monotonic() + _END_SECONDS
    for process in alive:
        if not process.join(max(0.0, deadline - time.monotonic())):
            process.kill()
            process.join(_END_SECONDS)
