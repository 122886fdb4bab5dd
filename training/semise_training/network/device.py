"""Where training runs and in which precision: chosen once, recorded, never silently changed."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from semise_sdk.errors import ConfigError
from semise_sdk.system.machine import usable_cores
from semise_training.config import RuntimeConfig


@dataclass(frozen=True, slots=True)
class Compute:
    """The device and the autocast precision of a run."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context in which networks run while training."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")

    def full_precision(self) -> "Compute":
        """Returns the same device in fp32, for what is kept: references and calibration."""
        return Compute(self.device, "fp32")

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Returns a loss scaler, which does something only in fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def in_full_precision(values: Tensor) -> torch.autocast:
    """Returns the context in which g and h run, whatever precision f is trained in.

    bf16 rounds the entries of a vector by up to 0.4 %: where the vectors lie close, that hides the angle between them.
    """
    return torch.autocast(values.device.type, enabled=False)


def resolve(runtime: RuntimeConfig) -> Compute:
    """Returns the compute that ``runtime`` asks for; sets torch's thread count.

    Raises:
        ConfigError: a device was asked for by name and cannot be used.
    """
    torch.set_num_threads(runtime.threads or usable_cores())
    device = _device(runtime.device)
    precision = _fastest_precision(device) if runtime.precision == "auto" else runtime.precision
    if device.type == "cpu" and precision == "fp16":
        raise ConfigError("expected precision fp32 or bf16 on a CPU, found fp16: use --set runtime.precision=bf16")
    return Compute(device, precision)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"expected device auto, cpu, cuda or cuda:N, found {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"expected device auto, cpu, cuda or cuda:N, found {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name} was asked for and torch finds no such usable GPU: check the driver with nvidia-smi and "
            "torch's build with `semise doctor`, or use --device cpu"
        )
    return device


def _fastest_precision(device: torch.device) -> str:
    # Measured with channels_last (docs/results/training-speed.md): on a CPU with avx512_bf16, bf16 trains ResNet-50 1.9
    # times as fast as fp32 and lite0 about as fast; on a CPU without it, bf16 is emulated and slower.
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if features.get("avx512_bf16") or features.get("amx_bf16") else "fp32"
