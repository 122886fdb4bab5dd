"""From a run folder to a bundle: built beside its place, gated, and put there whole or not at all."""

import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath

from semise_export.gate.golden import write_golden, write_variant_golden
from semise_export.gate.parity import ParityRow, check_backend, gate_backends, refuse_failures, torch_answers
from semise_export.graphs.onnx import EXPORTER, EXPORTER_REASON, OPSET, OPSET_REASON, export_graphs, graph_entry
from semise_export.graphs.variants import Variant, write_variant
from semise_export.limits import LIMITS, MAX_IMAGES, ParityThresholds
from semise_export.model_card import model_card
from semise_export.run import CALIBRATION_PARTS, TrainedRun
from semise_export.thumbnails import write_reference_thumbnails
from semise_sdk.backends import BACKENDS
from semise_sdk.bundle import (
    MODEL_CARD,
    REFERENCE_PICTURES,
    REFERENCES,
    SUFFIX,
    WEIGHTS,
    Bundle,
    check_place,
    pack,
    write_manifest,
)
from semise_sdk.bundle.integrity import hash_file
from semise_sdk.bundle.manifest import GraphEntry
from semise_sdk.bundle.signing import own_work
from semise_sdk.calibration import CALIBRATION, TRAINING_IMAGES, Calibration, write_calibration
from semise_sdk.errors import BackendError, BundleError, OutputError
from semise_sdk.models.network import load_network
from semise_sdk.predictor import Predictor
from semise_sdk.spec import PRECISIONS, Precision
from semise_sdk.system.atomic import atomic_folder
from semise_sdk.system.progress import Reporter, SilentReporter
from semise_sdk.version import __version__
from semise_sdk.workflows.calibrate import calibrate, observe
from semise_sdk.workflows.verify import replay

_PACKAGES = (
    "torch",
    "timm",
    "segmentation-models-pytorch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "nncf",
)


@own_work()
def export_run(
    run: Path,
    *,
    out: Path | None = None,
    precisions: Sequence[Precision] = (),
    limits: Mapping[Precision, ParityThresholds] = LIMITS,
    backends: Sequence[str] | None = None,
    max_images: int = MAX_IMAGES,
    packed: bool = False,
    reference_thumbnails: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Exports a finished run and returns the folder of its bundle, which agrees with torch on the run's own images.

    A bundle that stands there already is replaced as a whole, and only by one that passed.

    Args:
        run: The run folder.
        out: Where the bundle goes; ``run/bundle`` by default.
        precisions: Beside fp32, which a bundle always carries. Those of a bundle that stands there already and has
            the same weights stay in it.
        limits: How far each precision may stray from torch.
        backends: Backends to check; all that are installed by default.
        max_images: How many of the run's validation and test images to check on.
        packed: Also writes the bundle as one ``.semise`` file beside its folder.
        reference_thumbnails: Also puts a thumbnail of each healthy reference into the bundle: pixels of patients.
        reporter: Receives progress.

    Raises:
        ParityError: the bundle's answers differ from torch's; nothing was written.
        BundleError: the run is unfinished or damaged.
        DataError: the images to check on are missing.
        BackendError: a backend asked for is missing, or none is installed.
        ConfigError: ``out`` holds something other than a bundle.
        OutputError: it could not be written.
    """
    listener = reporter or SilentReporter()
    trained = TrainedRun.open(run)
    given = out or run / "bundle"
    check_place(given)
    place = given.resolve()  # "." has no name to build beside
    chosen = gate_backends(backends)
    images = trained.gate_images(max_images)
    with atomic_folder(place) as folder:
        graphs = _write_model(trained, folder, reporter=listener)
        if reference_thumbnails:
            count = write_reference_thumbnails(trained, folder)
            listener.say(f"the bundle carries pixels of patients: thumbnails of {count} healthy references")
        gate = Gate(trained, folder, images, backends=chosen, limits=limits, reporter=listener)
        fp32 = Variant(precision="fp32", graphs=graphs)
        variants = [fp32]
        gate.check(variants)
        for precision in _wanted(precisions, place, folder):
            variants.append(
                write_variant(precision, folder, graphs, run=trained, limits=limits[precision], reporter=listener)
            )
            gate.check(variants)
        calibration = _calibrate(trained, folder, chosen[0], reporter=listener)
        _complete(trained, gate, variants, calibration)
        for variant in variants:
            for backend in gate.backends_of(variant.precision):
                replay(folder, backend=backend, precision=variant.precision).require_agreement()
    if packed:
        pack(place, place.with_name(place.name + SUFFIX))
    return given


def _write_model(trained: TrainedRun, folder: Path, *, reporter: Reporter) -> dict[str, GraphEntry]:
    """Writes graphs, weights, references and calibration; returns the graphs as the manifest names them."""
    sources = {WEIGHTS: "model.safetensors", REFERENCES: REFERENCES, CALIBRATION: CALIBRATION}
    if (trained.checkpoint / TRAINING_IMAGES).is_file():  # runs from before there was one have none
        sources[TRAINING_IMAGES] = TRAINING_IMAGES
    try:
        for target, source in sources.items():
            shutil.copyfile(trained.checkpoint / source, folder / target)
    except OSError as error:
        raise OutputError(f"could not copy {source} to {folder}: {error.strerror}; is the run complete?") from error
    network = load_network(trained.model.network, folder / WEIGHTS)
    reporter.say(f"exporting {trained.model.network.encoder} with {EXPORTER}, opset {OPSET}")
    files = export_graphs(network, trained.model.spec, folder)
    return {Path(file).stem: graph_entry(folder / file) for file in files}


class Gate:
    """The parity gate of one export: what every variant has to pass, and the figures of those that did.

    Args:
        trained: The run.
        folder: Where the bundle is being built.
        images: Validation and test images.
        backends: Backends to check on.
        limits: Limits of each precision.
        reporter: Receives progress and reasons.
    """

    def __init__(
        self,
        trained: TrainedRun,
        folder: Path,
        images: Sequence[Path],
        *,
        backends: Sequence[str],
        limits: Mapping[Precision, ParityThresholds],
        reporter: Reporter,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.rows: tuple[ParityRow, ...] = ()
        self._trained = trained
        self._images = images
        self._backends = backends
        self._reporter = reporter
        self._reference = torch_answers(trained.root, images, reporter=reporter)

    def backends_of(self, precision: Precision) -> tuple[str, ...]:
        """Returns the backends that compute in a precision."""
        computing = {entry.name for entry in BACKENDS if precision in entry.precisions}
        return tuple(name for name in self._backends if name in computing)

    def check(self, variants: Sequence[Variant]) -> None:
        """Checks the last of the variants on every backend that computes in it, and keeps its figures.

        Raises:
            ParityError: it does not agree with torch.
            BackendError: no backend here computes in its precision.
        """
        precision = variants[-1].precision
        backends = self.backends_of(precision)
        if not backends:
            raise BackendError(
                f"expected a backend that computes in {precision}, found {', '.join(self._backends)}: "
                "pip install 'semise-sdk[openvino]'"
            )
        write_manifest(self.folder, model=self._trained.model, graphs=_graphs(variants))
        rows = tuple(self._row(name, precision) for name in backends)
        for row in rows:
            for reason in row.reasons:
                self._reporter.say(f"{row.backend} {row.precision}: {reason}")
        refuse_failures(rows)
        self.rows += rows

    def _row(self, backend: str, precision: Precision) -> ParityRow:
        return check_backend(
            self.folder,
            self._images,
            backend=backend,
            precision=precision,
            reference=self._reference,
            levels=self._trained.levels(self._images),
            thresholds=self.limits[precision],
            reporter=self._reporter,
        )


def _calibrate(trained: TrainedRun, folder: Path, backend: str, *, reporter: Reporter) -> Calibration:
    """Holds the bundle's answers against the run's calibration part, else its validation part."""
    part, images = trained.calibration_images()
    with Predictor.open(folder, backend=backend, device="cpu", isolate=False, calibrated=False) as predictor:
        rows = predictor.iter_observed([image.image for image in images])
        observed = observe(predictor, images, rows=rows)
        calibration = calibrate(
            predictor, observed, source=f"part {part} of the run's split, {CALIBRATION_PARTS[part]}"
        )
    write_calibration(folder, calibration)
    for name, fact in calibration.facts().items():
        reporter.say(f"{name}: {fact}")
    return calibration


def _complete(trained: TrainedRun, gate: Gate, variants: Sequence[Variant], calibration: Calibration) -> None:
    """Writes golden files, model card and the final manifest."""
    folder = gate.folder
    with Predictor.open(trained.root, backend="pytorch", device="cpu", isolate=False) as predictor:
        write_golden(folder, predictor)
    for variant in variants[1:]:
        write_manifest(folder, model=trained.model, graphs=_graphs(variants))
        write_variant_golden(folder, variant.precision, gate.backends_of(variant.precision))
    try:
        card = model_card(trained, gate.rows, calibration, has_pictures=(folder / REFERENCE_PICTURES).is_dir())
        (folder / MODEL_CARD).write_text(card, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"could not write {MODEL_CARD}: {error.strerror}; free space or choose another --out"
        ) from error
    write_manifest(
        folder,
        model=trained.model,
        graphs=_graphs(variants),
        parity=tuple(row.to_json() for row in gate.rows),
        provenance=_provenance(trained, gate.limits, variants),
    )


def _graphs(variants: Sequence[Variant]) -> dict[str, GraphEntry]:
    return {key: entry for variant in variants for key, entry in variant.graphs.items()}


def _wanted(precisions: Sequence[Precision], place: Path, folder: Path) -> list[Precision]:
    """Returns the precisions to make, in a fixed order: those asked for, and those that would be lost without."""
    wanted = {*precisions, *_standing(place, folder)} - {"fp32"}
    return [precision for precision in PRECISIONS if precision in wanted]


def _standing(place: Path, folder: Path) -> tuple[Precision, ...]:
    """Returns what a bundle at ``place`` carries, if it is of the same weights as the one being built."""
    try:
        with Bundle.open(place) as standing:
            is_same = standing.manifest.files.get(WEIGHTS) == hash_file(folder / WEIGHTS)
            return standing.precisions if is_same else ()
    except BundleError:
        return ()


def _provenance(
    trained: TrainedRun, limits: Mapping[Precision, ParityThresholds], variants: Sequence[Variant]
) -> dict[str, object]:
    """Returns where the model comes from; no pixel, no name of a patient, no name of this machine."""
    return {
        "training": {
            "config": _without_folders(trained.config),
            "data_manifest_sha256": trained.manifest_sha256(),
            "images": {part: dict(count) for part, count in trained.counts().items()},
        },
        "export": {
            "exporter": EXPORTER,
            "exporter_reason": EXPORTER_REASON,
            "opset": OPSET,
            "opset_reason": OPSET_REASON,
            "parity_thresholds": {v.precision: limits[v.precision].to_json() for v in variants},
            "precisions": {v.precision: dict(v.notes) for v in variants if v.notes},
        },
        "versions": {"python": platform.python_version(), "semise-sdk": __version__, **_versions()},
    }


def _without_folders(value: object) -> object:
    """Returns configuration data with paths cut to their file names: folders tell of a site and its patients."""
    if isinstance(value, Mapping):
        return {key: _without_folders(entry) for key, entry in value.items()}
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
