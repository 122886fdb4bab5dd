"""Bundles and run folders: a model with everything it needs, verified before any parser touches it."""

import hashlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from semise_sdk.bundle import signing
from semise_sdk.bundle.archive import extract
from semise_sdk.bundle.graph_file import GraphFile, GraphName
from semise_sdk.bundle.graph_tensors import check_interface
from semise_sdk.bundle.integrity import list_files, read_limited, read_verified, verify
from semise_sdk.bundle.manifest import BundleManifest
from semise_sdk.bundle.run_model import REFERENCES, RunModel, is_run, open_run
from semise_sdk.bundle.signing import SIGNATURE, PublicKey, check_signature, required_key
from semise_sdk.calibration import (
    CALIBRATION,
    CALIBRATION_TENSORS,
    TRAINING_IMAGES,
    Calibration,
    read_calibration,
)
from semise_sdk.errors import BundleError
from semise_sdk.severity.reference_bank import MAX_REFERENCES, ReferenceBank
from semise_sdk.spec import PRECISIONS, ModelInfo, Precision

# fmt: off
__all__ = [
    "CALIBRATION", "GOLDEN", "MANIFEST", "MODEL_CARD", "MODEL_FILES", "REFERENCES", "SUFFIX", "WEIGHTS", "Bundle",
    "GraphFile", "GraphName", "RunModel", "is_run", "open_run",
]
# fmt: on

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
MODEL_CARD = "MODEL_CARD.md"
GOLDEN = "golden/"
REFERENCE_PICTURES = "references/"
MODEL_FILES = (WEIGHTS, REFERENCES, CALIBRATION, CALIBRATION_TENSORS, TRAINING_IMAGES, GOLDEN, MODEL_CARD)
SUFFIX = ".semise"

MAX_MANIFEST_BYTES = 16 << 20


class Bundle:
    """A verified bundle, open until :meth:`close`.

    Every file is hashed before any parser touches it; what the manifest does not list is refused.

    Args:
        folder: The bundle's folder.
        manifest: Its manifest.
        scratch: A temporary folder that goes with the bundle, where a ``.semise`` file was unpacked.
        signed_by: Fingerprint of the key that its signature was checked with; None where none was asked for.
    """

    def __init__(
        self, folder: Path, manifest: BundleManifest, *, scratch: Path | None = None, signed_by: str | None = None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.signed_by = signed_by
        self._finalizer = weakref.finalize(self, _remove, scratch, os.getpid()) if scratch else None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, public_key: PublicKey | None = None) -> Self:
        """Returns the bundle in a folder or in a ``.semise`` file.

        Args:
            path: Where it is.
            public_key: The key that must have signed it; ``$SEMISE_PUBLIC_KEY`` by default. Without either, a
                signature is not looked at.

        Raises:
            BundleError: there is none, it is damaged, altered, incomplete or holds what no bundle holds, or it is not
                signed by the key.
            ConfigError: the key cannot be used.
        """
        where, key = Path(path), required_key(public_key)
        if where.is_dir():
            manifest, signed_by = _verified_manifest(where, key)
            return cls(where, manifest, signed_by=signed_by)
        if not where.is_file():
            raise BundleError(f"expected a bundle, found nothing at {where}: make one with semise export RUN")
        scratch = Path(tempfile.mkdtemp(prefix="semise-"))  # only its owner may enter it
        try:
            extract(where, scratch)
            manifest, signed_by = _verified_manifest(scratch, key)
            return cls(scratch, manifest, scratch=scratch, signed_by=signed_by)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    @property
    def sha256(self) -> str:
        """The sha256 of the manifest, which holds that of every other file: it names this bundle and no other.

        Raises:
            BundleError: the manifest was altered since the bundle was opened.
        """
        try:
            content = (self.folder / MANIFEST).read_bytes()
        except OSError as error:
            raise BundleError(f"could not read {self.folder / MANIFEST}: {error.strerror}; get it again") from error
        if BundleManifest.from_json(content) != self.manifest:
            raise BundleError(f"expected {MANIFEST} as it was opened, found it altered: get the bundle again")
        return hashlib.sha256(content).hexdigest()

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.manifest.name

    @property
    def model(self) -> ModelInfo:
        """The model's description."""
        return self.manifest.model

    @property
    def is_signed(self) -> bool:
        """Whether it carries a signature, checked or not."""
        return (self.folder / SIGNATURE).exists()

    @property
    def signature(self) -> str:
        """What is known of its signature, in a few words."""
        if self.signed_by is not None:
            return f"of {self.signed_by}"
        return "not checked: give --public-key" if self.is_signed else "none"

    def path(self, name: str) -> Path:
        """Returns where a file of the bundle lies; raises BundleError when the manifest does not list it."""
        if name not in self.manifest.files:
            raise BundleError(f"expected {name} in bundle {self.name}, found none: export it again with this SDK")
        return self.folder / name

    def read(self, name: str) -> bytes:
        """Returns the content of a file of the bundle, proven again to be what the manifest promised."""
        return read_verified(self.path(name), self.manifest.files[name])

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that the bundle carries its graphs in, ``fp32`` first."""
        carried = {graph.precision for graph in self.manifest.graphs.values()}
        return tuple(precision for precision in PRECISIONS if precision in carried)

    def graph(self, name: GraphName, precision: Precision = "fp32") -> GraphFile:
        """Returns one graph; raises BundleError when the bundle carries none of that name and precision.

        It takes and gives what the model's description says, as the manifest tells it.
        """
        entry = self.manifest.graphs.get(name if precision == "fp32" else f"{name}_{precision}")
        if entry is None or entry.precision != precision:
            found = ", ".join(sorted(self.manifest.graphs))
            raise BundleError(
                f"expected graph {name} in {precision} in bundle {self.name}, found {found}: add it with semise export "
                f"RUN --precision {precision}"
            )
        check_interface(self.model, name, entry)
        return GraphFile(
            name=name,
            precision=precision,
            path=self.path(entry.file),
            sha256=self.manifest.files[entry.file],
            inputs=entry.inputs,
            outputs=entry.outputs,
            weights=self.path(WEIGHTS) if WEIGHTS in self.manifest.files else None,
            weights_sha256=self.manifest.files.get(WEIGHTS),
        )

    def references(self) -> ReferenceBank:
        """Returns the bundle's bank of healthy references; raises BundleError when it has none."""
        content, width = self.read(REFERENCES), self.model.network.vector_dim
        return ReferenceBank.from_bytes(content, mode=self.model.reference_mode, name=REFERENCES, width=width)

    def reference_pictures(self) -> dict[int, bytes]:
        """Returns the PNG thumbnails of its references by their place in the bank; none unless exported with them."""
        found = {index: reference_picture(index) for index in range(MAX_REFERENCES)}
        return {index: self.read(name) for index, name in found.items() if name in self.manifest.files}

    def calibration(self) -> Calibration | None:
        """Returns the calibration of the bundle's answers, None where it has none; BundleError: it is damaged."""
        if CALIBRATION not in self.manifest.files:
            return None
        tensors = self.read(CALIBRATION_TENSORS) if CALIBRATION_TENSORS in self.manifest.files else None
        return read_calibration(self.read(CALIBRATION), tensors, self.model)

    @property
    def weights(self) -> Path:
        """The weights for the pytorch backend; raises BundleError when the bundle has none."""
        return self.path(WEIGHTS)

    def close(self) -> None:
        """Removes what opening unpacked; the bundle's own files stay."""
        if self._finalizer is not None:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def reference_picture(index: int) -> str:
    """Returns the name in a bundle of the thumbnail of the reference at ``index`` of its bank."""
    return f"{REFERENCE_PICTURES}{index:04d}.png"


def _verified_manifest(folder: Path, key: PublicKey | None) -> tuple[BundleManifest, str | None]:
    if not (folder / MANIFEST).is_file():
        hint = f"give {folder / 'bundle'}, or semise export {folder}" if is_run(folder) else "get the bundle again"
        raise BundleError(f"expected {MANIFEST} in {folder}, found none: {hint}")
    files = list_files(folder)
    content, signature = read_limited(files.pop(MANIFEST), MAX_MANIFEST_BYTES), files.pop(SIGNATURE, None)
    signed_by = None
    if key is not None:
        found = None if signature is None else read_limited(signature, signing.MAX_BYTES)
        signed_by = check_signature(content, found, key)
    manifest = BundleManifest.from_json(content)
    verify(files, manifest.files)
    return manifest, signed_by


def _remove(folder: Path, owner: int) -> None:
    # A forked child must not take away what its parent still reads.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
