"""From a path to a model that may be used: verified, signed where that is asked for, with what it is to compute by."""

from pathlib import Path
from typing import Protocol

from semise_sdk.backends.registry import check_backend
from semise_sdk.bundle import MANIFEST, Bundle, GraphFile, GraphName, is_run, open_run
from semise_sdk.bundle.signing import PublicKey, required_key
from semise_sdk.calibration import Calibration
from semise_sdk.errors import BackendError, BundleError
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import ModelInfo, Precision


class ModelSource(Protocol):
    """Where a model comes from: a bundle, or a run folder."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def model(self) -> ModelInfo:
        """What it expects and consists of."""

    @property
    def sha256(self) -> str:
        """What names this model and no other."""

    def graph(self, name: GraphName, precision: Precision = "fp32") -> GraphFile:
        """Returns one graph; raises BundleError when there is none of that name and precision."""

    def references(self) -> ReferenceBank:
        """Returns its bank of healthy references; raises BundleError when it has none."""

    def reference_pictures(self) -> dict[int, bytes]:
        """Returns the PNG thumbnails of references by their place in the bank, none where it has none."""

    def calibration(self) -> Calibration | None:
        """Returns what its answers are judged by, None where it is not calibrated."""

    def close(self) -> None:
        """Removes what opening unpacked."""


def open_source(
    path: Path, *, backend: str, device: str, precision: Precision, public_key: PublicKey | None = None
) -> ModelSource:
    """Returns the bundle at ``path``, or the run folder that is there without one.

    Args:
        path: The bundle or run folder.
        backend: What it is to compute with; for a run folder ``auto`` or ``pytorch``.
        device: Where.
        precision: In what; for a run folder ``fp32``.
        public_key: The key that must have signed it (see :func:`semise_sdk.bundle.signing.required_key`).

    Raises:
        BundleError: it is damaged, altered or incomplete, lacks the precision, or is not signed by the key.
        BackendError: the backend or device cannot be used here.
        ConfigError: the key cannot be used.
    """
    source: ModelSource
    if is_run(path) and not (path / MANIFEST).exists():
        _check_run(path, backend=backend, device=device, public_key=public_key)
        source = open_run(path)
    else:
        check_backend(backend, device, precision)
        source = Bundle.open(path, public_key=public_key)
    try:
        source.graph("encoder", precision)
    except BundleError:
        source.close()
        raise
    return source


def _check_run(path: Path, *, backend: str, device: str, public_key: PublicKey | None) -> None:
    if backend not in ("auto", "pytorch"):
        raise BackendError(f"expected backend pytorch for run folder {path}, found {backend}: semise export it first")
    if required_key(public_key) is not None:
        raise BundleError(f"expected a signed bundle, found run folder {path}: semise export and semise sign it")
    check_backend("pytorch", device, "fp32")
