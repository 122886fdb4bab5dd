"""What this package uses of TensorRT's Python bindings, which carry no types of their own."""

from collections.abc import Sequence
from typing import Protocol


class Named(Protocol):
    """A value of one of TensorRT's enumerations."""

    @property
    def name(self) -> str:
        """Its name."""


class Tensor(Protocol):
    """An ``ITensor``, or a layer's ``Weights``."""

    name: str
    dtype: Named


class Layer(Protocol):
    """An ``ILayer``; only a convolution has a kernel."""

    name: str
    type: Named
    num_inputs: int
    num_outputs: int
    kernel: Tensor

    def get_input(self, index: int, /) -> Tensor | None:
        """Returns an input, None for one that is left out."""

    def get_output(self, index: int, /) -> Tensor:
        """Returns an output."""


class Network(Protocol):
    """An ``INetworkDefinition``."""

    num_layers: int

    def get_layer(self, index: int, /) -> Layer:
        """Returns a layer."""


class Context(Protocol):
    """An ``IExecutionContext``."""

    def set_tensor_address(self, name: str, address: int, /) -> bool:
        """Says where on the device a tensor lies."""

    def set_input_shape(self, name: str, shape: tuple[int, ...], /) -> bool:
        """Says how large an input is; False where the engine does not take it."""

    def execute_async_v3(self, stream: int, /) -> bool:
        """Queues a run; False where that fails."""


class RuntimeCache(Protocol):
    """An ``IRuntimeCache`` of TensorRT for RTX."""

    def serialize(self) -> bytes | None:
        """Returns the kernels compiled so far."""

    def deserialize(self, content: bytes, /) -> bool:
        """Takes kernels compiled before; False where they are of another GPU or version."""


class RuntimeConfig(Protocol):
    """An ``IRuntimeConfig`` of TensorRT for RTX."""

    def create_runtime_cache(self) -> RuntimeCache:
        """Returns an empty cache of kernels."""

    def set_runtime_cache(self, cache: RuntimeCache, /) -> bool:
        """Lets contexts take kernels from a cache and put them there."""


class Inspector(Protocol):
    """An ``EngineInspector``."""

    def get_engine_information(self, format: object, /) -> str:  # noqa: A002  # TensorRT's name
        """Returns a description of the engine's layers."""


class Engine(Protocol):
    """An ``ICudaEngine``."""

    num_io_tensors: int

    def get_tensor_name(self, index: int, /) -> str:
        """Returns the name of an input or output."""

    def get_tensor_mode(self, name: str, /) -> object:
        """Returns whether it is an input or an output."""

    def get_tensor_dtype(self, name: str, /) -> object:
        """Returns its type."""

    def get_tensor_shape(self, name: str, /) -> Sequence[int]:
        """Returns its shape, -1 for a side that varies."""

    def get_tensor_profile_shape(self, name: str, profile: int, /) -> Sequence[Sequence[int]]:
        """Returns an input's smallest, tuned and largest shape."""

    def create_execution_context(self, config: RuntimeConfig = ..., /) -> Context | None:
        """Returns a context, None where there is no memory for it."""

    def create_runtime_config(self) -> RuntimeConfig:
        """Returns how contexts shall be made; TensorRT for RTX alone uses it here."""

    def create_engine_inspector(self) -> Inspector:
        """Returns what describes the engine's layers."""
