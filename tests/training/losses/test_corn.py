"""CORN: its loss by hand and against a loop, its probabilities, and the exported graph."""

import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from semise_export.graphs.onnx import check_graph, export_graphs
from semise_sdk.errors import SpecError
from semise_sdk.models.encoder import create_body, feature_dim, input_scaling
from semise_sdk.models.heads import CornLogits, conditional_logits, grade_classifier
from semise_sdk.models.network import SemiSeNetwork
from semise_sdk.spec import InputSpec, NetworkConfig
from semise_training.losses import corn_loss


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def conditional(count: int, classes: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return 2 * torch.randn(count, classes - 1, generator=generator, dtype=dtype)


def test_loss_of_three_images_by_hand() -> None:
    # Question 0 is put to all three, question 1 to the two above level 0: five answers.
    logits = torch.tensor([[1.0, 9.0], [0.5, -1.0], [-2.0, 3.0]])
    answers = [
        math.log(1 - sigmoid(1.0)),  # level 0: not above 0
        math.log(sigmoid(0.5)),  # level 1: above 0
        math.log(1 - sigmoid(-1.0)),  # level 1: not above 1
        math.log(sigmoid(-2.0)),  # level 2: above 0
        math.log(sigmoid(3.0)),  # level 2: above 1
    ]
    assert corn_loss(logits, torch.tensor([0, 1, 2])).item() == pytest.approx(-sum(answers) / 5, rel=1e-5)
    weights = torch.tensor([0.5, 2.0, 1.0])
    weighted = -(0.5 * answers[0] + 2 * (answers[1] + answers[2]) + answers[3] + answers[4]) / (0.5 + 4 + 2)
    found = corn_loss(logits, torch.tensor([0, 1, 2]), class_weights=weights)
    assert found.item() == pytest.approx(weighted, rel=1e-5)


def test_loss_equals_one_mean_per_conditional_subset() -> None:
    logits, levels = conditional(40, 5), torch.arange(40) % 5
    total, answered = 0.0, 0
    for question in range(4):
        subset = levels > question - 1
        is_above = (levels[subset] > question).float()
        losses = torch.nn.functional.binary_cross_entropy(
            logits[subset, question].sigmoid(), is_above, reduction="none"
        )
        total, answered = total + float(losses.sum()), answered + int(subset.sum())
    assert corn_loss(logits, levels).item() == pytest.approx(total / answered, rel=1e-5)


def test_two_classes_are_logistic_regression() -> None:
    logits, levels = conditional(10, 2), torch.arange(10) % 2
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], levels.float())
    torch.testing.assert_close(corn_loss(logits, levels), expected)


def test_an_answer_that_is_not_asked_for_changes_nothing() -> None:
    logits, levels = conditional(4, 4), torch.tensor([0, 0, 1, 3])
    changed = logits.clone()
    changed[0, 1:], changed[2, 2] = 50.0, -50.0
    torch.testing.assert_close(corn_loss(changed, levels), corn_loss(logits, levels), rtol=0, atol=0)


def test_gradients_are_exact() -> None:
    logits = conditional(6, 4, dtype=torch.float64).requires_grad_()
    levels = torch.tensor([0, 1, 2, 3, 2, 0])
    assert torch.autograd.gradcheck(lambda a: corn_loss(a, levels, class_weights=torch.arange(1.0, 5.0)), (logits,))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_softmax_of_the_logits_is_the_product_of_conditional_probabilities(classes: int) -> None:
    logits = conditional(9, classes)
    probabilities = CornLogits()(logits).softmax(dim=1)
    for row, found in zip(logits.tolist(), probabilities.tolist(), strict=True):
        above = [math.prod(sigmoid(value) for value in row[:level]) for level in range(classes)]
        expected = [above[level] - above[level + 1] for level in range(classes - 1)] + [above[-1]]
        assert found == pytest.approx(expected, abs=1e-6)


def test_logits_stay_finite_where_probabilities_vanish() -> None:
    logits = torch.tensor([[1e4, -1e4, 1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]], requires_grad=True)
    found = CornLogits()(logits)
    assert torch.isfinite(found).all()
    assert found.argmax(dim=1).tolist() == [1, 0, 3]
    torch.autograd.backward(found.sum())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_classifier_learns_an_ordinal_scale() -> None:
    torch.manual_seed(0)
    levels = torch.arange(60) % 4
    features = levels[:, None] + 0.1 * torch.randn(60, 6)
    classifier = grade_classifier(6, (16, 8), 4, head="corn")
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        torch.autograd.backward(corn_loss(conditional_logits(classifier, features), levels))
        optimizer.step()
    assert (classifier.eval()(features).argmax(dim=1) == levels).float().mean() > 0.95


def network_config(**options: object) -> NetworkConfig:
    body = create_body("test_resnet")
    mean, std = input_scaling(body)
    width = feature_dim(body)
    return NetworkConfig(
        encoder="test_resnet", feature_dim=width, vector_dim=8, mean=mean, std=std, classes=4, **options
    )  # type: ignore[arg-type]


def test_the_exported_classifier_agrees_with_torch_at_every_batch_size(tmp_path) -> None:
    torch.manual_seed(3)
    network = SemiSeNetwork(network_config(classifier_head="corn", classifier_hidden=(16, 8))).eval()
    network.classifier[-1].inverse_temperature.fill_(0.7)
    export_graphs(network, InputSpec(height=32, width=32), tmp_path)
    check_graph(tmp_path / "classifier.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "classifier.onnx", providers=["CPUExecutionProvider"])
    for batch, scale in ((1, 1.0), (3, 1.0), (5, 1e5)):
        embedding = scale * torch.randn(batch, network.config.feature_dim)
        (found,) = session.run(["logits"], {"embedding": embedding.numpy()})
        with torch.inference_mode():
            expected = network.classifier(embedding).numpy()
        assert found.shape == (batch, 4)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_network_of_before_corn_is_a_softmax_one() -> None:
    assert network_config().classifier_head == "softmax"
    with pytest.raises(SpecError, match="softmax, corn"):
        network_config(classifier_head="coral")
