import pytest
import torch
from torch import nn

from semise_sdk.errors import BundleError
from semise_training.loop.checkpoint import FILE, Checkpoint, put_optimizer, restore_optimizer, state_digest


def trained(optimizer_class, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = optimizer_class([{"params": list(model.parameters()), "base_lr": 0.1}], lr=0.1, **options)
    for step in range(3):
        descend(model, optimizer, step)
    return model, optimizer


def descend(model, optimizer, step):
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(("kind", "options"), [(torch.optim.AdamW, {}), (torch.optim.SGD, {"momentum": 0.9})])
def test_a_restored_optimizer_goes_on_exactly_as_the_first(kind, options, tmp_path):
    model, optimizer = trained(kind, **options)
    checkpoint = Checkpoint(stage="phase1", epoch=3, finished=["cache"], best=0.5)
    checkpoint.put("model", model.state_dict())
    put_optimizer(checkpoint, optimizer)
    checkpoint.save(tmp_path)
    descend(model, optimizer, 7)

    loaded = Checkpoint.load(tmp_path)
    other, other_optimizer = trained(kind, **options)
    other.load_state_dict(loaded.section("model"))
    restore_optimizer(loaded, other_optimizer)
    descend(other, other_optimizer, 7)

    assert (loaded.stage, loaded.epoch, loaded.finished, loaded.best) == ("phase1", 3, ["cache"], 0.5)
    assert state_digest(other) == state_digest(model)


def test_no_checkpoint_is_a_fresh_start(tmp_path):
    assert Checkpoint.load(tmp_path) == Checkpoint()


def test_a_torn_checkpoint_is_refused_in_one_sentence(tmp_path):
    Checkpoint(stage="phase1").save(tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BundleError, match="damaged"):
        Checkpoint.load(tmp_path)


def test_the_digest_sees_a_buffer_change():
    model = nn.BatchNorm1d(4)
    before = state_digest(model)
    model(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    assert state_digest(model) != before
