"""calibration.json and its tensors: what was written is read, and nothing else is."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from semise_sdk.calibration import (
    CALIBRATION,
    CALIBRATION_TENSORS,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from semise_sdk.calibration.trained_on import canvas_hash, load_training_hashes, save_training_hashes
from semise_sdk.errors import BundleError


@pytest.fixture(scope="module")
def calibration(made_up, bank, model):
    return fit_calibration(made_up(), bank=bank, labels=model.labels, source="made up")


@pytest.fixture
def written(calibration, tmp_path):
    write_calibration(tmp_path, calibration)
    return json.loads((tmp_path / CALIBRATION).read_text()), (tmp_path / CALIBRATION_TENSORS).read_bytes()


def read(data, tensors, model):
    return read_calibration(json.dumps(data).encode(), tensors, model)


def test_what_was_written_is_read(calibration, written, model, made_up, tmp_path):
    found = read(*written, model)
    assert found.facts() == calibration.facts()
    assert found.sets == calibration.sets
    assert found.quality.limits == calibration.quality.limits
    assert np.array_equal(found.healthy.vectors, calibration.healthy.vectors)
    fresh = made_up(40, seed=5)
    for picture, embedding in zip(fresh.pictures, fresh.embeddings, strict=True):
        assert found.judge_picture(picture) == calibration.judge_picture(picture)
        assert found.judge_embedding(embedding) == calibration.judge_embedding(embedding)
    again = tmp_path / "again"
    write_calibration(again, found)
    assert (again / CALIBRATION).read_bytes() == (tmp_path / CALIBRATION).read_bytes()
    assert (again / CALIBRATION_TENSORS).read_bytes() == (tmp_path / CALIBRATION_TENSORS).read_bytes()


def test_a_small_calibration_is_read_too(made_up, bank, model, tmp_path):
    few = fit_calibration(made_up(12), bank=bank, labels=model.labels, source="few")
    write_calibration(tmp_path, few)
    found = read_calibration(
        (tmp_path / CALIBRATION).read_bytes(), (tmp_path / CALIBRATION_TENSORS).read_bytes(), model
    )
    assert (found.images, found.sets, found.is_calibrated) == (12, None, False)


def test_schema_1_knew_severities_alone(model):
    old = {"schema": 1, "source": "healthy images of part val", "n": 3, "healthy_severity": [0.3, 0.1, 0.2]}
    found = read(old | {"classifier_temperature": 1.0}, None, model)
    assert found.healthy.severities.tolist() == [0.1, 0.2, 0.3]
    assert (found.sets, found.quality, found.distance, found.gates_constant) == (None, None, None, False)
    assert found.facts()["calibrated on"] == "3 images: healthy images of part val"
    assert found.facts()["gates"].startswith("not calibrated: 3 images, at least 100 images of 10 groups")


def _set(path, value):
    def change(data):
        *parents, last = path.split(".")
        for name in parents:
            data = data[name]
        data[last] = value

    return change


WRONG = {
    "another schema": (_set("schema", 3), "schema in calibration.json to be 1 or 2, found 3: update semise-sdk"),
    "no schema": (_set("schema", None), "found None"),
    "a negative count": (_set("images", -1), "images in calibration.json to be a whole number of 0 or more, found -1"),
    "a count of text": (_set("groups", "9"), "groups in calibration.json to be a whole number of 0 or more, found '9'"),
    "a temperature of 0": (_set("sets.temperature", 0), "a number of 0.05 to 20"),
    "a threshold of text": (_set("sets.threshold", "inf"), "a number of 0 to 3"),
    "a threshold of true": (_set("sets.threshold", True), "a number"),
    "an infinite limit": (_set("gates.distance.abstain", float("inf")), "found Infinity, which is no JSON"),
    "a limit that is no number": (_set("gates.quality.side.review_low", float("nan")), "found NaN, which is no JSON"),
    "a limit out of range": (_set("gates.distance.abstain", 3), "abstain in calibration.json to be a number of 0 to 2"),
    "a limit of 401 digits": (_set("gates.quality.side.review_low", 10**400), "review_low in calibration.json to be a"),
    "no limit where one may be null": (lambda data: data["gates"]["quality"]["side"].pop("review_low"), "to be given"),
    "another measure": (_set("gates.quality", {}), "to have the fields of this version, found missing side, aspect"),
    "a short layout": (_set("gates.layout", [1, 2]), "layout in calibration.json to be a list of 256, found one of 2"),
    "other grades": (_set("sets.coverage_of_grade", {"a": {}}), "to have the grades none, mild, severe, found ['a']"),
    "severities out of range": (_set("healthy_severity", [3.0]), "a number of 0 to 2"),
    "severities without vectors": (_set("healthy_severity", [0.5]), "1 healthy_vectors"),
    "no source": (_set("source", None), "a text"),
    "no sets key": (lambda data: data.pop("sets"), "expected sets in calibration.json to be given, found none"),
    "a list as gates": (_set("gates", []), "an object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(written, model, case):
    data, tensors = written
    change, words = WRONG[case]
    change(data)
    with pytest.raises(BundleError) as caught:
        read(data, tensors, model)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_calibration_is_refused(text, model):
    with pytest.raises(BundleError):
        read_calibration(text, None, model)


def test_tensors_that_do_not_fit_the_model_are_refused(written, model):
    data, tensors = written
    good = load(tensors)
    zero = good["embeddings"].copy()
    zero[3] = 0
    changes = [
        {"embeddings": good["embeddings"][:, :8].copy()},
        {"embeddings": good["embeddings"].astype(np.float64)},
        {"embeddings": zero},
        {"healthy_vectors": np.full_like(good["healthy_vectors"], np.nan)},
        {"surplus": good["embeddings"]},
    ]
    for change in changes:
        with pytest.raises(BundleError, match="float32 vectors of the model's width"):
            read(data, save(good | change), model)
    for broken in (tensors[:-9], b"", None, save({})):
        with pytest.raises(BundleError):
            read(data, broken, model)


def test_training_images_are_known_again_by_what_the_network_sees():
    canvases = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    known = load_training_hashes(save_training_hashes([*canvases, canvases[0]]))
    assert known == {canvas_hash(one) for one in canvases}
    changed = canvases[0].copy()
    changed[0, 0, 0] ^= 1
    assert canvas_hash(changed) not in known
    for broken in (b"", save({"other": np.zeros(1, np.uint64)}), save({"hashes": np.zeros(2, np.float32)})):
        with pytest.raises(BundleError, match="hashes"):
            load_training_hashes(broken)
