"""Finds and loads the installed TensorRT: ``tensorrt`` 10 and 11 and TensorRT for RTX are one module to us."""

import collections
import ctypes
import functools
import importlib
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from typing import Any

from semise_sdk.backends.base import first_line
from semise_sdk.errors import BackendError

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
PIP = "pip install 'semise-sdk[rtx]', or 'semise-sdk[trt]' for TensorRT on a data-centre GPU"

_BARE_BINDINGS = "tensorrt_rtx_bindings"
_RTX_WHEELS = ("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12")
# Each needs the one before it.
_RTX_LIBRARIES = ("libcudart", "libtensorrt_rtx", "libtensorrt_onnxparser_rtx")
_KEPT_ERRORS = 20
_CODE = re.compile(r"^.*?Error Code \d+: ")
_PLACE = re.compile(r"\.?\s*\bIn \w+ at [^\s()]+:\d+")

_logger = logging.getLogger(__name__)
_load_lock = threading.Lock()


class Messages:
    """TensorRT's own messages: forwarded to ``logging``, the errors also kept for whoever raises one.

    An error is logged as information only: it reaches its reader once, as the BackendError that it causes.

    Args:
        trt: The TensorRT module.
    """

    def __init__(self, trt: ModuleType) -> None:
        self._errors: collections.deque[str] = collections.deque(maxlen=_KEPT_ERRORS)
        severities = trt.ILogger.Severity
        told = (severities.INTERNAL_ERROR, severities.ERROR, severities.WARNING)
        errors = self._errors

        base: Any = trt.ILogger

        class Forwarding(base):  # type: ignore[misc]  # its base is known when TensorRT is loaded
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: object, message: str) -> None:
                if severity in (severities.INTERNAL_ERROR, severities.ERROR):
                    errors.append(message)
                _logger.log(logging.INFO if severity in told else logging.DEBUG, "TensorRT: %s", message)

        self.receiver: object = Forwarding()

    def take_errors(self) -> list[str]:
        """Returns the errors since the last call, oldest first."""
        errors = list(self._errors)
        self._errors.clear()
        return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A loaded TensorRT.

    Args:
        trt: Its module, whatever it was imported as.
        version: Its version.
        is_rtx: Whether it is TensorRT for RTX: engines for GPUs that are not there, kernels compiled at run time.
        messages: Its messages.
    """

    trt: ModuleType
    version: str
    is_rtx: bool
    messages: Messages

    @property
    def name(self) -> str:
        """``TensorRT`` or ``TensorRT-RTX``."""
        return "TensorRT-RTX" if self.is_rtx else "TensorRT"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def reason(self, fallback: str) -> str:
        """Returns the first error that TensorRT gave since it was last asked, without its source locations."""
        errors = self.messages.take_errors()
        return plain(errors[0]) if errors else fallback


def load_library(*, prefer_rtx: bool = False) -> Library:
    """Returns the TensorRT installed here: the first of ``MODULES`` that loads.

    Args:
        prefer_rtx: Takes TensorRT for RTX first, as where no GPU is there to build for.

    Raises:
        BackendError: none is installed, or none can be loaded.
    """
    order = (*MODULES[1:], MODULES[0]) if prefer_rtx else MODULES
    reasons = []
    for name in order:
        if util.find_spec(name) is None:
            continue
        try:
            return _load(name)
        except Exception as error:  # a broken wheel fails in as many ways as there are loaders
            reasons.append(f"{name}: {first_line(error)}")
            _logger.warning("%s is installed but cannot be loaded: %s", name, first_line(error))
    if reasons:
        raise BackendError(f"expected TensorRT to load, found {'; '.join(reasons)}: install it again with {PIP}")
    raise BackendError(f"expected one of {', '.join(MODULES)}, found none installed: {PIP}")


def plain(message: str) -> str:
    """Returns what a message of TensorRT says, in one line and without where in its sources it was said.

    Example:
        >>> plain("IBuilder::build: Error Code 1: Myelin (no FP32. In compile at /_src/a.cpp:20)")
        'Myelin (no FP32)'
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    line = next((line for line in lines if not line.startswith("Invalid Node")), "no reason given")
    said = line.rpartition(": ")[2] if line.startswith("Assertion failed") else _CODE.sub("", line)
    return _PLACE.sub("", said).replace("( (", "((")


@functools.cache
def _load(name: str) -> Library:
    with _load_lock:
        if name == _BARE_BINDINGS:
            _preload_rtx()
        trt = importlib.import_module(name)
    version = str(trt.__version__)
    if name == "tensorrt" and int(version.partition(".")[0]) < 10:
        raise BackendError(f"expected TensorRT 10 or newer, found {version}")
    return Library(trt=trt, version=version, is_rtx=name != "tensorrt", messages=Messages(trt))


def _preload_rtx() -> None:
    """Loads the libraries that the bare bindings need, out of ONNX Runtime's plugin wheel, where that is installed."""
    for path in _rtx_libraries():
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _rtx_libraries() -> Iterator[Path]:
    files = [path for wheel in _RTX_WHEELS for path in _wheel_files(wheel)]
    for stem in _RTX_LIBRARIES:
        yield from [path for path in files if path.name.startswith(f"{stem}.so")][:1]


def _wheel_files(wheel: str) -> list[Path]:
    try:
        return [Path(str(path.locate())) for path in metadata.files(wheel) or ()]
    except metadata.PackageNotFoundError:
        return []
