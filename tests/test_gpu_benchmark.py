"""``benchmarks/gpu.py`` where there is no GPU: what it skips and why, and its own arithmetic tried on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from semise_sdk.system.machine import has_nvidia_gpu

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"
SECTIONS = ["training", "quality", "engines", "torch", "parity"]


def run_script(tmp_path: Path, *arguments: str) -> tuple[str, dict[str, object]]:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--json", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text())


@pytest.mark.skipif(has_nvidia_gpu(), reason="needs a machine without an NVIDIA GPU")
def test_without_a_gpu_every_section_is_skipped_with_its_reason(tmp_path):
    printed, report = run_script(tmp_path)
    assert [section["section"] for section in report["sections"]] == SECTIONS
    for section in report["sections"]:
        assert section["status"] == "skipped"
        assert section["reason"] == "needs an NVIDIA GPU, none is there"
        assert f"{section['section']} (" in printed
    assert {"command", "commit", "machine", "date"} <= set(report)
    assert report["machine"]["versions"]["torch"]


def test_a_section_that_fails_is_recorded_and_the_rest_goes_on(tmp_path):
    size = ["--size", "32", "--batch", "6", "--steps", "1", "--precision", "fp32", "--encoder", "test_resnet"]
    missing = str(tmp_path / "none")
    _, report = run_script(
        tmp_path, "--device", "cpu", *size, "--bundle", missing, "--only", "training", "torch", "--seconds", "0"
    )
    found = {section["section"]: section for section in report["sections"]}
    assert [row["phase"] for row in found["training"]["rows"]] == ["phase1", "phase2"]
    for row in found["training"]["rows"]:
        assert row["images_per_second"] > 0
        # The rates are printed to a tenth: on a busy machine that is a part of a slow one.
        rounding = 0.05 / row["resident_images_per_second"] + 0.05 / row["images_per_second"]
        quotient = row["images_per_second"] / row["resident_images_per_second"]
        assert row["ratio"] == pytest.approx(quotient, rel=rounding, abs=0.01)
    assert found["torch"]["status"] == "failed"
    assert found["torch"]["reason"].startswith("BundleError: expected a bundle, found nothing at")
    assert found["quality"]["status"] == found["parity"]["status"] == "skipped"
    assert found["quality"]["reason"] == "only training, torch was asked for"
