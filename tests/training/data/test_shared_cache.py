"""The cache that several runs share: one decoding, and never half a cache."""

import numpy as np
import pytest

from semise_sdk.errors import DataError
from semise_sdk.spec import InputSpec
from semise_sdk.system.progress import SilentReporter
from semise_training.data.cache import build_cache, cache_key, shared_cache
from semise_training.data.manifest import load_manifest

SPEC = InputSpec(height=32, width=32)


class Counting(SilentReporter):
    decodings = 0

    def start(self, label, total):
        self.decodings += label == "decoding images"


def test_it_is_decoded_once_and_again_for_another_spec(phantoms, tmp_path):
    samples, reporter = load_manifest(phantoms).samples, Counting()
    first = shared_cache(tmp_path, samples, SPEC, reporter=reporter)
    again = shared_cache(tmp_path, samples, SPEC, reporter=reporter)
    assert reporter.decodings == 1
    assert np.array_equal(first.canvases, again.canvases)
    assert np.array_equal(first.masks, build_cache(tmp_path / "own", samples, SPEC, reporter=reporter).masks)
    other = InputSpec(height=40, width=40)
    assert shared_cache(tmp_path, samples, other, reporter=reporter).canvases.shape[1] == 40
    assert cache_key(samples, other) != cache_key(samples, SPEC)


def test_a_run_that_was_slower_takes_the_others_cache(phantoms, tmp_path, monkeypatch):
    samples = load_manifest(phantoms).samples
    fill = build_cache

    def filled_meanwhile(folder, *args, **kwargs):
        built = fill(folder, *args, **kwargs)
        if folder.name.startswith("."):
            fill(tmp_path / cache_key(samples, SPEC), *args, **kwargs)
        return built

    monkeypatch.setattr("semise_training.data.cache.build_cache", filled_meanwhile)
    found = shared_cache(tmp_path, samples, SPEC, reporter=SilentReporter())
    assert len(found.canvases) == len(samples)
    assert [path.name for path in tmp_path.iterdir()] == [cache_key(samples, SPEC)]


def test_what_cannot_be_decoded_leaves_nothing_behind(phantoms, tmp_path):
    import dataclasses

    first, *rest = load_manifest(phantoms).samples
    broken = dataclasses.replace(first, image=phantoms)
    with pytest.raises(DataError, match="could not be read"):
        shared_cache(tmp_path, (broken, *rest), SPEC, reporter=SilentReporter())
    assert list(tmp_path.iterdir()) == []
