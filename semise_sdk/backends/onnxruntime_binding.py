"""ONNX Runtime's IO binding: what a run reads and writes on a GPU is allocated once and used again."""

import queue
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semise_sdk.backends.base import Arrays

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, OrtValue, RunOptions


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's tensors lie.

    Args:
        device: ``cpu``, or ``cuda`` for memory of its own on that GPU.
        index: Number of the GPU.
        is_resident: Whether inputs are copied into memory that stays bound; else the caller's own array is bound, and
            the provider fetches it from there.
    """

    device: str = "cpu"
    index: int = 0
    is_resident: bool = False


@dataclass(slots=True)
class _Lane:
    """One binding and its input buffers: a run's own for as long as it lasts."""

    binding: "IOBinding"
    buffers: "dict[tuple[str, tuple[int, ...]], OrtValue]" = field(default_factory=dict)


class BoundSession:
    """Runs a session through bindings, of which each run borrows one: any number of threads may run at once.

    Args:
        session: The session.
        outputs: Names of the outputs wanted.
        place: Where tensors lie.
    """

    def __init__(self, session: "InferenceSession", outputs: tuple[str, ...], place: Place) -> None:
        self._session = session
        self._outputs = outputs
        self._place = place
        self._idle: queue.SimpleQueue[_Lane] = queue.SimpleQueue()

    def run(self, inputs: Arrays, options: "RunOptions | None" = None) -> list[NDArray[np.generic]]:
        """Returns the outputs in order, in memory of the caller's own."""
        lane = self._borrow()
        try:
            for name, array in inputs.items():
                self._bind(lane, name, np.ascontiguousarray(array))
            for name in self._outputs:
                lane.binding.bind_output(name, self._place.device, self._place.index)
            lane.binding.synchronize_inputs()
            self._session.run_with_iobinding(lane.binding, options)
            lane.binding.synchronize_outputs()
            # On the CPU they are views of memory that the binding lets go of.
            return [np.array(values) for values in lane.binding.copy_outputs_to_cpu()]
        finally:
            lane.binding.clear_binding_inputs()
            lane.binding.clear_binding_outputs()
            self._idle.put(lane)

    def _borrow(self) -> _Lane:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return _Lane(self._session.io_binding())

    def _bind(self, lane: _Lane, name: str, array: NDArray[np.generic]) -> None:
        if not self._place.is_resident:
            lane.binding.bind_cpu_input(name, array)
            return
        key = (name, array.shape)
        if key not in lane.buffers:
            # The last batch of a stream is smaller: two shapes an input are kept, more would be memory for nothing.
            for old in [kept for kept in lane.buffers if kept[0] == name][:-1]:
                del lane.buffers[old]
            lane.buffers[key] = self._allocate(array)
        lane.buffers[key].update_inplace(array)
        lane.binding.bind_ortvalue_input(name, lane.buffers[key])

    def _allocate(self, array: NDArray[np.generic]) -> "OrtValue":
        import onnxruntime

        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            array.shape, array.dtype, self._place.device, self._place.index
        )
