"""Run folders: a model that was trained here, without graphs, so for the pytorch backend only."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.bundle.graph_file import GraphFile, GraphName
from semise_sdk.bundle.integrity import hash_file
from semise_sdk.errors import BundleError
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import ModelInfo, Precision
from semise_sdk.system.json_fields import JsonSource

WEIGHTS = "model.safetensors"
REFERENCES = "references.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunModel:
    """The model of a finished run folder: weights and references, but no graphs, so for the pytorch backend only."""

    name: str
    model: ModelInfo
    weights: Path
    references_file: Path

    @property
    def sha256(self) -> str:
        """The sha256 of its weights and its description: it names this model and no other."""
        files = (self.weights, self.weights.with_name("model.json"))
        return hashlib.sha256(" ".join(map(hash_file, files)).encode()).hexdigest()

    def graph(self, name: GraphName, precision: Precision = "fp32") -> GraphFile:
        """Returns one graph, of which a run has the weights alone; raises BundleError for another precision."""
        if precision != "fp32":
            raise BundleError(
                f"expected precision fp32 of run folder {self.weights.parent.parent}, found {precision}: semise export "
                "it first"
            )
        return GraphFile(name=name, weights=self.weights)

    def references(self) -> ReferenceBank:
        """Returns the bank of healthy training images."""
        return ReferenceBank.from_file(self.references_file, mode=self.model.reference_mode)

    def reference_pictures(self) -> dict[int, bytes]:
        """Returns none: only a bundle carries thumbnails, where its export was asked for them."""
        return {}

    def calibration(self) -> None:
        """Returns None: a run is calibrated when it is exported."""

    def close(self) -> None:
        """Does nothing: a run folder holds nothing open."""


def is_run(path: Path) -> bool:
    """Returns whether ``path`` is a run folder with a finished model."""
    return (path / "checkpoint" / "model.json").is_file()


def open_run(path: str | os.PathLike[str]) -> RunModel:
    """Returns the model of a run folder.

    Raises:
        BundleError: the run is not finished, or its files are damaged.
    """
    run = Path(path)
    checkpoint = run / "checkpoint"
    if not is_run(run):
        raise BundleError(f"expected a finished run in {run}, found no checkpoint/model.json: semise train --resume")
    try:
        description = (checkpoint / "model.json").read_bytes()
    except OSError as error:
        raise BundleError(f"could not read {checkpoint / 'model.json'}: {error.strerror}; train again") from error
    model = JsonSource(str(checkpoint / "model.json"), BundleError, "train again").parse(description).of(ModelInfo)
    files = {"weights": checkpoint / WEIGHTS, "references_file": checkpoint / REFERENCES}
    for file in files.values():
        if not file.is_file():
            raise BundleError(f"expected {file}, found it missing: train again")
    return RunModel(name=model.name, model=model, **files)
