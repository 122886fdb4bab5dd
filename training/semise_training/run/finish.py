"""What a finished run leaves for evaluation and export: weights, references and the model's description."""

import json
import tempfile
from pathlib import Path

from safetensors.torch import save

from semise_sdk.calibration import TRAINING_IMAGES, save_training_hashes
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import ModelInfo
from semise_sdk.system.atomic import write_bytes, write_text
from semise_training.config import TrainConfig
from semise_training.loop.run_folder import RunFolder
from semise_training.network.embedding import embed
from semise_training.stages.upstream import Upstream


def write_model(run: RunFolder, config: TrainConfig, upstream: Upstream, *, temperature: float = 1.0) -> None:
    """Writes the files of ``checkpoint/`` that evaluation and export start from.

    They are ``model.safetensors``, ``references.safetensors``, ``calibration.json``, ``training_images.safetensors``
    (hashes, so that nobody calibrates on images that the model has seen) and ``model.json``.

    ``temperature`` is what the classifier's logits were divided by; it is only recorded. ``model.json``
    comes last: where it stands, the run is finished.
    """
    network = upstream.model.network.float()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_bytes(run.checkpoint / "model.safetensors", save(tensors))
    bank = ReferenceBank(upstream.healthy_vectors(full_precision=True).reference, config.heads.reference_mode)
    _save_bank(bank, run.checkpoint / "references.safetensors")
    calibration = _calibration(upstream, bank) | {"classifier_temperature": temperature}
    write_text(run.checkpoint / "calibration.json", json.dumps(calibration, indent=2))
    learned = [*upstream.dataset.parts["train"], *upstream.dataset.unlabeled]
    write_bytes(run.checkpoint / TRAINING_IMAGES, save_training_hashes(upstream.dataset.canvases[i] for i in learned))
    model = ModelInfo(
        name=config.name,
        spec=config.input.spec(),
        labels=upstream.dataset.labels,
        network=network.config,
        reference_mode=config.heads.reference_mode,
    )
    write_text(run.checkpoint / "model.json", json.dumps(model.to_json(), indent=2))


def _save_bank(bank: ReferenceBank, path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bank.save(Path(scratch) / "bank")
        write_bytes(path, (Path(scratch) / "bank").read_bytes())


def _calibration(upstream: Upstream, bank: ReferenceBank) -> dict[str, object]:
    """Returns the severities of held-out healthy images; training's own lie too near to the reference."""
    # Images that no head was selected on, where the split keeps some.
    part = "calibration" if len(upstream.dataset.healthy("calibration")) else "val"
    indices = upstream.dataset.healthy(part)
    vectors = embed(upstream.model.network, upstream.dataset, indices, compute=upstream.compute.full_precision())
    severities = sorted(float(value) for value in bank.severity(vectors.severity))
    return {
        "schema": 1,
        "source": f"healthy images of part {part}",
        "n": len(severities),
        "healthy_severity": severities,
    }
