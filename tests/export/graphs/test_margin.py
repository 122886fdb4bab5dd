"""How much of the gate's limits a graph uses up, on graphs whose every answer can be worked out on paper."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from semise_export.graphs.margin import Margin, run_graph
from semise_export.limits import ParityThresholds
from semise_sdk.severity.reference_bank import ReferenceBank

LIMITS = ParityThresholds(c_index=0.9, class_flips=0.5, pooled_dice=0.8, task_c_index=0.25)
# mean colours whose cosine to pure red falls: severities 0, 1 - 4/5, 1 - 3/5 and 1
COLOURS = [(200, 0, 0), (160, 120, 0), (120, 160, 0), (0, 200, 0)]


def mean_colour_graph(scale: tuple[float, float, float] = (1, 1, 1)) -> onnx.ModelProto:
    """Returns a U-Net whose every vector is the mean colour, times ``scale``, and whose mask is where red is."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["raw"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["raw", "scale"], ["floats"]),
        helper.make_node("ReduceMean", ["floats", "places"], ["embedding"], keepdims=0),
        helper.make_node("Identity", ["embedding"], ["severity_vector"]),
        helper.make_node("Slice", ["floats", "start", "end", "axis"], ["red"]),
        helper.make_node("Squeeze", ["red", "axis"], ["mask_logits"]),
    ]
    constants = {
        "scale": np.array(scale, np.float32),
        "places": np.array([1, 2], np.int64),
        "start": np.array([0], np.int64),
        "end": np.array([1], np.int64),
        "axis": np.array([3], np.int64),
    }
    outputs = {"embedding": ["n", 3], "severity_vector": ["n", 3], "mask_logits": ["n", 2, 2]}
    graph = helper.make_graph(
        nodes,
        "unet",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 2, 2, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def strongest_colour() -> bytes:
    """Returns a classifier whose logits are the embedding itself: the grade is the strongest colour."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["embedding"], ["logits"])],
        "classifier",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


@pytest.fixture
def pixels():
    return np.broadcast_to(np.array(COLOURS, np.uint8)[:, None, None], (4, 2, 2, 3)).copy()


@pytest.fixture
def margin(pixels) -> Margin:
    return Margin(
        pixels=pixels,
        wanted=run_graph(mean_colour_graph().SerializeToString(), pixels),
        bank=ReferenceBank(np.array([[1, 0, 0]], np.float32)),
        classifier=strongest_colour(),
        levels=np.array([0, 0, 1, 1]),
        limits=LIMITS,
    )


def test_the_numbers_on_paper(margin):
    np.testing.assert_allclose(margin.bank.severity(margin.wanted["severity_vector"]), [0, 0.2, 0.4, 1], atol=1e-6)
    np.testing.assert_array_equal(margin.wanted["mask_logits"][1], np.full((2, 2), 160))


def test_the_same_graph_uses_up_nothing(margin):
    shares = margin.shares(margin.wanted)
    assert set(shares) == {"C-index of the ranking", "class flips", "pooled Dice", "C-index against the grades"}
    assert set(shares.values()) == {0.0}
    assert margin.used(mean_colour_graph()) == 0


def found(margin: Margin, **changed) -> dict[str, np.ndarray]:
    return {name: values.copy() for name, values in margin.wanted.items()} | changed


def test_one_flipped_class_of_four_is_half_of_a_limit_of_one_half(margin):
    embedding = margin.wanted["embedding"].copy()
    embedding[1] = (119, 120, 0)
    shares = margin.shares(found(margin, embedding=embedding))
    assert shares.pop("class flips") == 0.25 / 0.5
    assert set(shares.values()) == {0.0}


def test_a_lost_pixel_of_the_mask_is_a_share_of_the_dice(margin):
    logits = margin.wanted["mask_logits"].copy()
    logits[2, 0, 0] = -1
    shares = margin.shares(found(margin, mask_logits=logits))
    # 12 pixels against 11, all of which are among them: Dice 22/23
    assert shares.pop("pooled Dice") == pytest.approx((1 / 23) / 0.2)
    assert set(shares.values()) == {0.0}


def test_a_swap_of_neighbours_of_one_grade_costs_the_ranking_and_not_the_task(margin):
    vectors = margin.wanted["severity_vector"][[1, 0, 2, 3]]
    shares = margin.shares(found(margin, severity_vector=vectors))
    assert shares["C-index of the ranking"] == pytest.approx((1 / 6) / 0.1)
    assert shares["C-index against the grades"] == 0


def test_a_swap_across_the_grades_costs_both(margin):
    vectors = margin.wanted["severity_vector"][[0, 2, 1, 3]]
    shares = margin.shares(found(margin, severity_vector=vectors))
    assert shares["C-index of the ranking"] == pytest.approx((1 / 6) / 0.1)
    assert shares["C-index against the grades"] == pytest.approx((1 / 4) / 0.25)


def test_a_graph_is_as_good_as_its_tightest_figure(margin):
    # half of the red: the mean colours are (100, 0), (80, 120), (60, 160), (0, 200), so the second grade flips;
    # the order of the severities and the masks stay
    assert margin.used(mean_colour_graph((0.5, 1, 1))) == pytest.approx(0.25 / 0.5)


def test_a_better_ranking_than_fp32s_is_no_cost(margin):
    turned = dataclasses.replace(margin, levels=np.array([1, 1, 0, 0]))
    vectors = margin.wanted["severity_vector"][[0, 2, 1, 3]]
    assert turned.shares(found(turned, severity_vector=vectors))["C-index against the grades"] < 0


def test_what_the_model_lacks_has_no_share(margin):
    ranker = dataclasses.replace(margin, classifier=None, levels=None)
    only = {"severity_vector": margin.wanted["severity_vector"]}
    assert dataclasses.replace(ranker, wanted=only).shares(only) == {"C-index of the ranking": 0.0}


def test_the_mask_is_cut_at_the_models_own_threshold(margin):
    # red is 200, 160, 120, 0 and half of it 100, 80, 60, 0: 12 pixels lie above 70 and then 8
    at_70 = dataclasses.replace(margin, mask_level=70.0, classifier=None)
    half = run_graph(mean_colour_graph((0.5, 1, 1)).SerializeToString(), margin.pixels)

    assert at_70.shares(half)["pooled Dice"] == pytest.approx((1 - 16 / 20) / 0.2)


def test_batches_are_put_together_again(margin, pixels):
    many = np.concatenate([pixels, pixels[:3]])  # 7 rows are a full batch and a part of one
    outputs = run_graph(mean_colour_graph().SerializeToString(), many)
    np.testing.assert_array_equal(outputs["embedding"], np.array([*COLOURS, *COLOURS[:3]], np.float32))
    assert outputs["mask_logits"].shape == (7, 2, 2)


def test_a_graph_runs_on_the_usable_cores(pixels, monkeypatch):
    import onnxruntime

    found = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, content, options, **others):
            found.append(options.intra_op_num_threads)
            super().__init__(content, options, **others)

    monkeypatch.setattr("semise_export.graphs.margin.usable_cores", lambda: 3)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    run_graph(mean_colour_graph().SerializeToString(), pixels)
    assert found == [3]
