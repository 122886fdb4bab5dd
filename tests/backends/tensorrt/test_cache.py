"""The cache of engines: what is taken out of it, what is refused with its reason, and who may write to it."""

import dataclasses
import json
import os
import stat

import pytest

from semise_sdk.backends.tensorrt import cache as caches
from semise_sdk.backends.tensorrt.build import BatchProfile, BuiltEngine
from semise_sdk.backends.tensorrt.cache import EngineCache, EngineKey
from semise_sdk.backends.tensorrt.precision import NetworkTypes
from semise_sdk.errors import BackendError, OutputError

KEY = EngineKey(
    graph="encoder",
    onnx_sha256="ab" * 32,
    precision="fp16",
    profile=BatchProfile(),
    library="TensorRT",
    version="11.4",
    gpu="NVIDIA L4",
    capability="8.9",
    driver="580.1",
)
ENGINE = BuiltEngine(
    content=b"engine" * 100,
    seconds=1.25,
    types=NetworkTypes(layers=3, products={"fp16": 2}, tensors={"fp16": 2, "fp32": 1}, strays=()),
)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_is_found_again_with_its_types(cache):
    assert cache.lookup(KEY).reason == "none was built before"
    cache.store(KEY, ENGINE)
    found = cache.lookup(KEY)
    assert found.reason == ""
    assert found.engine == ENGINE


def test_folder_and_files_are_for_their_owner_alone(cache):
    before = os.umask(0)
    try:
        again = EngineCache.open(cache.folder.parent / "other")
        again.store(KEY, ENGINE)
        again.keep_notes("timing", b"notes")
    finally:
        os.umask(before)
    assert mode(again.folder) == 0o700
    assert {mode(path) for path in again.folder.iterdir()} == {0o600}
    assert len(list(again.folder.iterdir())) == 3


@pytest.mark.parametrize("which", [".", "engines"])
@pytest.mark.parametrize("open_to", [0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path, which, open_to):
    EngineCache.open(tmp_path / "cache")
    (tmp_path / "cache" / which).chmod(open_to)
    with pytest.raises(BackendError, match=rf"yours alone to write, found mode {open_to:o}: chmod go-w"):
        EngineCache.open(tmp_path / "cache")


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    EngineCache.open(tmp_path / "cache")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(BackendError, match=r"to be yours, found it owned by user \d+: name another folder"):
        EngineCache.open(tmp_path / "cache")


def test_a_link_or_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackendError, match="to be a folder, found a link"):
        EngineCache.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="SEMISE_CACHE"):
        EngineCache.open(tmp_path / "file")


def test_the_folder_is_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMISE_CACHE", str(tmp_path / "named"))
    assert EngineCache.open().folder == tmp_path / "named" / "engines"
    monkeypatch.delenv("SEMISE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert EngineCache.open().folder == tmp_path / ".cache" / "semise" / "engines"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": "11.5"}, "built for version 11.4, wanted is 11.5"),
        ({"driver": "590.2"}, "built for driver 580.1, wanted is 590.2"),
        ({"profile": BatchProfile(maximum=32)}, "built for profile 1/16/64, wanted is 1/16/32"),
        ({"onnx_sha256": "cd" * 32}, "1 engines of graph encoder in fp16 are kept, none of this ONNX graph and GPU"),
        ({"gpu": "NVIDIA T4"}, "none of this ONNX graph and GPU"),
        ({"capability": "7.5"}, "none of this ONNX graph and GPU"),
        ({"library": "TensorRT-RTX"}, "none of this ONNX graph and GPU"),
        ({"precision": "int8"}, "none was built before"),
        ({"graph": "unet"}, "none was built before"),
    ],
)
def test_an_engine_of_another_key_is_not_used(cache, change, reason):
    cache.store(KEY, ENGINE)
    found = cache.lookup(dataclasses.replace(KEY, **change))
    assert found.engine is None
    assert reason in found.reason


def test_an_engine_put_in_the_place_of_another_is_not_used(cache):
    other = dataclasses.replace(KEY, onnx_sha256="cd" * 32)
    cache.store(KEY, ENGINE)
    for suffix in (".engine", ".json"):
        cache.path(KEY).with_suffix(suffix).rename(cache.path(other).with_suffix(suffix))
    assert f"built for onnx_sha256 {'ab' * 32}" in cache.lookup(other).reason


@pytest.mark.parametrize("content", [ENGINE.content[:-1], b"", ENGINE.content.replace(b"g", b"h", 1)])
def test_a_truncated_or_altered_engine_is_not_used(cache, content):
    cache.store(KEY, ENGINE)
    cache.path(KEY).write_bytes(content)
    found = cache.lookup(KEY)
    assert found.engine is None
    assert "truncated or altered" in found.reason


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 2}', '{"schema": 1}', "null"])
def test_a_damaged_description_makes_an_engine_unusable(cache, text):
    cache.store(KEY, ENGINE)
    cache.path(KEY).with_suffix(".json").write_text(text)
    found = cache.lookup(KEY)
    assert found.engine is None
    assert found.reason


def test_a_description_without_types_makes_an_engine_unusable(cache):
    cache.store(KEY, ENGINE)
    description = cache.path(KEY).with_suffix(".json")
    description.write_text(json.dumps(json.loads(description.read_text()) | {"types": None}))
    assert "expected the types of a network" in cache.lookup(KEY).reason


def test_links_and_files_that_others_may_write_to_are_not_followed(cache, tmp_path):
    cache.store(KEY, ENGINE)
    path = cache.path(KEY)
    path.chmod(0o666)
    assert "not yours alone to write" in cache.lookup(KEY).reason
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "cannot be read" in cache.lookup(KEY).reason


def test_a_new_version_takes_the_place_of_the_old_one(cache):
    newer = dataclasses.replace(KEY, version="11.5", driver="590.2")
    cache.store(KEY, ENGINE)
    cache.store(newer, ENGINE)
    assert len(list(cache.folder.glob("*.engine"))) == 1
    assert cache.lookup(newer).engine == ENGINE


def test_engines_unused_for_longest_go_first(cache, monkeypatch):
    monkeypatch.setattr(caches, "_KEPT_BESIDE", 2)
    keys = [dataclasses.replace(KEY, onnx_sha256=digit * 64) for digit in "0123"]
    unrelated = dataclasses.replace(KEY, graph="unet")
    for age, key in enumerate([*keys[:3], unrelated]):
        cache.store(key, ENGINE)
        os.utime(cache.path(key), (1000 + age, 1000 + age))
    assert cache.lookup(keys[0]).engine is not None  # used just now
    cache.store(keys[3], ENGINE)
    assert [cache.lookup(key).engine is not None for key in keys] == [True, False, True, True]
    assert cache.lookup(unrelated).engine is not None
    assert len(list(cache.folder.iterdir())) == 8


def test_the_batch_sizes_of_a_kept_engine_are_known(cache):
    assert cache.kept_profile(KEY) is None
    cache.store(dataclasses.replace(KEY, profile=BatchProfile(maximum=128)), ENGINE)
    assert cache.kept_profile(KEY) == BatchProfile(maximum=128)
    cache.path(KEY).with_suffix(".json").write_text('{"key": {"profile": "x"}}')
    assert cache.kept_profile(KEY) is None


def test_what_is_discarded_is_gone(cache):
    cache.store(KEY, ENGINE)
    cache.discard(KEY)
    cache.discard(KEY)
    assert list(cache.folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_says_so(cache):
    cache.folder.rmdir()
    cache.folder.write_text("no folder")
    with pytest.raises(OutputError, match="could not write"):
        cache.store(KEY, ENGINE)


def test_notes_are_kept_and_missing_ones_are_empty(cache):
    assert cache.notes("timing") == b""
    cache.keep_notes("timing", b"abc")
    assert cache.notes("timing") == b"abc"
