"""What the network says of a batch, and the answers made of it."""

import numpy as np

from semise_sdk.images.reading import FailedImage
from semise_sdk.images.record import Geometry
from semise_sdk.inference import answers
from semise_sdk.inference.answers import analysis_of, segmentation_of
from semise_sdk.inference.measure import Measurement, Needs, measure
from semise_sdk.results import Severity
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

MODEL = ModelInfo(
    name="toy",
    spec=InputSpec(height=16, width=16),
    labels=("a",),
    network=NetworkConfig(encoder="none", feature_dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, classes=0),
)
GEOMETRY = Geometry(
    source_height=4, source_width=4, canvas_height=16, canvas_width=16, top=0, left=0, height=16, width=16
)


def test_a_batch_of_failures_asks_no_engine():
    slots = [FailedImage("a", "r"), FailedImage("b", "s")]
    measured = measure(slots, needs=Needs(), graphs=None, labels=())
    assert [(one.answer.file, one.answer.reason) for one in measured] == [("a", "r"), ("b", "s")]


def test_a_mask_too_large_for_the_memory_fails_its_own_row(monkeypatch):
    def no_memory(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(answers, "mask_of", no_memory)
    logits = np.zeros((16, 16), np.float32)
    measured = Measurement(answer=Severity(file="a"), logits=logits, geometry=GEOMETRY)
    for answer in (analysis_of(measured, MODEL), segmentation_of(measured, MODEL)):
        assert (answer.file, answer.status, answer.mask) == ("a", "error", None)
        assert answer.reason.startswith("out_of_memory: ")
