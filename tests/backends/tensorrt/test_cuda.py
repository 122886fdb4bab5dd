"""CUDA's errors as sentences, with NVIDIA's bindings for real where no GPU answers and a stand-in where one would."""

from types import SimpleNamespace

import numpy as np
import pytest

from semise_sdk.backends.tensorrt import cuda
from semise_sdk.backends.tensorrt.cuda import CudaMemory, Gpu, find_gpu
from semise_sdk.errors import BackendError

OK, BAD = 0, 2


class Runtime:
    """cuda.bindings.runtime as it would be with two GPUs; device memory is ordinary memory."""

    cudaError_t = SimpleNamespace(cudaSuccess=OK)  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaHostAllocDefault = 0  # noqa: N815

    def __init__(self) -> None:
        self.blocks: dict[int, np.ndarray] = {}
        self.freed: list[int] = []
        self.short_of_pinned = False

    def _block(self, size: int) -> int:
        block = np.zeros(size, np.uint8)
        self.blocks[block.ctypes.data] = block
        return block.ctypes.data

    def cudaGetDeviceCount(self):  # noqa: N802
        return OK, 2

    def cudaGetDeviceProperties(self, index):  # noqa: N802
        return OK, SimpleNamespace(name=b"NVIDIA L4", major=8, minor=9)

    def cudaDriverGetVersion(self):  # noqa: N802
        return OK, 13000

    def cudaGetErrorString(self, error):  # noqa: N802
        return OK, b"out of memory"

    def cudaSetDevice(self, index):  # noqa: N802
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags):  # noqa: N802
        return OK, 99

    def cudaStreamSynchronize(self, stream):  # noqa: N802
        return (OK,)

    def cudaStreamDestroy(self, stream):  # noqa: N802
        self.freed.append(stream)
        return (OK,)

    def cudaMalloc(self, size):  # noqa: N802
        return OK, self._block(size)

    def cudaHostAlloc(self, size, flags):  # noqa: N802
        return (BAD, None) if self.short_of_pinned else (OK, self._block(size))

    def cudaMemcpyAsync(self, target, source, size, kind, stream):  # noqa: N802
        self.blocks[target][:size] = self.blocks[source][:size]
        return (OK,)

    def cudaFree(self, address):  # noqa: N802
        self.freed.append(address)
        return (OK,)

    cudaFreeHost = cudaFree  # noqa: N815


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    fake = Runtime()
    monkeypatch.setattr(cuda, "_runtime", lambda: fake)
    (tmp_path / "version").write_text("580.95.05\n")
    monkeypatch.setattr(cuda, "_DRIVER", tmp_path / "version")
    return fake


def test_a_gpu_is_found_with_its_driver(runtime, monkeypatch, tmp_path):
    assert find_gpu(1) == Gpu(index=1, name="NVIDIA L4", capability="8.9", driver="580.95.05")
    monkeypatch.setattr(cuda, "_DRIVER", tmp_path / "absent")
    assert find_gpu().driver == "CUDA 13000"
    with pytest.raises(BackendError, match="expected a GPU of index below 2, found 2"):
        find_gpu(2)


def test_no_gpu_says_why_and_what_to_do(runtime, monkeypatch):
    monkeypatch.setattr(Runtime, "cudaGetDeviceCount", lambda self: (OK, 0))
    with pytest.raises(BackendError, match=r"found none \(none is there\): check nvidia-smi"):
        find_gpu()
    monkeypatch.setattr(Runtime, "cudaGetDeviceCount", lambda self: (BAD, None))
    with pytest.raises(BackendError, match=r"found none \(out of memory\)"):
        find_gpu()


def test_memory_goes_to_the_device_and_back_and_is_freed(runtime):
    memory = CudaMemory(Gpu(index=0, name="", capability="", driver=""))
    assert memory.stream == 99
    buffer = memory.allocate(8)
    buffer.host[:] = np.arange(8)
    memory.upload(buffer, 8)
    buffer.host[:] = 0
    memory.download(buffer, 5)
    memory.wait()
    np.testing.assert_array_equal(buffer.host, [0, 1, 2, 3, 4, 0, 0, 0])
    memory.close()
    assert sorted(runtime.freed) == sorted([99, *runtime.blocks])


def test_a_device_short_of_memory_says_so_and_leaves_nothing_behind(runtime):
    memory = CudaMemory(Gpu(index=0, name="", capability="", driver=""))
    runtime.short_of_pinned = True
    with pytest.raises(BackendError, match="CUDA failed in cudaHostAlloc: out of memory"):
        memory.allocate(8)
    assert runtime.freed == list(runtime.blocks)


def test_missing_bindings_name_the_command_that_brings_them(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "cuda"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r"TensorRT needs cuda-bindings, .*pip install 'semise-sdk\[rtx\]'"):
        find_gpu()
