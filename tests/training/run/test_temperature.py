"""Temperature scaling: the best T, and a fold that changes probabilities but no answer."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from semise_sdk.models.heads import grade_classifier
from semise_training.run.temperature import cross_entropy, fit_logit_temperature, fold_temperature


def logits_and_levels(*, sharpness: float, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Levels drawn from softmax of some logits, and those logits made ``sharpness`` times too sure."""
    random = np.random.default_rng(0)
    honest = random.normal(size=(count, 4)) * 2
    shares = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    levels = np.array([random.choice(4, p=row) for row in shares])
    return (sharpness * honest).astype(np.float32), levels


def test_likelihood_is_sklearns_log_loss() -> None:
    logits, levels = logits_and_levels(sharpness=1.0)
    probabilities = torch.from_numpy(logits.astype(np.float64)).softmax(dim=1).numpy()
    assert cross_entropy(logits, levels) == pytest.approx(log_loss(levels, probabilities), rel=1e-6)


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_the_fitted_temperature_undoes_false_confidence(sharpness: float) -> None:
    logits, levels = logits_and_levels(sharpness=sharpness)
    temperature = fit_logit_temperature(logits, levels)
    assert temperature == pytest.approx(sharpness, rel=0.2)
    grid = [cross_entropy(logits / t, levels) for t in np.geomspace(0.05, 20, 400)]
    assert cross_entropy(logits / temperature, levels) <= min(grid) + 1e-6


def test_one_is_kept_where_nothing_is_better() -> None:
    same = np.zeros((5, 3), np.float32)
    assert fit_logit_temperature(same, np.array([0, 1, 2, 0, 1])) == 1.0


def test_a_classifier_that_is_always_right_gets_the_lowest_temperature_not_zero() -> None:
    sure = np.eye(3, dtype=np.float32)
    assert fit_logit_temperature(sure, np.arange(3)) == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("head", ["softmax", "corn"])
def test_folding_divides_the_logits_and_changes_no_answer(head: str) -> None:
    torch.manual_seed(0)
    classifier = grade_classifier(6, (16, 8), 4, head=head).eval()  # type: ignore[arg-type]
    features = 5 * torch.randn(50, 6)
    with torch.inference_mode():
        before = classifier(features)
        fold_temperature(classifier, 2.5)
        after = classifier(features)
    torch.testing.assert_close(after, before / 2.5)
    assert torch.equal(after.argmax(dim=1), before.argmax(dim=1))
