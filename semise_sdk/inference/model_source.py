"""From a path to a model that may be used: verified, signed where that is asked for, with what it is to compute by."""

from pathlib import Path

from semise_sdk.backends.registry import check_backend
from semise_sdk.bundle import MANIFEST, Bundle, RunModel, is_run, open_run
from semise_sdk.bundle.signing import PublicKey, required_key
from semise_sdk.errors import BackendError, BundleError
from semise_sdk.spec import Precision


def open_source(
    path: Path, *, backend: str, device: str, precision: Precision, public_key: PublicKey | None = None
) -> Bundle | RunModel:
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
    if is_run(path) and not (path / MANIFEST).exists():
        return _opened_run(path, backend=backend, device=device, precision=precision, public_key=public_key)
    check_backend(backend, device, precision)
    bundle = Bundle.open(path, public_key=public_key)
    try:
        bundle.graph("encoder", precision)
    except BundleError:
        bundle.close()
        raise
    return bundle


def _opened_run(
    path: Path, *, backend: str, device: str, precision: Precision, public_key: PublicKey | None
) -> RunModel:
    if backend not in ("auto", "pytorch"):
        raise BackendError(f"expected backend pytorch for run folder {path}, found {backend}: semise export it first")
    if required_key(public_key) is not None:
        raise BundleError(f"expected a signed bundle, found run folder {path}: semise export and semise sign it")
    check_backend("pytorch", device, "fp32")
    run = open_run(path)
    if precision != "fp32":
        raise BundleError(f"expected precision fp32 of run folder {path}, found {precision}: semise export it first")
    return run
