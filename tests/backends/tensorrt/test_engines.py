"""From graph to engine: built once, taken from the cache, and built again where what is kept does not fit."""

import dataclasses

import onnx
import pytest

from semise_sdk.backends.tensorrt.build import BatchProfile
from semise_sdk.backends.tensorrt.cuda import Gpu
from semise_sdk.backends.tensorrt.engines import RTX_CAPABILITIES, engine_key, obtain_engine
from semise_sdk.errors import BackendError

L4 = Gpu(index=0, name="NVIDIA L4", capability="8.9", driver="580.1")
H100 = Gpu(index=0, name="NVIDIA H100", capability="9.0", driver="580.1")


def renamed(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    model.producer_name = "another export"
    return model.SerializeToString()


@pytest.fixture
def obtain(library, cache):
    def run(graph, **options):
        return obtain_engine(library, graph, cache=cache, gpu=None, **options)

    return run


def test_an_engine_is_built_once_and_then_taken_from_the_cache(obtain, make_graph, cache):
    first = obtain(make_graph())
    assert (first.is_cached, first.reason) == (False, "none was built before")
    again = obtain(make_graph())
    assert (again.is_cached, again.reason) == (True, "")
    assert again.engine.content == first.engine.content
    assert again.engine.types == first.engine.types
    assert again.key.capability == "8.0+8.6+8.9+12.0"
    assert (again.key.gpu, again.key.driver) == ("", "")


def test_a_stale_engine_is_built_again(obtain, make_graph, graph_files):
    first = obtain(make_graph())
    content = renamed(graph_files["classifier", "fp32"].read_bytes())
    graph = dataclasses.replace(make_graph(), content=lambda: content)
    again = obtain(graph)
    assert not again.is_cached
    assert "none of this ONNX graph" in again.reason
    assert again.key.onnx_sha256 != first.key.onnx_sha256


def test_a_truncated_engine_is_built_again(obtain, make_graph, cache):
    path = cache.path(obtain(make_graph()).key)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    again = obtain(make_graph())
    assert not again.is_cached
    assert "truncated or altered" in again.reason
    assert len(path.read_bytes()) == len(again.engine.content) > len(whole) // 2
    assert obtain(make_graph()).is_cached


def test_an_engine_of_another_version_is_built_again_in_its_place(library, make_graph, cache):
    older = dataclasses.replace(library, version="1.6.0")
    obtain_engine(older, make_graph(), cache=cache, gpu=None)
    again = obtain_engine(library, make_graph(), cache=cache, gpu=None)
    assert again.reason == f"it was built for version 1.6.0, wanted is {library.version}"
    assert len(list(cache.folder.glob("*.engine"))) == 1


def test_the_batch_sizes_asked_for_at_export_are_those_of_the_runtime(obtain, make_graph):
    asked = BatchProfile(minimum=1, optimum=4, maximum=8)
    assert obtain(make_graph(), profile=asked).key.profile == asked
    assert obtain(make_graph()).is_cached
    assert obtain(make_graph()).key.profile == asked
    assert not obtain(make_graph(), profile=BatchProfile()).is_cached


def test_a_refused_graph_leaves_nothing_in_the_cache(obtain, make_graph, cache):
    with pytest.raises(BackendError, match="expected graph classifier in fp16"):
        obtain(make_graph(said="fp16"))
    assert list(cache.folder.iterdir()) == []


def test_the_key_holds_the_gpu_unless_the_engine_is_portable(library, make_graph):
    def key(library, gpu):
        return engine_key(library, make_graph(), gpu=gpu, profile=BatchProfile(), onnx_sha256="ab" * 32)

    ahead = key(library, None)
    assert key(library, L4) == ahead  # what was built without a GPU is what its GPUs run
    assert ahead.capability == "+".join(RTX_CAPABILITIES)
    alone = key(library, H100)
    assert (alone.gpu, alone.capability, alone.driver) == ("NVIDIA H100", "9.0", "580.1")
    tensorrt = dataclasses.replace(library, is_rtx=False)
    bound = key(tensorrt, L4)
    assert (bound.gpu, bound.capability, bound.driver) == ("NVIDIA L4", "8.9", "580.1")
    with pytest.raises(BackendError, match=r"expected a GPU to build with TensorRT .*'semise-sdk\[rtx\]'"):
        key(tensorrt, None)
