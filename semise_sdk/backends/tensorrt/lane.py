"""One execution context of an engine with its memory: what a single thread runs a batch through."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semise_sdk.backends.base import Arrays
from semise_sdk.backends.tensorrt.bindings import Context, Engine, RuntimeCache, RuntimeConfig
from semise_sdk.backends.tensorrt.cuda import Buffer, DeviceMemory
from semise_sdk.backends.tensorrt.library import Library
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineShape:
    """What an engine takes and gives.

    Args:
        inputs: Types and shapes of its inputs; the batch is ``N``.
        outputs: Types and shapes of its outputs.
        minimum: Smallest batch that it takes.
        optimum: Batch that it is tuned for.
        maximum: Largest batch that it takes.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    minimum: int
    optimum: int
    maximum: int

    @classmethod
    def of(cls, library: Library, engine: Engine) -> Self:
        """Returns what a deserialized ``ICudaEngine`` says of itself."""
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == library.trt.TensorIOMode.INPUT for name in names}
        inputs = [name for name in names if is_input[name]]
        minimum, optimum, maximum = (int(shape[0]) for shape in engine.get_tensor_profile_shape(inputs[0], 0))
        return cls(
            inputs={name: _spec(library, engine, name) for name in inputs},
            outputs={name: _spec(library, engine, name) for name in names if not is_input[name]},
            minimum=minimum,
            optimum=optimum,
            maximum=maximum,
        )


class Contexts:
    """Makes the execution contexts of an engine; with TensorRT for RTX they share the kernels compiled for them.

    Args:
        library: The TensorRT that the engine runs in.
        engine: The deserialized ``ICudaEngine``.
        kernels: Kernels that an earlier process compiled, as :meth:`kernels` gave them; empty for none.
    """

    def __init__(self, library: Library, engine: Engine, kernels: bytes = b"") -> None:
        self._library = library
        self._engine = engine
        self._config: RuntimeConfig | None = None
        self._cache: RuntimeCache | None = None
        if library.is_rtx and hasattr(engine, "create_runtime_config"):
            self._config = engine.create_runtime_config()
            self._cache = self._config.create_runtime_cache()
            if kernels:
                self._cache.deserialize(kernels)  # it refuses those of another GPU or version, and compiles anew
            self._config.set_runtime_cache(self._cache)

    def make(self) -> Context:
        """Returns one more execution context; raises BackendError when there is no memory for it."""
        if self._config is None:
            context = self._engine.create_execution_context()
        else:
            context = self._engine.create_execution_context(self._config)
        if context is None:
            reason = self._library.reason("it gave no reason")
            raise BackendError(f"{self._library} could not prepare the engine to run: {reason}")
        return context

    def kernels(self) -> bytes:
        """Returns the kernels compiled so far; empty where they are part of the engine."""
        content = self._cache.serialize() if self._cache is not None else None
        return bytes(content) if content is not None else b""


class Lane:
    """An execution context with memory for the largest batch.

    Args:
        library: The TensorRT that it runs in.
        context: The ``IExecutionContext``.
        shape: What the engine takes and gives.
        memory: Its memory; closed with the lane.
    """

    def __init__(self, library: Library, context: Context, shape: EngineShape, memory: DeviceMemory) -> None:
        self._library = library
        self._context: Context | None = context
        self._shape = shape
        self._memory = memory
        self._buffers: dict[str, Buffer] = {}
        try:
            for name, spec in {**shape.inputs, **shape.outputs}.items():
                self._buffers[name] = memory.allocate(_row_bytes(spec) * shape.maximum)
                context.set_tensor_address(name, self._buffers[name].address)
        except BaseException:
            memory.close()
            raise

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Returns the outputs of one batch of a size that the engine takes, in memory of their own.

        Raises:
            BackendError: TensorRT or the GPU fails.
        """
        context = self._context
        if context is None:
            raise ValueError("expected an open lane")
        rows = len(next(iter(inputs.values())))
        self._memory.enter()
        for name, array in inputs.items():
            self._view(name, self._shape.inputs[name], rows)[...] = array
            self._memory.upload(self._buffers[name], array.nbytes)
            if not context.set_input_shape(name, array.shape):
                raise self._failure(f"input {name} {list(array.shape)}")
        if not context.execute_async_v3(self._memory.stream):
            raise self._failure(f"a batch of {rows}")
        for name, spec in self._shape.outputs.items():
            self._memory.download(self._buffers[name], _row_bytes(spec) * rows)
        self._memory.wait()
        return {name: self._view(name, spec, rows).copy() for name, spec in self._shape.outputs.items()}

    def close(self) -> None:
        """Frees the context and its memory."""
        self._context = None
        self._memory.close()

    def _view(self, name: str, spec: TensorSpec, rows: int) -> NDArray[np.generic]:
        shape = (rows, *_sides(spec))
        return self._buffers[name].host[: _row_bytes(spec) * rows].view(spec.dtype).reshape(shape)

    def _failure(self, what: str) -> BackendError:
        return BackendError(f"{self._library} could not run {what}: {self._library.reason('it gave no reason')}")


def _spec(library: Library, engine: Engine, name: str) -> TensorSpec:
    dtype = np.dtype(library.trt.nptype(engine.get_tensor_dtype(name)))
    batch, *sides = (int(side) for side in engine.get_tensor_shape(name))
    if batch != -1 or any(side < 0 for side in sides):
        raise BackendError(f"expected {name} to vary in its batch alone, found {[batch, *sides]}: export it again")
    return TensorSpec(str(dtype), ("N", *sides))


def _sides(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(side for side in spec.shape[1:] if isinstance(side, int))


def _row_bytes(spec: TensorSpec) -> int:
    return int(np.prod(_sides(spec), dtype=np.int64)) * np.dtype(spec.dtype).itemsize
