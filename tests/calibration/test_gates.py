"""The distance gate: what lies far from the calibration images in embedding space is not scored."""

import numpy as np
import pytest

from semise_sdk.calibration.gates import MAX_EMBEDDINGS, fit_distance
from semise_sdk.results import PASSED


def embeddings(n, *, seed=0, centre=5.0):
    return (np.random.default_rng(seed).normal(size=(n, 16)) + centre).astype(np.float32)


def slow_distance(point, others):
    unit = point / np.linalg.norm(point)
    cosines = others @ unit / np.linalg.norm(others, axis=1)
    return np.sort(1 - cosines)[:5].mean()


def test_thresholds_are_quantiles_of_distances_to_other_groups():
    vectors = embeddings(120)
    groups = [f"p{index // 2}" for index in range(120)]
    vectors[1::2] = vectors[::2]  # each patient twice: the copy must not count as near
    gate = fit_distance(vectors, groups)
    wide = vectors.astype(np.float64)
    slow = np.sort([slow_distance(wide[i], wide[[j for j in range(120) if j // 2 != i // 2]]) for i in range(120)])
    assert gate.abstain == pytest.approx(slow[119], abs=1e-6)  # ceil(121 * .99) = 120
    assert gate.review == pytest.approx(slow[117], abs=1e-6)  # ceil(121 * .975) = 118


def test_images_of_the_kind_pass_and_others_do_not():
    gate = fit_distance(embeddings(300), [str(index) for index in range(300)])
    fresh = [gate.judge(one) for one in embeddings(300, seed=1)]
    assert sum(verdict.status == "abstain" for verdict in fresh) <= 9
    assert sum(verdict == PASSED for verdict in fresh) >= 280
    other = gate.judge(embeddings(1, seed=2, centre=-5.0)[0])
    assert other.status == "abstain"
    assert other.reason.startswith("out_of_distribution: expected an image like the calibration images, at a distance")


def test_an_embedding_of_nothing_is_of_no_kind():
    gate = fit_distance(embeddings(120), [str(index) for index in range(120)])
    assert gate.distance(np.zeros(16, np.float32)) == 2.0
    assert gate.judge(np.zeros(16, np.float32)).status == "abstain"


def test_of_many_images_some_are_kept_and_all_are_counted():
    n = MAX_EMBEDDINGS + 200
    gate = fit_distance(embeddings(n), [str(index) for index in range(n)])
    assert gate.bank.vectors.shape == (MAX_EMBEDDINGS, 16)
    fresh = [gate.distance(one) <= gate.abstain for one in embeddings(400, seed=3)]
    assert np.mean(fresh) >= 0.97
