"""Training takes the cores that its process may use, not all that the machine has."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from semise_sdk.spec import InputSpec
from semise_sdk.system import machine
from semise_sdk.system.progress import SilentReporter
from semise_training.config import RuntimeConfig
from semise_training.data import cache
from semise_training.data.checks import inspection
from semise_training.data.manifest import load_manifest
from semise_training.network.device import resolve


@pytest.fixture
def three_of_sixty_four(monkeypatch, tmp_path):
    """A container that may use 3 of its machine's 64 cores."""
    quota = tmp_path / "cpu.max"
    quota.write_text("300000 100000")
    monkeypatch.setattr(machine, "_CPU_QUOTA", quota)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.usefixtures("three_of_sixty_four")
@pytest.mark.parametrize(("asked", "expected"), [(0, 3), (5, 5)])
def test_torch_has_a_thread_for_each_usable_core_unless_it_is_told_how_many(asked, expected, monkeypatch):
    found = []
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    resolve(RuntimeConfig(device="cpu", threads=asked))
    assert found == [expected]


@pytest.mark.usefixtures("three_of_sixty_four")
def test_images_are_decoded_by_a_thread_for_each_usable_core(phantoms, tmp_path, monkeypatch):
    found = []

    def pool(max_workers):
        found.append(max_workers)
        return ThreadPoolExecutor(max_workers)

    for module in (inspection, cache):
        monkeypatch.setattr(module, "ThreadPoolExecutor", pool)
    manifest = load_manifest(phantoms)
    inspection.inspect_manifest(manifest)
    spec = InputSpec(height=32, width=32)
    cache.build_cache(tmp_path / "cache", manifest.samples, spec, reporter=SilentReporter())
    assert found == [3, 3]
