"""How much of the gate's limits a candidate graph uses up on validation images: what int8 is steered by."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from semise_export.limits import ParityThresholds
from semise_sdk.metrics import c_index, mask_counts, pooled_dice
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.system.machine import usable_cores

Outputs = Mapping[str, NDArray[np.float32]]

_BATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Margin:
    """The gate's figures between candidate graphs and the fp32 graph, on canvases that lie in memory.

    Args:
        pixels: Validation images, ``uint8 [N, H, W, 3]``.
        wanted: What the fp32 graph says of them.
        bank: References that severity is measured from.
        classifier: The fp32 classifier's ONNX, None without one.
        levels: True grade of each image; none where unknown.
        limits: The gate's limits.
        mask_level: Mask logit above which a pixel belongs to the mask.
    """

    pixels: NDArray[np.uint8]
    wanted: Outputs
    bank: ReferenceBank
    classifier: bytes | None
    levels: NDArray[np.intp] | None
    limits: ParityThresholds
    mask_level: float = 0.0

    def used(self, graph: onnx.ModelProto) -> float:
        """Returns how much of its limit the tightest figure of a candidate graph uses up; 1 is the limit."""
        return max(self.shares(run_graph(graph.SerializeToString(), self.pixels)).values())

    def shares(self, found: Outputs) -> dict[str, float]:
        """Returns, for each figure of a candidate's outputs, how much of its limit is used up."""
        wanted = self.wanted
        before, after = self.bank.severity(wanted["severity_vector"]), self.bank.severity(found["severity_vector"])
        order = np.unique(before, return_inverse=True)[1]
        agreement = c_index(order, after)  # None where the fp32 graph gives all of them one severity
        shares = {
            "C-index of the ranking": 0.0 if agreement is None else _share(1 - agreement, 1 - self.limits.c_index)
        }
        if self.classifier is not None:
            flips = float((self._grades(wanted) != self._grades(found)).mean())
            shares["class flips"] = _share(flips, self.limits.class_flips)
        if "mask_logits" in wanted:
            dice = pooled_dice(self._counts(found))
            shares["pooled Dice"] = _share(1 - (1.0 if dice is None else dice), 1 - self.limits.pooled_dice)
        if self.levels is not None:
            loss = (c_index(self.levels, before) or 0.0) - (c_index(self.levels, after) or 0.0)
            shares["C-index against the grades"] = _share(loss, self.limits.task_c_index)
        return shares

    def _grades(self, outputs: Outputs) -> NDArray[np.intp]:
        logits = run_graph(self.classifier or b"", outputs["embedding"], name="embedding")["logits"]
        grades: NDArray[np.intp] = logits.argmax(axis=1)
        return grades

    def _counts(self, found: Outputs) -> NDArray[np.int64]:
        pairs = zip(self.wanted["mask_logits"], found["mask_logits"], strict=True)
        counts = [mask_counts(other > self.mask_level, one > self.mask_level) for one, other in pairs]
        return np.array(counts, np.int64).reshape(-1, 3)


def run_graph(content: bytes, values: NDArray[np.generic], *, name: str = "pixels") -> dict[str, NDArray[np.float32]]:
    """Returns every output of a graph with one input, computed by ONNX Runtime on the CPU in small batches."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cores()  # its own default knows no container's quota
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    outputs = [node.name for node in session.get_outputs()]
    batches = [session.run(outputs, {name: values[start : start + _BATCH]}) for start in range(0, len(values), _BATCH)]
    return {output: np.concatenate(parts) for output, parts in zip(outputs, zip(*batches, strict=True), strict=True)}


def _share(value: float, limit: float) -> float:
    return value / max(limit, 1e-9)
