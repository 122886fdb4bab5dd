"""What a row holds on the GPU, where NVIDIA's management library or torch can say."""

import os
import sys
from importlib import util


def gpu_memory(index: int) -> int | None:
    """Returns the bytes in use on GPU ``index``, by whatever process; None where nothing at hand can say."""
    return _torch_memory(index) if "torch" in sys.modules else _nvml_memory(index)


def _torch_memory(index: int) -> int | None:
    import torch

    if index >= torch.cuda.device_count():
        return None
    free, total = torch.cuda.mem_get_info(index)
    return total - free


def _nvml_memory(index: int) -> int | None:
    # The library counts all GPUs; where CUDA is shown only some, the same index is another GPU.
    if util.find_spec("pynvml") is None or "CUDA_VISIBLE_DEVICES" in os.environ:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index)).used)
    except pynvml.NVMLError:
        return None
