"""One resumable state file: safetensors whose header carries the JSON, so that it is replaced as a whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from semise_sdk.errors import BundleError
from semise_sdk.system.atomic import write_bytes

FILE = "state.safetensors"


@dataclass(slots=True)
class Checkpoint:
    """Where a run stands.

    Args:
        stage: Name of the stage in progress, or of the last one finished.
        epoch: Epochs of it that are done.
        finished: Names of the finished stages.
        best: Figure of the best epoch so far, None where the stage selects nothing.
        optimizer: JSON part of the optimiser's state.
        tensors: ``model.*``, ``best.*`` and ``optimizer.*`` tensors.
    """

    stage: str = ""
    epoch: int = 0
    finished: list[str] = field(default_factory=list)
    best: float | None = None
    optimizer: dict[str, object] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes the state whole or not at all."""
        header = {"stage": self.stage, "epoch": self.epoch, "finished": self.finished, "best": self.best}
        metadata = {"semise": json.dumps(header | {"optimizer": self.optimizer})}
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        write_bytes(folder / FILE, save(contiguous, metadata))

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint":
        """Returns the saved state, a fresh one where none was saved; raises BundleError when damaged."""
        path = folder / FILE
        if not path.exists():
            return cls()
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads(file.metadata()["semise"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise BundleError(
                f"expected {path} to be a training state, found a damaged file ({type(error).__name__}): start anew"
            ) from error
        return cls(tensors=tensors, **header)

    def section(self, prefix: str) -> dict[str, Tensor]:
        """Returns the tensors below ``prefix``, their names without it."""
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}

    def put(self, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        """Replaces the tensors below ``prefix`` by copies of ``tensors``."""
        kept = {name: t for name, t in self.tensors.items() if not name.startswith(f"{prefix}.")}
        self.tensors = kept | {f"{prefix}.{name}": tensor.detach().clone() for name, tensor in tensors.items()}


def put_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Stores an optimiser's state: tensors as tensors, the rest as JSON."""
    state = optimizer.state_dict()
    tensors, plain = {}, {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                plain[f"{index}.{key}"] = value
    checkpoint.put("optimizer", tensors)
    checkpoint.optimizer = {"groups": state["param_groups"], "plain": plain}


def restore_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Gives an optimiser the stored state back."""
    state: dict[int, dict[str, object]] = {}
    plain = checkpoint.optimizer["plain"]
    assert isinstance(plain, dict)  # noqa: S101  # written by put_optimizer
    for name, value in {**checkpoint.section("optimizer"), **plain}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": checkpoint.optimizer["groups"]})


def state_digest(module: nn.Module) -> str:
    """Returns a sha256 over a module's whole state: proves that a frozen encoder stayed frozen."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return hashlib.sha256(save(state)).hexdigest()
