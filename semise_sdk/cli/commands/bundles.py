"""``semise info`` and ``semise doctor``: what a bundle is, and what this machine can do with it."""

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from semise_sdk import __version__
from semise_sdk.backends import Availability, available, conflicts
from semise_sdk.bundle import MANIFEST, Bundle, is_run, open_run
from semise_sdk.bundle.manifest import BundleManifest, GraphEntry, TensorSpec
from semise_sdk.calibration import NO_CALIBRATION
from semise_sdk.cli.batch import find_bundle
from semise_sdk.cli.commands.export import parity_table
from semise_sdk.cli.console import JsonOption, PublicKeyOption, print_json, stdout
from semise_sdk.errors import EXIT_OK, EXIT_USAGE, OptionError
from semise_sdk.images.readers.dicom import PIP, Support, dicom_support
from semise_sdk.spec import ModelInfo
from semise_sdk.system.machine import has_nvidia_gpu, usable_cores, usable_memory


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("info")(info)
    app.command("doctor")(doctor)


def info(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle or run; the project's newest bundle by default.", show_default=False)
    ] = None,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prints what a bundle is: its model, its graphs, its parity figures and where it comes from."""
    path = find_bundle(bundle)
    if is_run(path) and not (path / MANIFEST).exists():
        if public_key is not None:
            raise OptionError("a bundle with --public-key", f"run folder {path}", "semise export and semise sign it")
        model = open_run(path).model
        if as_json:
            print_json({"model": model.to_json()})
        else:
            _print_pairs(_model_facts(model))
        return
    with Bundle.open(path, public_key=public_key) as opened:
        manifest, signature, calibration = opened.manifest, opened.signature, opened.calibration()
    facts = {"calibration": NO_CALIBRATION} if calibration is None else calibration.facts()
    if as_json:
        print_json({**manifest.to_json(), "calibration": facts, "signature": signature})
    else:
        _print_manifest(manifest, facts, signature)


def doctor(as_json: JsonOption = False) -> int:
    """Prints which backends work here, and which DICOM is read, with the pip command for what is missing.

    Exit code 2 if no backend works.
    """
    machine = machine_facts()
    backends = available()
    problems = [*conflicts(), *_idle_gpu(backends)]
    if as_json:
        rows = [_backend_json(entry) for entry in backends]
        print_json({**machine, "backends": rows, "images": _dicom_json(), "problems": problems})
    else:
        _print_pairs(machine)
        _print_backends(backends)
        _print_dicom(dicom_support())
        for problem in problems:
            stdout.print(Text(f"problem: {problem}"))
    return EXIT_OK if any(entry.is_available for entry in backends) else EXIT_USAGE


def machine_facts() -> dict[str, object]:
    """Returns what this process runs on."""
    memory = usable_memory()
    return {
        "semise": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": usable_cores(),
        "memory_gib": None if memory is None else round(memory / (1 << 30), 1),
        "nvidia_gpu": has_nvidia_gpu(),
    }


def _idle_gpu(backends: Iterable[Availability]) -> list[str]:
    uses_gpu = any("cuda" in entry.devices for entry in backends)
    if uses_gpu or not has_nvidia_gpu():
        return []
    return [
        "an NVIDIA GPU is present, but no backend can use it: pip uninstall -y onnxruntime, then "
        "pip install 'semise-sdk[gpu]'"
    ]


def _backend_json(entry: Availability) -> dict[str, object]:
    return {
        "name": entry.name,
        "available": entry.is_available,
        "version": entry.version,
        "devices": list(entry.devices),
        "reason": entry.reason,
        "install": "" if entry.is_available else entry.pip,
        "missing_devices": dict(entry.missing),
    }


def _print_backends(backends: Iterable[Availability]) -> None:
    table = Table("backend", "version", "devices", "state")
    for entry in backends:
        state = "ready" if entry.is_available else entry.reason
        table.add_row(entry.name, entry.version or "-", ", ".join(entry.devices) or "-", Text(state))
        for device, reason in entry.missing.items():
            table.add_row("", "", "", Text(f"not {device}: {reason}"))
    stdout.print(table)


def _dicom_json() -> list[dict[str, object]]:
    return [
        {"name": kind.name, "package": kind.package, "version": kind.version, "install": "" if kind.version else PIP}
        for kind in dicom_support()
    ]


def _print_dicom(kinds: Iterable[Support]) -> None:
    table = Table("images", "package", "version", "state")
    for kind in kinds:
        state = "ready" if kind.version else f"not installed: {PIP}"
        table.add_row(kind.name, kind.package, kind.version or "-", Text(state))
    stdout.print(table)


def _print_manifest(manifest: BundleManifest, calibration: Mapping[str, str], signature: str) -> None:
    facts = {
        "bundle": manifest.name,
        "intended use": manifest.intended_use,
        "created": f"{manifest.created} by semise {manifest.sdk_version}",
        **_model_facts(manifest.model),
        **calibration,
        "files": len(manifest.files) + 1,
        "signature": signature,
        **{f"provenance: {name}": value for name, value in manifest.provenance.items()},
    }
    _print_pairs(facts)
    graphs = Table("graph", "precision", "inputs", "outputs")
    for name, graph in manifest.graphs.items():
        graphs.add_row(Text(name), Text(graph.precision), *_tensor_texts(graph))
    stdout.print(graphs)
    if manifest.parity:
        stdout.print(parity_table(manifest.parity))


def _model_facts(model: ModelInfo) -> dict[str, object]:
    spec, network = model.spec, model.network
    return {
        "model": model.name,
        "labels": " < ".join(model.labels),
        "encoder": network.encoder,
        "input": f"{spec.width} x {spec.height}, {spec.fit}, {spec.interpolation}, {spec.intensity}, {spec.colour}",
        "dicom": f"{', '.join(spec.dicom.sop_classes)}; of several frames {spec.dicom.frames}",
        "severity": f"{network.vector_dim} numbers, {network.projection}, references by {model.reference_mode}",
        "classifier": f"{network.classes} grades" if model.has_classifier else "none",
        "mask": f"U-Net, threshold {model.mask_threshold:g}" if model.has_segmenter else "none",
    }


def _tensor_texts(graph: GraphEntry) -> tuple[Text, Text]:
    return _tensor_text(graph.inputs), _tensor_text(graph.outputs)


def _tensor_text(tensors: Mapping[str, TensorSpec]) -> Text:
    shapes = {name: " x ".join(map(str, spec.shape)) for name, spec in tensors.items()}
    return Text("\n".join(f"{name}: {tensors[name].dtype} {shape}" for name, shape in shapes.items()))


def _print_pairs(facts: Mapping[str, object]) -> None:
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(Text(name), Text("-" if value is None else str(value)))
    stdout.print(table)
