"""TensorRT for RTX as a plugin of ONNX Runtime: a wheel of its own, registered when it is first asked for."""

import importlib
import threading
from importlib import util
from types import ModuleType
from typing import TYPE_CHECKING

from semise_sdk.backends.base import first_line
from semise_sdk.errors import BackendError

if TYPE_CHECKING:
    from onnxruntime import OrtEpDevice

RTX = "NvTensorRTRTXExecutionProvider"
WHEELS = ("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12")

_MODULES = ("onnxruntime_ep_nv_tensorrt_rtx", "onnxruntime_ep_nv_tensorrt_rtx_cu12")

_register_lock = threading.Lock()


def rtx_device(index: int) -> "OrtEpDevice":
    """Returns a GPU as TensorRT for RTX sees it, the plugin registered with ONNX Runtime first.

    Raises:
        BackendError: the plugin is missing, cannot be loaded, or finds no such GPU.
    """
    import onnxruntime

    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise BackendError("expected ONNX Runtime 1.23 or later for TensorRT for RTX: pip install -U onnxruntime")
    plugin = _plugin()
    with _register_lock:
        found = _rtx_devices()
        if not found:
            _register(plugin)
            found = _rtx_devices()
    if index >= len(found):
        raise BackendError(
            f"expected GPU {index} for TensorRT for RTX, found {len(found)} that it can use: check nvidia-smi; it "
            "lists compute capabilities 7.5, 8.0, 8.6, 8.9 and 12"
        )
    return found[index]


def _rtx_devices() -> "list[OrtEpDevice]":
    import onnxruntime

    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == RTX]


def _plugin() -> ModuleType:
    for name in _MODULES:
        if util.find_spec(name) is not None:
            return importlib.import_module(name)
    raise BackendError(f"expected the plugin of TensorRT for RTX, found none: pip install {WHEELS[0]}")


def _register(plugin: ModuleType) -> None:
    import onnxruntime

    try:
        onnxruntime.register_execution_provider_library(RTX, plugin.get_library_path())
    except Exception as error:  # its errors share no base class but Exception
        reason = first_line(error)
        if "libcuda" in reason or "nvcuda" in reason:
            raise BackendError(
                "expected NVIDIA's driver for TensorRT for RTX, found none on this machine: install it and check "
                f"nvidia-smi, or use --device cpu ({reason.rpartition('error: ')[2]})"
            ) from error
        raise BackendError(f"ONNX Runtime could not load TensorRT for RTX: {reason}") from error
