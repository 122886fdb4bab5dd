"""CUDA through NVIDIA's own bindings: which GPUs there are, and memory on one of them."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import BackendError

_DRIVER = Path("/sys/module/nvidia/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU that CUDA can use.

    Args:
        index: Its number.
        name: Its name, such as ``NVIDIA L4``.
        capability: Its compute capability, such as ``8.9``.
        driver: Version of its driver.
    """

    index: int
    name: str
    capability: str
    driver: str


def find_gpu(index: int = 0) -> Gpu:
    """Returns a GPU by its number.

    Raises:
        BackendError: CUDA's bindings are missing, there is no GPU that CUDA can use, or none of that number.
    """
    runtime = _runtime()
    error, count = runtime.cudaGetDeviceCount()
    if error != runtime.cudaError_t.cudaSuccess or not count:
        reason = "none is there" if error == runtime.cudaError_t.cudaSuccess else _error_text(runtime, error)
        raise BackendError(f"expected a GPU that CUDA can use, found none ({reason}): check nvidia-smi and the driver")
    if index >= count:
        raise BackendError(f"expected a GPU of index below {count}, found {index}")
    properties = _call(runtime.cudaGetDeviceProperties, index)
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return Gpu(
        index=index, name=name, capability=f"{properties.major}.{properties.minor}", driver=_driver_version(runtime)
    )


def use_gpu(gpu: Gpu) -> None:
    """Makes a GPU the one that this thread's CUDA calls go to; raises BackendError."""
    _call(_runtime().cudaSetDevice, gpu.index)


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory on the device at ``address``, and pinned memory of the same size beside it on the host."""

    address: int
    host: NDArray[np.uint8]


class DeviceMemory(Protocol):
    """Memory for one execution context and the stream that its copies and kernels queue in."""

    @property
    def stream(self) -> int:
        """Handle of the stream."""

    def enter(self) -> None:
        """Makes the device current in this thread."""

    def allocate(self, size: int) -> Buffer:
        """Returns memory of ``size`` bytes, kept until :meth:`close`."""

    def upload(self, buffer: Buffer, size: int) -> None:
        """Queues a copy of the first ``size`` bytes from the host to the device."""

    def download(self, buffer: Buffer, size: int) -> None:
        """Queues a copy of the first ``size`` bytes from the device to the host."""

    def wait(self) -> None:
        """Waits until everything queued is done."""

    def close(self) -> None:
        """Frees all of it."""


class CudaMemory:
    """:class:`DeviceMemory` on a GPU.

    Args:
        gpu: The GPU.

    Raises:
        BackendError: CUDA refuses; any method may, when memory is short or the GPU fails.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._runtime = _runtime()
        self.enter()
        self._stream = _call(self._runtime.cudaStreamCreateWithFlags, self._runtime.cudaStreamNonBlocking)
        self._buffers: list[Buffer] = []

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream)

    def enter(self) -> None:
        """Makes the GPU current in this thread."""
        use_gpu(self._gpu)

    def allocate(self, size: int) -> Buffer:
        """Returns memory of ``size`` bytes on the GPU and, pinned, on the host."""
        address = int(_call(self._runtime.cudaMalloc, size))
        try:
            pinned = int(_call(self._runtime.cudaHostAlloc, size, self._runtime.cudaHostAllocDefault))
        except BackendError:
            self._runtime.cudaFree(address)
            raise
        host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pinned))
        self._buffers.append(Buffer(address, host))
        return self._buffers[-1]

    def upload(self, buffer: Buffer, size: int) -> None:
        """Queues a copy to the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call(self._runtime.cudaMemcpyAsync, buffer.address, buffer.host.ctypes.data, size, kind, self._stream)

    def download(self, buffer: Buffer, size: int) -> None:
        """Queues a copy from the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(self._runtime.cudaMemcpyAsync, buffer.host.ctypes.data, buffer.address, size, kind, self._stream)

    def wait(self) -> None:
        """Waits for the stream."""
        _call(self._runtime.cudaStreamSynchronize, self._stream)

    def close(self) -> None:
        """Frees the buffers and the stream; what CUDA says of a GPU that failed before is of no use here."""
        self._runtime.cudaSetDevice(self._gpu.index)
        while self._buffers:
            buffer = self._buffers.pop()
            self._runtime.cudaFree(buffer.address)
            self._runtime.cudaFreeHost(buffer.host.ctypes.data)
        self._runtime.cudaStreamDestroy(self._stream)


# NVIDIA's bindings carry no types, hence Any in what follows.
def _runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendError(
            f"TensorRT needs cuda-bindings, not usable here ({error}): pip install 'semise-sdk[rtx]' or [trt]"
        ) from error
    return runtime


def _call(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
    runtime = _runtime()
    error, *values = function(*arguments)
    if error != runtime.cudaError_t.cudaSuccess:
        raise BackendError(f"CUDA failed in {function.__name__}: {_error_text(runtime, error)}")
    return values[0] if values else None


def _error_text(runtime: Any, error: Any) -> str:
    _, text = runtime.cudaGetErrorString(error)
    return text.decode() if isinstance(text, bytes) else str(text)


def _driver_version(runtime: Any) -> str:
    try:
        return _DRIVER.read_text(encoding="ascii").strip()
    except OSError:  # Windows, and containers that hide it: the CUDA version that the driver offers stands for it
        return f"CUDA {_call(runtime.cudaDriverGetVersion)}"
