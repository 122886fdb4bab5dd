"""Temperature scaling at run time: against the training's own, which is another implementation."""

import numpy as np
import pytest

from semise_sdk.calibration.temperature import fit_temperature, negative_log_likelihood, tempered
from semise_sdk.images.postprocess import softmax
from semise_sdk.metrics import ece


def drawn(n=400, sharpness=3.0):
    generator = np.random.default_rng(5)
    true_logits = generator.normal(size=(n, 4)) * 1.5
    cumulative = softmax(true_logits).cumsum(axis=1)
    levels = (generator.random((n, 1)) > cumulative).sum(axis=1)
    return sharpness * true_logits, levels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_it_divides_the_logits(temperature):
    logits = np.random.default_rng(0).normal(size=(20, 5)) * 4
    assert tempered(softmax(logits), temperature) == pytest.approx(softmax(logits / temperature), abs=1e-12)


def test_probabilities_of_nothing_stay_finite():
    assert tempered(np.array([[1.0, 0.0]]), 2.0) == pytest.approx(np.array([[1.0, 0.0]]))
    assert np.isfinite(negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])))


def test_it_finds_what_the_trainings_own_finds():
    from semise_training.run.temperature import fit_logit_temperature

    for sharpness in (0.5, 3.0, 8.0):
        logits, levels = drawn(sharpness=sharpness)
        found = fit_temperature(softmax(logits), levels)
        assert found == pytest.approx(fit_logit_temperature(logits, levels), rel=1e-3)
        assert found == pytest.approx(sharpness, rel=0.25)


def test_it_calibrates():
    logits, levels = drawn()
    raw = softmax(logits)
    better = tempered(raw, fit_temperature(raw, levels))
    assert ece(levels, better) < ece(levels, raw) / 2
    assert (better.argmax(axis=1) == raw.argmax(axis=1)).all()


def test_right_answers_that_no_temperature_betters_stay_as_they_are():
    probabilities = np.full((6, 3), 1 / 3)
    assert fit_temperature(probabilities, np.array([0, 1, 2, 0, 1, 2])) == 1.0
