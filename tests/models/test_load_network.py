import dataclasses
import time

import pytest
import torch
from safetensors.torch import save_file

from semise_sdk.errors import BundleError
from semise_sdk.models.network import EncoderGraph, load_network


@pytest.fixture(scope="module")
def network(random_network):
    return random_network()


@pytest.fixture
def weights(network, tmp_path):
    def write(change=lambda tensors: None):
        tensors = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
        change(tensors)
        save_file(tensors, tmp_path / "weights.safetensors")
        return tmp_path / "weights.safetensors"

    return write


def test_weights_come_back_as_they_were_saved(network, weights):
    loaded = load_network(network.config, weights())
    pixels = torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for found, expected in zip(EncoderGraph(loaded)(pixels), EncoderGraph(network)(pixels), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not loaded.training
    assert set(loaded.state_dict()) == set(network.state_dict())


def test_weights_of_before_there_was_a_centre_load(network, weights):
    def without(tensors):
        for name in [name for name in tensors if name.endswith("centre")]:
            del tensors[name]

    loaded = load_network(network.config, weights(without))
    assert all(not value.any() for name, value in loaded.state_dict().items() if name.endswith("centre"))


FIRST = "encoder.body.conv1.0.weight"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.update(extra=torch.zeros(1)),
        lambda tensors: tensors.update({FIRST: tensors[FIRST][:1]}),
        lambda tensors: tensors.update({FIRST: tensors[FIRST].double()}),
        lambda tensors: tensors.pop(FIRST),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused_by_name(network, weights, change):
    with pytest.raises(BundleError, match=r"first '(extra|encoder\.body\.conv1\.0\.weight)'"):
        load_network(network.config, weights(change))


def test_a_description_of_a_giant_network_takes_no_memory(network, weights):
    giant = dataclasses.replace(network.config, classifier_hidden=(60_000, 60_000))
    path, started = weights(), time.monotonic()
    with pytest.raises(BundleError, match="tensors are missing, of another shape"):
        load_network(giant, path)
    assert time.monotonic() - started < 20


def test_what_is_no_safetensors_is_refused(network, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(BundleError, match=r"to hold this network's weights, found .*header"):
        load_network(network.config, tmp_path / "weights.safetensors")
