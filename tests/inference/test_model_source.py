"""A path becomes a model, or one sentence says why not, and nothing that was unpacked stays behind."""

import json
import tempfile
from pathlib import Path

import pytest

from semise_sdk.bundle import Bundle, pack
from semise_sdk.bundle.run_model import RunModel
from semise_sdk.errors import BackendError, BundleError
from semise_sdk.inference.model_source import open_source

ASKED = {"backend": "auto", "device": "cpu", "precision": "fp32"}


@pytest.fixture
def run(colour_bundle, tmp_path) -> Path:
    """A run folder without a bundle in it."""
    checkpoint = tmp_path / "run" / "checkpoint"
    checkpoint.mkdir(parents=True)
    with Bundle.open(colour_bundle) as bundle:
        (checkpoint / "model.json").write_text(json.dumps(bundle.model.to_json()))
    for name in ("model.safetensors", "references.safetensors"):
        (checkpoint / name).write_bytes(b"")
    return checkpoint.parent


def test_a_bundle_that_lacks_the_precision_leaves_nothing_unpacked(colour_bundle, tmp_path, monkeypatch):
    packed, scratch = tmp_path / "toy.semise", tmp_path / "scratch"
    pack(colour_bundle, packed)
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with pytest.raises(BundleError, match="expected graph encoder in fp16"):
        open_source(packed, **ASKED | {"precision": "fp16"})
    assert list(scratch.iterdir()) == []
    open_source(packed, **ASKED).close()
    assert list(scratch.iterdir()) == []


def test_a_run_folder_is_for_pytorch_in_fp32(run):
    found = open_source(run, **ASKED)
    assert isinstance(found, RunModel)
    with pytest.raises(BundleError, match="expected precision fp32 of run folder"):
        open_source(run, **ASKED | {"precision": "fp16"})
    with pytest.raises(BackendError, match="expected backend pytorch for run folder"):
        open_source(run, **ASKED | {"backend": "openvino"})


def test_a_run_folder_is_refused_where_a_signature_is_asked_for(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMISE_PUBLIC_KEY", str(tmp_path / "key.pub"))
    with pytest.raises(BundleError, match="expected a signed bundle, found run folder"):
        open_source(run, **ASKED)
