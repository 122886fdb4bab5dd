"""Severity as cosine distance to healthy references, outside the graph so that any reference works with any backend."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from semise_sdk.errors import BundleError, OutputError, ReferenceImageError, SpecError
from semise_sdk.severity.cosine import cosine_distances, unit
from semise_sdk.severity.resamples import ResampledBank
from semise_sdk.spec import ReferenceMode

MAX_REFERENCES = 256
NEAREST = 5
SEVERITY_DECIMALS = 6


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceBank:
    """The vectors of healthy images, and how they become one distance.

    ``mean`` measures from the bank's mean direction, which ranks images exactly as the mean distance to all of them
    does; ``medoid`` from the member nearest to all others; ``median`` takes the median distance to the members;
    ``knn`` the mean of the 5 smallest (of all, where there are fewer).

    Args:
        vectors: ``float32 [M, D]``, M at least 1, any length but zero; kept as a read-only copy.
        mode: One of the four above.

    Raises:
        ReferenceImageError: no vectors, a zero or non-finite one, or vectors whose mean is zero in mode ``mean``.
        SpecError: ``vectors`` is not ``[M, D]`` or ``mode`` is unknown.

    Example:
        >>> bank = ReferenceBank(np.array([[1, 0], [1, 0]], dtype=np.float32))
        >>> bank.severity(np.array([[3, 0], [0, 2], [-1, 0]], dtype=np.float32))
        array([0., 1., 2.])
    """

    vectors: NDArray[np.float32]
    mode: ReferenceMode = "mean"
    _targets: NDArray[np.float64] = field(init=False, repr=False)
    _resamples: ResampledBank | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in get_args(ReferenceMode):
            raise SpecError(f"expected a reference mode of {', '.join(get_args(ReferenceMode))}, found {self.mode!r}")
        vectors = np.array(self.vectors, dtype=np.float32)
        _check_references(vectors)
        vectors.setflags(write=False)
        object.__setattr__(self, "vectors", vectors)
        members = unit(vectors)
        object.__setattr__(self, "_targets", _targets(members, self.mode))
        object.__setattr__(self, "_resamples", ResampledBank.of(members, self.mode, nearest=NEAREST))

    @classmethod
    def from_file(cls, path: Path, *, mode: ReferenceMode = "mean") -> Self:
        """Returns the bank that :meth:`save` wrote; raises BundleError as :meth:`from_bytes` does."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"expected {path} to hold reference vectors, found {error}") from error
        return cls.from_bytes(content, mode=mode, name=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, *, mode: ReferenceMode = "mean", name: str, width: int | None = None) -> Self:
        """Returns the bank in the content of a safetensors file.

        Args:
            content: The file's bytes.
            mode: How the vectors become one distance.
            name: The file's name, for errors.
            width: D that the vectors must have; None for any.

        Raises:
            BundleError: it is not safetensors with one usable ``vectors`` of float32 ``[M, D]``.
        """
        try:
            tensors = dict(deserialize(content))  # type: ignore[no-untyped-call]  # the wheel has no types for it
        except SafetensorError as error:
            raise BundleError(f"expected {name} to hold reference vectors, found {error}") from error
        found = {key: tensor["dtype"] for key, tensor in tensors.items()}
        if found != {"vectors": "F32"}:
            raise BundleError(f"expected {name} to hold one F32 tensor named vectors, found {found or 'none'}")
        shape = tensors["vectors"]["shape"]
        if len(shape) != 2 or (width is not None and shape[1] != width):
            raise BundleError(
                f"expected vectors of shape [M, {width or 'D'}] in {name}, found {shape}: export it again"
            )
        vectors = np.frombuffer(tensors["vectors"]["data"], "<f4").reshape(shape)
        try:
            return cls(vectors, mode)
        except (ReferenceImageError, SpecError) as error:
            raise BundleError(f"{name} holds no usable references: {error}; export the bundle again") from error

    def save(self, path: Path) -> None:
        """Writes the vectors to a safetensors file; raises OutputError where that fails."""
        try:
            save_file({"vectors": np.ascontiguousarray(self.vectors)}, path)
        except (SafetensorError, OSError) as error:
            raise OutputError(f"could not write {path}: {error}; free space or choose another place") from error

    def severity(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Returns the cosine distance ``[N]`` of image vectors ``[N, D]`` to the references, 0 to 2.

        Rounded to 6 decimals, the declared tolerance: rounding noise between batch sizes or backends neither breaks
        ties nor makes them, and an image measured from itself is exactly 0.

        Raises:
            SpecError: the vectors are not ``[N, D]``, or one of them is zero or not finite (see has_direction).
        """
        self._check_width(vectors, ndim=2)
        bad = np.flatnonzero(~has_direction(vectors))
        if bad.size:
            raise SpecError(
                f"expected finite, non-zero severity vectors, found {_fault(vectors[bad[0]])} in row {bad[0]}"
            )
        return self._distance(vectors)

    def resampled(self, vector: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """Returns the severity of one image's vector ``[D]`` by each seeded resample of the references, unrounded.

        How far they lie apart is how much the severity depends on which healthy images stand for healthy: see
        :mod:`semise_sdk.severity.resamples`. The same references in the same order give the same resamples, so that the
        severities of two images are paired.

        Returns:
            ``[RESAMPLES]``, 0 to 2; None where the bank is one image, which leaves nothing to draw from.
        """
        return None if self._resamples is None else self._resamples.severity(vector)

    def severity_map(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Returns the cosine distance ``[N, h, w]`` of ``severity_map_vectors [N, h, w, D]`` to the references, 0 to 2.

        A place whose vector is zero, where the encoder saw nothing, lies at distance 1.

        Raises:
            SpecError: the vectors are not ``[N, h, w, D]`` or not all finite.
        """
        self._check_width(vectors, ndim=4)
        if not np.isfinite(vectors).all():
            raise SpecError("expected finite severity map vectors, found NaN or infinity")
        places = vectors.reshape(-1, vectors.shape[-1])
        return self._distance(places).reshape(vectors.shape[:-1]).astype(np.float32)

    def nearest(self, vector: NDArray[np.floating]) -> int:
        """Returns the place in the bank of the reference that is nearest to one image's vector ``[D]`` by cosine.

        Raises:
            SpecError: the vector is not ``[D]``.
        """
        self._check_width(vector, ndim=1)
        return int(np.argmax(unit(self.vectors) @ unit(vector)))

    def _distance(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        distances = cosine_distances(unit(vectors), self._targets)
        if self.mode == "knn":
            k = min(NEAREST, distances.shape[1])
            distances = np.partition(distances, k - 1, axis=1)[:, :k]
        severity = np.median(distances, axis=1) if self.mode == "median" else distances.mean(axis=1)
        return np.round(severity, SEVERITY_DECIMALS)

    def _check_width(self, vectors: NDArray[np.floating], *, ndim: int) -> None:
        width = self.vectors.shape[1]
        if vectors.ndim != ndim or vectors.shape[-1] != width:
            raise SpecError(
                f"expected {ndim}-dimensional vectors of {width} numbers as the references have, found shape "
                f"{vectors.shape}; use references of the same model"
            )


def has_direction(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Returns, for vectors ``[..., D]``, where one is finite and not zero, so that it has a cosine distance."""
    return np.asarray(np.isfinite(vectors).all(axis=-1) & (vectors != 0).any(axis=-1))


def mean_direction(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the unit vector ``[D]`` of the mean of unit vectors: the recommended pi_0 of eq. 3.

    Raises:
        ReferenceImageError: vectors that are none, zero, non-finite or cancel out.
    """
    _check_references(vectors)
    return np.asarray(_targets(unit(vectors), "mean")[0])


def _check_references(vectors: NDArray[np.float32]) -> None:
    if vectors.size == 0:
        raise ReferenceImageError("expected at least one healthy reference image, found none")
    if vectors.ndim != 2:
        raise SpecError(f"expected reference vectors [M, D], found shape {vectors.shape}")
    bad = np.flatnonzero(~has_direction(vectors))
    if bad.size:
        raise ReferenceImageError(
            f"expected finite, non-zero reference vectors, found {_fault(vectors[bad[0]])} in reference {bad[0] + 1} "
            f"of {len(vectors)}; choose another image"
        )


def _fault(vector: NDArray[np.floating]) -> str:
    return "zeros alone" if np.isfinite(vector).all() else "NaN or infinity"


def _targets(units: NDArray[np.float64], mode: ReferenceMode) -> NDArray[np.float64]:
    """Returns the unit vectors ``[T, D]`` that ``mode`` measures from."""
    if mode in ("median", "knn"):
        return units
    if mode == "medoid":
        # rounded so that the choice among equals does not hang on the last bits of a sum
        to_others = np.round(cosine_distances(units, units).mean(axis=1), 2 * SEVERITY_DECIMALS)
        return units[[to_others.argmin()]]
    mean = units.mean(axis=0, keepdims=True)
    if np.linalg.norm(mean) < 1e-6:
        raise ReferenceImageError(
            f"expected references that share a direction, found {len(units)} that cancel out; choose other images"
        )
    return unit(mean)
