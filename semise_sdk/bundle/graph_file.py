"""One graph of an open model: its ONNX file, the weights behind it, and what must be true of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from semise_sdk.bundle.graph_lint.policy import check_policy
from semise_sdk.bundle.integrity import read_verified
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import BundleError
from semise_sdk.spec import Precision

GraphName = Literal["encoder", "classifier", "unet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFile:
    """One graph of an open model.

    Args:
        name: ``encoder``, ``classifier`` or ``unet``.
        precision: ``fp32``, or another precision that the bundle carries.
        path: Its ONNX file; None in a run folder, which has weights only.
        sha256: What that file was when the bundle was opened.
        inputs: Types and shapes of its inputs.
        outputs: Types and shapes of its outputs.
        weights: Weights of the whole network, for the pytorch backend; None where there are none.
        weights_sha256: What that file must be; None in a run folder, where nobody promised it.
    """

    name: GraphName
    precision: Precision = "fp32"
    path: Path | None = None
    sha256: str | None = None
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    outputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    weights: Path | None = None
    weights_sha256: str | None = None

    def read(self) -> bytes:
        """Returns the graph, proven again to be what the manifest promised: what is parsed is what was hashed.

        Raises:
            BundleError: there is none, it was altered since the bundle was opened, or it is no graph that ``semise
                export`` writes (see :func:`semise_sdk.bundle.graph_lint.policy.check_policy`).
        """
        if self.path is None or self.sha256 is None:
            raise BundleError(f"expected an ONNX file of graph {self.name}, found a run folder: semise export it first")
        content = read_verified(self.path, self.sha256)
        check_policy(content, inputs=self.inputs, outputs=self.outputs, name=self.path.name)
        return content
