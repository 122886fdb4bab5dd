"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599), folded into the classifier: no runtime knows of it."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor, nn

from semise_sdk.calibration.temperature import HIGHEST, LOWEST
from semise_sdk.models.heads import CornLogits
from semise_training.config import ClassifierConfig
from semise_training.network.embedding import embed
from semise_training.stages.upstream import Upstream


def calibrate_classifier(upstream: Upstream, config: ClassifierConfig) -> float:
    """Fits the temperature on validation images where ``config`` asks for it, folds it in and returns it, else 1."""
    if config.temperature == "none":
        return 1.0
    classifier, val = upstream.model.network.classifier.eval(), upstream.dataset.parts["val"]
    full = upstream.compute.full_precision()
    embedding = embed(upstream.model.network, upstream.dataset, val, compute=full).embedding
    with torch.inference_mode():
        logits = classifier(torch.from_numpy(embedding).to(upstream.compute.device))
    temperature = fit_logit_temperature(logits.cpu().numpy(), upstream.dataset.levels[val])
    fold_temperature(classifier, temperature)
    return temperature


def fit_logit_temperature(logits: NDArray[np.float32], levels: NDArray[np.int64]) -> float:
    """Returns the T of 0.05 to 20 that makes ``softmax(logits / T)`` most likely; 1 where no T does better than it.

    Args:
        logits: ``[N, K]``.
        levels: The true levels ``[N]``.
    """
    # The likelihood is concave in 1 / T, so it has one peak in log T too.
    found = minimize_scalar(
        lambda log_t: cross_entropy(logits / np.exp(log_t), levels),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
    )
    temperature = float(np.exp(found.x))
    is_better = found.fun < cross_entropy(logits, levels)
    return temperature if is_better else 1.0


def cross_entropy(logits: NDArray[np.floating], levels: NDArray[np.int64]) -> float:
    """Returns the mean of ``-log softmax(logits)[level]``; ``[N, K]`` and ``[N]``."""
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    return float(-log_probabilities[np.arange(len(levels)), levels].mean())


@torch.no_grad()
def fold_temperature(classifier: nn.Sequential, temperature: float) -> None:
    """Divides the logits of a classifier by ``temperature``, by changing its weights: no answer of argmax changes."""
    last = classifier[-1]
    scaled: list[Tensor]
    if isinstance(last, CornLogits):
        scaled = [last.inverse_temperature]
    else:
        assert isinstance(last, nn.Linear)  # noqa: S101  # made by grade_classifier
        scaled = [last.weight, last.bias]
    for tensor in scaled:
        tensor.div_(temperature)
