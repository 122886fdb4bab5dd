"""The PyTorch backend: the network itself, on CPUs and on NVIDIA GPUs, without an exported graph."""

import threading
import weakref
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semise_sdk.backends.base import (
    GPU_BATCH_SIZE,
    Arrays,
    Device,
    Graph,
    check_inputs,
    check_outputs,
    first_line,
)
from semise_sdk.bundle.integrity import verify
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BackendError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from semise_sdk.models.network import SemiSeNetwork
    from semise_sdk.spec import NetworkConfig

NAME = "pytorch"

_TORCH_CPU_BATCH_SIZE = 16
_networks: "weakref.WeakValueDictionary[tuple[object, ...], SemiSeNetwork]" = weakref.WeakValueDictionary()
_networks_lock = threading.Lock()


def devices() -> tuple[str, ...]:
    """Returns ``cpu``, and ``cuda`` where torch can use a GPU."""
    import torch

    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def check_device(device: Device) -> None:
    """Refuses ``cuda`` where torch finds no such GPU; raises BackendError."""
    import torch

    if device.kind not in ("auto", "cpu", "cuda"):
        raise BackendError(f"expected device cpu or cuda for PyTorch, found {device.kind}: use --backend onnxruntime")
    if device.kind == "cuda" and not torch.cuda.is_available():
        raise BackendError("expected a GPU that torch can use, found none: check nvidia-smi and torch.version.cuda")
    if device.kind == "cuda" and device.index >= torch.cuda.device_count():
        raise BackendError(f"expected a GPU of index below {torch.cuda.device_count()}, found {device.index}")


def open_graph(graph: Graph, *, device: Device, threads: int | None) -> "PyTorchBackend":
    """Returns the network's graph in torch; ``auto`` is the GPU where there is one, else the CPU.

    Graphs of the same weights share one network in memory. torch's threads belong to the whole process: ``threads``
    sets them for all of it, None leaves them as they are.

    Raises:
        BackendError: no weights, or no GPU where one was asked for.
        BundleError: the weights are damaged, of another network, or altered since the bundle was opened.
    """
    import torch

    if graph.weights is None or graph.network is None:
        raise BackendError("expected weights for backend pytorch, found none: use --backend onnxruntime")
    check_device(device)
    target = _target(device)
    if threads is not None:
        torch.set_num_threads(threads)
    network = _shared_network(graph.network, graph.weights, graph.weights_sha256, target)
    return PyTorchBackend(graph, network, target)


class PyTorchBackend:
    """One graph of a network in eval mode."""

    name = NAME
    concurrency = 1  # torch spreads one run over the cores by itself

    def __init__(self, graph: Graph, network: "SemiSeNetwork", device: "torch.device") -> None:
        from semise_sdk.models import network as networks

        self.provider = str(device)
        self.batch_size = _TORCH_CPU_BATCH_SIZE if device.type == "cpu" else GPU_BATCH_SIZE
        self._device = device
        self._inputs = _PIXELS
        self._outputs: tuple[str, ...] = networks.EncoderOutputs._fields
        self._module: nn.Module | None = networks.EncoderGraph(network)
        if graph.name == "classifier":
            self._inputs = {"embedding": TensorSpec("float32", ("N", network.config.feature_dim))}
            self._outputs, self._module = ("logits",), networks.ClassifierGraph(network)
        elif graph.name == "unet":
            self._outputs, self._module = networks.UnetOutputs._fields, networks.UnetGraph(network)
        check_outputs(graph, self._outputs)

    def run(self, inputs: Arrays) -> Arrays:
        """Returns the named outputs; raises BackendError."""
        import torch

        module = self._module
        if module is None:
            raise BackendError("expected an open backend, found it closed: open the predictor again")
        check_inputs(inputs, self._inputs)
        arrays = [np.require(array, requirements=["C", "W"]) for array in inputs.values()]
        try:
            with torch.inference_mode(), _exact_fp32(self._device):
                values = module(*(torch.from_numpy(array).to(self._device) for array in arrays))
                named = zip(self._outputs, (values,) if isinstance(values, torch.Tensor) else values, strict=True)
                return {name: np.ascontiguousarray(value.cpu().numpy()) for name, value in named}
        except RuntimeError as error:
            raise BackendError(f"PyTorch could not run the graph: {first_line(error)}") from error

    def close(self) -> None:
        """Releases the network unless another graph shares it."""
        self._module = None


_PIXELS = {"pixels": TensorSpec("uint8", ("N", "H", "W", 3))}


def _target(device: Device) -> "torch.device":
    import torch

    if device.kind == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", device.index)


def _shared_network(
    config: "NetworkConfig", weights: Path, sha256: str | None, device: "torch.device"
) -> "SemiSeNetwork":
    import torch

    from semise_sdk.models.network import load_network

    status = weights.stat()
    key = (weights.resolve(), status.st_mtime_ns, status.st_size, sha256, config, str(device))
    with _networks_lock:
        network = _networks.get(key)
        if network is None:
            if sha256 is not None:  # a bundle may have been open for hours before its first image comes
                verify({weights.name: weights}, {weights.name: sha256})
            network = load_network(config, weights).requires_grad_(False)
            network = network.to(device).to(memory_format=torch.channels_last)
            _networks[key] = network
        return network


def _exact_fp32(device: "torch.device") -> AbstractContextManager[object]:
    import torch

    # cuDNN computes fp32 convolutions in TF32 unless told otherwise: a precision of its own.
    if device.type == "cpu":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
